"""`effcalc embed`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from effcalc.cli.regions import RegionRunner

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Documents, folders of them, or patterns: 'docs/*.md'."),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Write nothing; show what is stale and exit 1.", show_default=False
    ),
]
Diff = Annotated[bool, typer.Option("--diff", help="Show what was filled.", show_default=False)]
Redraw = Annotated[
    bool,
    typer.Option(
        "--redraw", help="Draw every picture anew, whatever its data.", show_default=False
    ),
]
AllowTargets = Annotated[
    bool,
    typer.Option(
        "--allow-targets",
        help="Let documents run effcalc count, which imports the code it is pointed at.",
        show_default=False,
    ),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(
        "--time-limit",
        metavar="SECONDS",
        help="Time of one command, by default 10; all together may take ten times as long.",
    ),
]


def embed(
    paths: Paths,
    check: Check = False,
    diff: Diff = False,
    redraw: Redraw = False,
    allow_targets: AllowTargets = False,
    time_limit: TimeLimit = None,
) -> None:
    """Fill the marked regions of documents with tables, figures and pictures.

    Documents are Markdown, MyST, HTML, reStructuredText, LaTeX and notebooks. A region begins with
    a comment, `effcalc: COMMAND`, and ends with one, `effcalc end`; only what is between the two
    changes. Commands are those that compute, such as scale, compare, value and show. They read
    files beside the document, in the repository that the current folder is in, and no document is
    written unless all are well.

    Examples:
    effcalc embed README.md docs
    effcalc embed --check README.md docs
    effcalc embed 'paper/**/*.tex' --diff
    """
    import shlex
    import sys

    from effcalc.base.errors import CheckFailed, InputError, one_line
    from effcalc.base.files import write_files
    from effcalc.base.units import parse_number
    from effcalc.cli.regions import TIME_LIMIT, RegionRunner

    seconds = TIME_LIMIT if time_limit is None else parse_number(time_limit, "--time-limit")
    if seconds <= 0:
        raise InputError("--time-limit: must be above zero")
    root = _root()
    runner = RegionRunner(root, allow_targets, seconds)
    changes = _Changes()
    for path in _documents(paths):
        _fill(path, root, runner, changes)
    _redraw(runner, changes, check, redraw)
    if check or diff:
        print("".join(f"{_shown(line)}\n" for line in changes.lines), end="")
    if check and changes.stale:
        raise CheckFailed(f"stale; update with: effcalc embed {shlex.join(changes.stale)}")
    if not check:
        write_files(changes.files, "embed")
        for name in changes.files:
            print(f"filled {one_line(name)}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class _Changes:
    """Files to write, by path; the documents that are stale, in order; and the lines of a diff."""

    files: dict[str, bytes] = field(default_factory=dict)
    stale: dict[str, None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def _fill(path: Path, root: Path, runner: RegionRunner, changes: _Changes) -> None:
    """Compute the regions of a document, and add what changes."""
    from effcalc.base.errors import InputError, one_line
    from effcalc.base.paths import place
    from effcalc.output.embed import fill

    real = place(path, root)
    if real.exists() and not real.is_file():
        raise InputError(f"{one_line(path)}: is no file")
    try:
        data = real.read_bytes()
    except OSError as error:
        raise InputError(f"{one_line(path)}: cannot be read: {error.strerror}") from None
    filled = fill(data, str(path), runner.compute(real))
    if filled.diff:
        changes.files[str(path)] = filled.data
        changes.stale[str(path)] = None
        changes.lines.extend(filled.diff)


def _redraw(runner: RegionRunner, changes: _Changes, check: bool, redraw: bool) -> None:
    """Draw the pictures whose data changed, or all, and add them; with `check` none is drawn."""
    import os

    from effcalc.output.plots.stamp import data_hash

    for real, (drawing, document) in runner.pictures.items():
        old = data_hash(real)
        if old != drawing.plot.hash or (redraw and not check):
            name = os.path.relpath(real)
            changes.files[name] = b"" if check else drawing.draw()
            changes.stale[os.path.relpath(document)] = None
            reason = "is not there" if old is None else "its data changed"
            changes.lines.append(f"{name}: {reason}")


def _shown(line: str) -> str:
    """Return a line of a diff as a terminal and a CI's log may have it, whoever wrote the document.

    Control characters are spelled out, and no line is a command to GitHub's runner, which takes
    `::` and `##[` for one also behind blanks.
    """
    import re

    line = "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line)
    return re.sub(r"^(\s*)(::|##\[)", r"\1\\\2", line)


def _root() -> Path:
    """The repository that holds the current folder, or else the current folder."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / ".git").exists()), here)


def _documents(paths: list[str]) -> list[Path]:
    """Find the documents: those named, in folders and their folders, and of patterns."""
    import os
    from glob import glob, has_magic

    from effcalc.base.errors import InputError, one_line
    from effcalc.output.embed import is_document

    documents: dict[Path, None] = {}
    for text in paths:
        matches = [text]
        if has_magic(text) and not os.path.lexists(text):
            matches = sorted(glob(text, recursive=True))
            if not matches:
                raise InputError(f"{one_line(text)}: matches no file")
        for path in map(Path, matches):
            if path.is_dir():
                for folder, folders, files in os.walk(path):
                    folders[:] = sorted(f for f in folders if not f.startswith((".", "node_mod")))
                    documents |= {Path(folder, f): None for f in sorted(files) if is_document(f)}
            elif len(matches) == 1 or is_document(path.name):
                documents[path] = None
    return list(documents)
