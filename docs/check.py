"""Check the docs: links lead somewhere, every page is linked, every command shown runs."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from effcalc.cli.app import command_names
from effcalc.cli.main import main as effcalc
from effcalc.deployment.papers import claims
from effcalc.network.catalog import built_in_names
from effcalc.output.formats import FORMATS

ROOT = Path(__file__).parents[1]
TOP = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
PAGES = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
# These run a model, other processes or the network's training, or write files.
_OWN = r"(count|profile|device|completion|embed|--output|--plot|--verify|-o|my-\S*)"
NOT_RUN = re.compile(rf"(?<![^\s']){_OWN}")


def links() -> Iterator[str]:
    """Yield a complaint for each link to a file or a heading that is not there."""
    linked = set()
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http:", "https:", "mailto:")):
                continue
            name, _, heading = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            linked.add(path)
            if not path.exists():
                yield f"{page.relative_to(ROOT)}: there is no {target}"
            elif heading and heading not in _headings(path):
                yield f"{page.relative_to(ROOT)}: {path.name} has no heading #{heading}"
    for page in PAGES[len(TOP) :]:
        if page not in linked:
            yield f"{page.relative_to(ROOT)}: no page links to it"


def _headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in found}


def commands() -> Iterator[str]:
    """Yield a complaint for each `effcalc …` in a shell block that does not run."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
            for line in block.splitlines():
                if not line.startswith("effcalc ") or NOT_RUN.search(line):
                    continue
                words = [w.strip("'\"") for w in re.findall(r"\"[^\"]*\"|'[^']*'|\S+", line)]
                if "#" in words:
                    words = words[: words.index("#")]
                said = io.StringIO()
                with redirect_stdout(io.StringIO()), redirect_stderr(said):
                    code = effcalc(words[1:])
                if code:
                    yield f"{page.relative_to(ROOT)}: {line}: {said.getvalue().strip()}"


def mentions() -> Iterator[str]:
    """Yield a complaint for each command, network, format and paper's table that no page names."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    wanted = [f"effcalc {name}" for name in command_names()]
    tables = dict.fromkeys(f'papers "{claim.published.table}"' for claim in claims())
    for name in (*wanted, *built_in_names(), *FORMATS, *tables):
        if name not in text:
            yield f"no page names {name}"


def main() -> int:
    """Print every complaint; exit 1 where there is one."""
    complaints = [*links(), *commands(), *mentions()]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())
