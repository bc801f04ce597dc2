"""Write results: to stdout, or to a file that is replaced in one step or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from effcalc.errors import InputError, RunError, one_line
from effcalc.formats import find_format
from effcalc.grid import Look
from effcalc.paths import is_confined
from effcalc.table import Table, select, sorted_by, take

if TYPE_CHECKING:
    from effcalc.cli.options import OutputOptions
    from effcalc.cli.pictures import PlotOptions
    from effcalc.plots.style import Plot

T = TypeVar("T")

CAPTURE_ROWS = 1000
"""Rows of a table in a document at most."""


class Drawing(NamedTuple):
    """A plot, and how to draw it."""

    plot: Plot
    options: PlotOptions

    def draw(self) -> bytes:
        """Return the bytes of the file; raise `NeedsError` without what draws."""
        from effcalc.plots.style import DEFAULT_WIDTH, check_suffix, render

        suffix = check_suffix(self.options.output or "")
        return render(self.plot, suffix, self.options.theme, self.options.size or DEFAULT_WIDTH)


Captured: TypeAlias = "tuple[Table, Look] | str | Drawing"
_CAPTURED: ContextVar[list[Captured] | None] = ContextVar("captured", default=None)


@contextmanager
def captured() -> Iterator[list[Captured]]:
    """Within the block, collect what commands would write: tables, single figures, plots."""
    results: list[Captured] = []
    token = _CAPTURED.set(results)
    try:
        yield results
    finally:
        _CAPTURED.reset(token)


def write_table(table: Table, out: OutputOptions) -> None:
    """Write a table as the user asked for: format, columns, order, digits, caption, place."""
    format = find_format(out.format, out.output or "")
    title = table.title if out.caption is None else out.caption
    table = replace(table, title=title, command=out.command)
    if out.no_notes and format.name != "json":  # a saved table keeps what it says
        table = replace(table, notes=(), conventions={})
    results = _CAPTURED.get()
    if results is not None:
        table = replace(table, rows=take(table.rows, CAPTURE_ROWS, "a table in a document"))
    table = select(sorted_by(table, out.sort), out.columns)
    if results is not None:
        results.append((table, Look(digits=out.digits)))
        return
    # A table on the terminal follows its encoding; everything else is a document, in UTF-8.
    document = format.name != "table" or out.output is not None
    pieces = format.render(table, _look(out))
    write_text(pieces, out.output, document=document)


def write_figure(text: str) -> None:
    """Write one figure on a line of stdout."""
    results = _CAPTURED.get()
    if results is not None:
        results.append(text)
    else:
        write_text([f"{text}\n"])


def write_plot(plot: Plot, out: PlotOptions) -> None:
    """Draw a plot as the user asked for: theme, size, title, file."""
    from effcalc.plots.style import import_engine

    if out.caption is not None:
        plot = replace(plot, title=out.caption)
    drawing = Drawing(plot, out)
    results = _CAPTURED.get()
    if results is not None:
        results.append(drawing)
        return
    import_engine()
    picture = drawing.draw()
    with open_output(out.output or "", binary=True) as file:
        file.write(picture)


def write_text(pieces: Iterable[str], output: str | None = None, *, document: bool = False) -> None:
    """Write text to the file `output`, or to stdout; a `document` is UTF-8 there too."""
    if output is not None:
        with open_output(output) as file:
            for piece in pieces:
                file.write(piece)
        return
    if sys.stdout is None:
        raise RunError("stdout is closed; use --output FILE")
    if document and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    for piece in pieces:
        sys.stdout.write(piece)


def check_output(path: str, what: str = "--output") -> os.stat_result | None:
    """Refuse a path that cannot be written, and return what is there now; `what` asks for it.

    A command in a document writes nothing itself: whoever fills that checks the path.
    """
    if is_confined():
        return None
    name = repr(one_line(path))
    if not os.path.basename(path) or "\0" in path:
        raise InputError(f"{what}: {name} is not the name of a file")
    try:
        was = os.stat(path)
    except FileNotFoundError:
        was = None
    except OSError as error:
        raise _cannot(path, error, what) from error
    if was is not None and stat.S_ISDIR(was.st_mode):
        raise InputError(f"{what}: {name} is a folder; name a file in it")
    folder = os.path.dirname(os.path.realpath(path))
    if was is None and not os.path.isdir(folder):
        raise InputError(f"{what}: there is no folder {one_line(folder)!r} for {name}")
    if not os.access(path if was is not None else folder, os.W_OK):
        raise InputError(f"{what}: {name} may not be written; check its permissions")
    return was


@contextmanager
def open_output(path: str, what: str = "--output", *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that takes its place, whole, when the block ends well.

    A symlink keeps pointing where it does, and a file keeps its permissions. A device or a pipe
    is written as it comes.
    """
    was = check_output(path, what)
    live = os.path.abspath(path).startswith(("/dev/", "/proc/"))
    if was is not None and (live or not stat.S_ISREG(was.st_mode)):
        with _open(path, path, "w", binary=binary, what=what) as file:
            yield file
        return
    with _temporary(path) as temporary:
        with _open(temporary, path, "x", binary=binary, what=what) as file:
            yield file
            _settle(file, temporary, was)
        _put(temporary, path, what)


