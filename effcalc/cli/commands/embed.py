"""`effcalc embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from effcalc.errors import CheckFailed, InputError, RunError, one_line, suggest

PURE = ("archs", "comm", "compare", "deploy", "papers", "scale", "sweep")
"""The commands that a document may hold: they read architecture files and write nothing."""

_REFUSED = ("--output", "-o", "--format", "--help", "-h", "--debug", "--version")

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Documents, and folders of them."),
]
Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; exit 1 where a region is stale.")
]


def embed(paths: Paths, check: Check = False) -> None:
    """Fill the marked regions of Markdown, HTML and LaTeX documents with tables.

    A region begins with the comment `effcalc: COMMAND` and ends with `effcalc end`. Only what is
    between the two changes. The commands are those that read architecture files and compute, such
    as scale and compare; files they read are found beside the document and lie in its repository.

    Examples:
    effcalc embed README.md docs
    effcalc embed --check README.md docs
    """
    import difflib
    import os
    import sys

    from effcalc.embed import fill, syntax_of
    from effcalc.paths import place

    root = _root()
    cache: dict[tuple[str, str, Path], str] = {}
    changed = []
    for path in _documents(paths):
        syntax = syntax_of(path.name)
        if syntax is None:
            raise InputError(f"{one_line(path)}: is no Markdown, HTML or LaTeX document")
        real = place(path, root)
        try:
            data = real.read_bytes()
        except OSError as error:
            raise InputError(f"{one_line(path)}: cannot be read: {error.strerror}") from None

        def compute(command: str, format: str, base: Path = real.parent) -> str:
            key = (command, format, base)
            if key not in cache:
                cache[key] = _run(command, format, base, root)
            return cache[key]

        new, stale = fill(data, str(path), syntax, compute)
        if stale:
            changed.append((path, real, new))
        for line, old, text in stale if check else ():
            print(f"--- {path}: line {line}\n+++ {path}: line {line}")
            hunks = list(difflib.unified_diff(old.splitlines(), text.splitlines(), lineterm=""))
            print("\n".join(hunks[2:]))
    if check:
        if changed:
            import shlex

            names = shlex.join(str(path) for path, _, _ in changed)
            raise CheckFailed(f"stale; run effcalc embed {names}")
        return
    for path, real, new in changed:
        temporary = real.with_name(f".effcalc-{os.getpid()}-{os.urandom(4).hex()}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(new)
            temporary.chmod(real.stat().st_mode & 0o7777)
            os.replace(temporary, real)
        except OSError as error:
            raise RunError(f"cannot write {one_line(path)!r}: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)
        print(f"filled {path}", file=sys.stderr)


def _root() -> Path:
    """The repository that holds the current folder, or else the current folder."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / ".git").exists()), here)


def _documents(paths: list[str]) -> list[Path]:
    import os

    from effcalc.embed import syntax_of

    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found[path] = None
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(f for f in folders if not f.startswith((".", "node_modules")))
            found |= {Path(folder, f): None for f in sorted(files) if syntax_of(f)}
    return list(found)


def _run(command: str, format: str, base: Path, root: Path) -> str:
    """Run one pure command in this process and return its table in the document's format."""
    import shlex

    from effcalc.cli.app import run
    from effcalc.cli.output import captured
    from effcalc.formats import html_fragment, render
    from effcalc.paths import confined

    try:
        args = shlex.split(command)
    except ValueError as error:
        raise InputError(f"{one_line(command)!r}: {one_line(error)}") from None
    name = args[0] if args else ""
    if name not in PURE:
        known = ", ".join(PURE)
        raise InputError(f"no document runs {name!r}{suggest(name, PURE)}; known: {known}")
    for arg in args:
        if arg.startswith(_REFUSED):
            raise InputError(f"{one_line(arg)}: is not for a region")
    from typer import TyperException

    with confined(base, root), captured() as tables:
        try:
            run(args)
        except TyperException as error:
            raise InputError(one_line(error.format_message())) from None
    table, look = tables[0]
    if format == "html":
        return "".join(html_fragment(table, look))
    return "".join(render(table, format, look))
