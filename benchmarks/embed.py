"""Time the check of a document of a million characters with 200 regions, from the command line.

Beside it: the start of Python, and the same document without regions.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5


def document(commands: list[str]) -> str:
    """Return a million characters with 200 regions that hold the commands in turn."""
    region = "<!-- effcalc: {} -->\n<!-- effcalc end -->\n"
    filler = ("Some `code`, a <b>tag</b> and text, as design documents have it.\n" * 74)[:4860]
    return "".join(region.format(commands[i % len(commands)]) + filler for i in range(200))


def median(*arguments: str, cwd: Path) -> float:
    """Return the median of the wall-clock seconds of some runs, after one that warms up."""
    times = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=cwd, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def main() -> None:
    kinds = {
        "200 equal commands": ["scale --phi 0:7 --no-notes"],
        "20 commands, 10 times each": [f"scale --phi {i}:7 --no-notes" for i in range(-12, 8)],
        "200 commands": [f"value params --phi {i}" for i in range(200)],
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "none.md").write_text("x" * 79 + "\n" + "Some text.\n" * 90_000)
        print(f"python -c pass: {median('-c', 'pass', cwd=root):.2f} s")
        none = median("-m", "effcalc", "embed", "--check", "none.md", cwd=root)
        print(f"a million characters, no region: {none:.2f} s")
        for name, commands in kinds.items():
            path = root / "a.md"
            path.write_text(document(commands))
            subprocess.run([sys.executable, "-m", "effcalc", "embed", "a.md"], cwd=root, check=True)
            took = median("-m", "effcalc", "embed", "--check", "a.md", cwd=root)
            print(f"{len(path.read_text()):,} characters, {name}: {took:.2f} s")


if __name__ == "__main__":
    main()
