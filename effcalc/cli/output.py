"""Write results: to stdout, or to a file that is replaced in one step or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from effcalc.base.display import function_at
from effcalc.base.errors import InputError, RunError, one_line
from effcalc.base.files import open_output
from effcalc.cli.wording import table_with_options
from effcalc.output.formats import find_format
from effcalc.output.grid import TableLook
from effcalc.output.table import Table, select, sorted_by, take

if TYPE_CHECKING:
    from effcalc.cli.options import OutputOptions
    from effcalc.cli.pictures import PlotOptions
    from effcalc.output.plots.style import Plot

T = TypeVar("T")

PATIENCE_S = 0.5
"""Seconds of work before progress is shown, and rich imported for it."""

CAPTURE_ROWS = 1000
"""Rows of a table in a document at most."""


class Drawing(NamedTuple):
    """A plot, and how to draw it."""

    plot: Plot
    options: PlotOptions

    def draw(self) -> bytes:
        """Return the bytes of the file; raise `NeedsError` without what draws."""
        from effcalc.output.plots.style import DEFAULT_WIDTH, check_suffix, render

        suffix = check_suffix(self.options.output or "")
        return render(self.plot, suffix, self.options.theme, self.options.size or DEFAULT_WIDTH)


Captured: TypeAlias = "tuple[Table, TableLook] | str | Drawing"
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
    if out.plot is not None:
        _draw(table, out)
    title = table.title if out.caption is None else out.caption
    table = table_with_options(replace(table, title=title, command=out.command))
    if out.no_notes and format.name != "json":  # a saved table keeps what it says
        table = replace(table, notes=(), conventions={})
    results = _CAPTURED.get()
    if results is not None:
        table = replace(table, rows=take(table.rows, CAPTURE_ROWS, "a table in a document"))
    table = select(sorted_by(table, out.sort), out.columns)
    if results is not None:
        results.append((table, TableLook(digits=out.digits)))
        return
    # A table on the terminal follows its encoding; everything else is a document, in UTF-8.
    document = format.name != "table" or out.output is not None
    pieces = format.render(table, _look(out))
    write_text(pieces, out.output, document=document)


def _draw(table: Table, out: OutputOptions) -> None:
    """Draw a table with the chart that it names."""
    from effcalc.cli.pictures import PlotOptions

    if not table.chart:
        raise InputError("--plot: nothing draws this table; see effcalc plot --help")
    plot = function_at(table.chart)(table)
    write_plot(plot, PlotOptions(output=out.plot, caption=out.caption))


def write_figure(text: str) -> None:
    """Write one figure on a line of stdout."""
    results = _CAPTURED.get()
    if results is not None:
        results.append(text)
    else:
        write_text([f"{text}\n"])


def write_plot(plot: Plot, out: PlotOptions) -> None:
    """Draw a plot as the user asked for: theme, size, title, file."""
    from effcalc.output.plots.style import import_engine

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


def _look(out: OutputOptions) -> TableLook:
    if out.output is not None or sys.stdout is None or not sys.stdout.isatty():
        return TableLook(digits=out.digits)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    width = shutil.get_terminal_size().columns
    return TableLook(digits=out.digits, width=width, color=not plain)


def progress(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    *,
    done: int = 0,
    size: Callable[[T], int] = lambda item: 1,
) -> Iterator[T]:
    """Yield the items, and count them on stderr where that is a terminal and they take time.

    `done` are those of an earlier run, and `size` says for how many an item counts.
    """
    items = iter(items)
    begun = time.monotonic()
    for item in items:
        yield item
        done += size(item)
        if _shows_progress() and time.monotonic() - begun >= PATIENCE_S:
            break
    else:
        return
    from rich.console import Console
    from rich.progress import Progress

    of = "" if total is None else f" of {total:,}"
    with Progress(
        f"{what}: {{task.completed:,.0f}}{of}",
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task, size(item))


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line about the work under way on stderr, where that is a terminal.

    It draws when it is called, and never from a thread beside what is being timed.
    """
    if not _shows_progress():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as line:
        yield lambda text: line.update(Text(one_line(text, 79)), refresh=True)


def _shows_progress() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
