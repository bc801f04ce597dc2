"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from effcalc.base.errors import one_line
from effcalc.output.formats.core import renderer
from effcalc.output.grid import PROSE_WIDTH, TableLook, fit, make_grid, prose, wrap

if TYPE_CHECKING:
    from effcalc.output.table import Table


@renderer("for reading in a terminal", (".txt",))
def render_table(table: Table, look: TableLook) -> Iterator[str]:
    """Yield an aligned table without a box: bold heads in colour, wrapped to `look.width`."""
    grid = make_grid(table, look, "table", single_as_record=True)
    bold, dim, off = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if look.color else ("", "", "")
    widths, texts = fit(grid, look.width or (PROSE_WIDTH if grid.record else None))
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))

    def lines(cells: list[list[str]], *, bottom: bool = False) -> Iterator[str]:
        height = max(map(len, cells))
        for cell in cells:
            blank = [""] * (height - len(cell))
            cell[:] = blank + cell if bottom else cell + blank
        for line in zip(*cells, strict=True):
            yield "  ".join(grid.padded(list(line), widths)).rstrip()

    if table.title:
        for line in wrap(one_line(table.title), min(look.width or PROSE_WIDTH, 100)):
            yield f"{bold}{line}{off}\n"
        yield "\n"
    heads, *body = texts
    if not grid.record:
        yield from (f"{bold}{line}{off}\n" for line in lines(heads, bottom=True))
        yield f"{dim}{rule}{off}\n"
    total = body.pop() if grid.total is not None else None
    for cells in body:
        yield from (f"{line}\n" for line in lines(cells))
    if total is not None:
        yield f"{dim}{rule}{off}\n"
        yield from (f"{bold}{line}{off}\n" for line in lines(total))
    for paragraph in prose(table):
        for i, line in enumerate(wrap(paragraph, min(look.width or PROSE_WIDTH, 100))):
            yield f"{'' if i else chr(10)}{dim}{line}{off}\n"
