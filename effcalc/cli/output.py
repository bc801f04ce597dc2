"""Write results: to stdout, or to a file that is replaced in one step or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, TypeVar

from effcalc.errors import InputError, RunError, one_line
from effcalc.formats import find_format
from effcalc.grid import Look
from effcalc.table import Table, select, sorted_by, take

if TYPE_CHECKING:
    from effcalc.cli.options import OutputOptions, PlotOptions
    from effcalc.plots.style import Plot

T = TypeVar("T")

CAPTURE_ROWS = 1000
_CAPTURED: ContextVar[list[tuple[Table, Look]] | None] = ContextVar("captured", default=None)


_CAPTURED_PLOTS: ContextVar[list[tuple[Plot, PlotOptions]] | None] = ContextVar(
    "captured plots", default=None
)


@contextmanager
def captured_plots() -> Iterator[list[tuple[Plot, PlotOptions]]]:
    """Within the block, collect the plots that commands would draw, and draw none."""
    plots: list[tuple[Plot, PlotOptions]] = []
    token = _CAPTURED_PLOTS.set(plots)
    try:
        yield plots
    finally:
        _CAPTURED_PLOTS.reset(token)


@contextmanager
def captured() -> Iterator[list[tuple[Table, Look]]]:
    """Within the block, collect the tables that commands write, at most 1000 rows each."""
    tables: list[tuple[Table, Look]] = []
    token = _CAPTURED.set(tables)
    try:
        yield tables
    finally:
        _CAPTURED.reset(token)


def write_table(table: Table, out: OutputOptions) -> None:
    """Write a table as the user asked for: format, columns, order, digits, caption, place."""
    format = find_format(out.format, out.output or "")
    title = table.title if out.caption is None else out.caption
    table = replace(table, title=title, command=out.command)
    tables = _CAPTURED.get()
    if tables is not None:
        table = replace(table, rows=take(table.rows, CAPTURE_ROWS, "a table in a document"))
        tables.append((select(sorted_by(table, out.sort), out.columns), Look(digits=out.digits)))
        return
    table = select(sorted_by(table, out.sort), out.columns)
    # A table on the terminal follows its encoding; everything else is a document, in UTF-8.
    document = format.name != "table" or out.output is not None
    pieces = format.render(table, _look(out))
    write_text(pieces, out.output, document=document)


def write_plot(plot: Plot, out: PlotOptions) -> None:
    """Draw a plot as the user asked for: theme, size, title, file."""
    from effcalc.plots.style import DEFAULT_WIDTH, check_suffix, import_engine, render

    if out.caption is not None:
        plot = replace(plot, title=out.caption)
    plots = _CAPTURED_PLOTS.get()
    if plots is not None:
        plots.append((plot, out))
        return
    import_engine()
    path = out.output or ""
    picture = render(plot, check_suffix(path), out.theme, out.size or DEFAULT_WIDTH)
    with open_output(path, binary=True) as file:
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


def check_output(path: str) -> os.stat_result | None:
    """Refuse a path that cannot be written, and return what is there now."""
    name = repr(one_line(path))
    if not os.path.basename(path) or "\0" in path:
        raise InputError(f"--output: {name} is not the name of a file")
    try:
        was = os.stat(path)
    except FileNotFoundError:
        was = None
    except OSError as error:
        raise _cannot(path, error) from error
    if was is not None and stat.S_ISDIR(was.st_mode):
        raise InputError(f"--output: {name} is a folder; name a file in it")
    folder = os.path.dirname(os.path.realpath(path))
    if was is None and not os.path.isdir(folder):
        raise InputError(f"--output: there is no folder {one_line(folder)!r} for {name}")
    if not os.access(path if was is not None else folder, os.W_OK):
        raise InputError(f"--output: {name} may not be written; check its permissions")
    return was


@contextmanager
def open_output(path: str, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that takes its place, whole, when the block ends well.

    A symlink keeps pointing where it does, and a file keeps its permissions. A device or a pipe
    is written as it comes.
    """
    was = check_output(path)
    live = os.path.abspath(path).startswith(("/dev/", "/proc/"))
    if was is not None and (live or not stat.S_ISREG(was.st_mode)):
        with _open(path, path, binary=binary) as file:
            yield file
        return
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".effcalc-{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with _open(temporary, path, exclusive=True, binary=binary) as file:
            yield file
            if was is not None:
                _keep_rights(temporary, was)
        try:
            os.replace(temporary, target)
        except OSError as error:
            raise _cannot(path, error) from error
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


@contextmanager
def _open(
    path: str, named: str, *, exclusive: bool = False, binary: bool = False
) -> Iterator[IO[Any]]:
    """Open a file; an OSError is told in terms of the file that the user named."""
    try:
        mode = ("x" if exclusive else "w") + ("b" if binary else "")
        text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
        file = open(path, mode, **({} if binary else text))  # type: ignore[call-overload] # noqa: SIM115
    except OSError as error:
        raise _cannot(named, error) from error
    try:
        with file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"cannot write {one_line(named)!r}: {error.strerror}") from error


def _keep_rights(path: str, was: os.stat_result) -> None:
    with suppress(OSError):
        os.chown(path, was.st_uid, was.st_gid)
    os.chmod(path, stat.S_IMODE(was.st_mode))


def _cannot(path: str, error: OSError) -> InputError:
    return InputError(f"--output: cannot write {one_line(path)!r}: {error.strerror}")


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
