"""Write the reference of the command line, docs/cli.md, from the command line itself.

`python -m effcalc.cli.reference` writes it; with `--check` it writes nothing, and exits with 1
where the file says something else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from effcalc.cli.app import (
    PROGRAM,
    build,
    command_help,
    command_names,
    make_app,
    option_records,
    summary,
)
from effcalc.cli.output import write_text

PAGE = Path("docs/cli.md")

_HEAD = """\
# Command line

<!-- Made by `python -m effcalc.cli.reference`; change the commands, not this page. -->

"""

_EXITS = """\
## Exit codes

| Code | Meaning |
| ---: | --- |
| 0 | fine |
| 1 | a check that was asked for did not hold |
| 2 | bad usage or bad input; nothing was written |
| 3 | something needed is not installed or not attached |
| 4 | a model or a child process failed, memory ran out, or a write failed |
| 70 | a bug in effcalc; `--debug` shows the trace |
| 130 | interrupted |
| 143 | ended by SIGTERM |
"""


def reference() -> str:
    """Return the whole page."""
    with make_app().make_context(PROGRAM, [], resilient_parsing=True) as root:
        parts = [_HEAD, f"{root.command.help}\n\n", _usage(root), _options(root.command, root)]
        names = command_names()
        parts.append("| Command | |\n| --- | --- |\n")
        for name in names:
            text = summary(name)
            anchor = f"{PROGRAM}-{name.replace(' ', '-')}"
            parts.append(f"| [`{name}`](#{anchor}) | {_cell(text)} |\n")
        parts.append("\n")
        parts += [_command(name, root) for name in names]
    return "".join([*parts, _EXITS])


def _command(name: str, root: Any) -> str:
    command = build(name)
    text, examples = command_help(name)
    with command.make_context(name, [], parent=root, resilient_parsing=True) as ctx:
        parts = [f"## {PROGRAM} {name}\n\n", f"{text}\n\n", _usage(ctx), _options(command, ctx)]
    if examples:
        lines = "\n".join(examples)
        parts.append(f"Examples:\n\n```sh\n{lines}\n```\n\n")
    return "".join(parts)


def _usage(ctx: Any) -> str:
    pieces = " ".join(piece for piece in ctx.command.collect_usage_pieces(ctx) if piece)
    return f"```text\n{ctx.command_path} {pieces}\n```\n\n"


def _options(command: Any, ctx: Any) -> str:
    parts = []
    for heading, records in option_records(command, ctx).items():
        parts.append(f"| {_cell(heading)} | |\n| --- | --- |\n")
        parts += [f"| `{_cell(name)}` | {_cell(text)} |\n" for name, text in records]
        parts.append("\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(args: list[str]) -> int:
    """Write the page, or with `--check` compare it."""
    text = reference()
    if "--check" not in args:
        write_text([text], str(PAGE))
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is stale; run python -m effcalc.cli.reference", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