def write_files(files: Mapping[str, bytes], what: str) -> None:
    """Write files, each replaced whole, and none before all of them are on the disk.

    A crash, or a disk that is full, leaves every file as it was or as it is to be.
    """
    with ExitStack() as stack:
        staged = []
        for path, data in files.items():
            was = check_output(path, what)
            temporary = stack.enter_context(_temporary(path))
            with _open(temporary, path, "x", binary=True, what=what) as file:
                file.write(data)
                _settle(file, temporary, was)
            staged.append((temporary, path))
        for temporary, path in staged:
            _put(temporary, path, what)


@contextmanager
def _temporary(path: str) -> Iterator[str]:
    """Name a new file beside the one that `path` leads to; it is gone when the block ends."""
    folder = os.path.dirname(os.path.realpath(path))
    temporary = os.path.join(folder, f".effcalc-{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            os.unlink(temporary)


@contextmanager
def _open(path: str, named: str, mode: str, *, binary: bool, what: str) -> Iterator[IO[Any]]:
    """Open a file; an OSError is told in terms of the file that the user named."""
    try:
        if binary:
            file: IO[Any] = open(path, f"{mode}b")  # noqa: SIM115
        else:
            file = open(path, mode, encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
    except OSError as error:
        raise _cannot(named, error, what) from error
    try:
        with file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"cannot write {one_line(named)!r}: {error.strerror}") from error


def _settle(file: IO[Any], path: str, was: os.stat_result | None) -> None:
    """Bring what was written to the disk, with the owner and permissions of what was there."""
    file.flush()
    os.fsync(file.fileno())
    if was is not None:
        with suppress(OSError):
            os.chown(path, was.st_uid, was.st_gid)
        os.chmod(path, stat.S_IMODE(was.st_mode))


def _put(temporary: str, path: str, what: str) -> None:
    try:
        os.replace(temporary, os.path.realpath(path))
    except OSError as error:
        raise _cannot(path, error, what) from error


def _cannot(path: str, error: OSError, what: str) -> InputError:
    return InputError(f"{what}: cannot write {one_line(path)!r}: {error.strerror}")


def _look(out: OutputOptions) -> Look:
    if out.output is not None or sys.stdout is None or not sys.stdout.isatty():
        return Look(digits=out.digits)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    width = shutil.get_terminal_size().columns
    return Look(digits=out.digits, width=width, color=not plain)


def progress(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    *,
    done: int = 0,
    size: Callable[[T], int] = lambda item: 1,
) -> Iterator[T]:
    """Yield the items, and count them on stderr where that is a terminal.

    `done` are those of an earlier run, and `size` says for how many an item counts.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    of = "" if total is None else f" of {total:,}"
    told = time.monotonic()
    try:
        for item in items:
            now = time.monotonic()
            if now - told >= 0.1:
                told = now
                sys.stderr.write(f"\r\x1b[K{what}: {done:,}{of}")
                sys.stderr.flush()
            yield item
            done += size(item)
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line about the work under way on stderr, where that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda text: None
        return
    told = 0.0

    def tell(text: str) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 0.1:
            told = now
            sys.stderr.write(f"\r\x1b[K{one_line(text, 79)}")
            sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
