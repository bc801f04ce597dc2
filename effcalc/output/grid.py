"""What a table says to a person: its cells as text, and how wide they are.

The formats for people (`formats/`) share this; formats for programs write exact values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from effcalc.base.errors import one_line
from effcalc.base.units import DEFAULT_DIGITS, Value, format_exact, format_value
from effcalc.output.table import take

if TYPE_CHECKING:
    from effcalc.output.table import Row, Table

ROW_LIMIT = 10_000
"""Rows that a format for people, which aligns all of them, holds at most."""

PROSE_WIDTH = 80


class TableLook(NamedTuple):
    """How a table should look to a person; formats for programs ignore it."""

    digits: int = DEFAULT_DIGITS  # significant digits
    width: int | None = None  # columns of the terminal; None for a file or a pipe
    color: bool = False


class Grid(NamedTuple):
    """A table's text: what each cell says, and which columns are aligned to the right."""

    heads: list[str]
    helps: list[str]
    right: list[bool]
    lines: list[list[str]]
    total: list[str] | None = None
    record: bool = False  # figures down the page, where heads say nothing
    values: tuple[tuple[Value, ...], ...] = ()  # what the lines say, exactly; none of a record

    def padded(self, cells: list[str], widths: list[int]) -> list[str]:
        """Bring one line of cells to the columns' widths, each on its side."""
        padded = []
        for cell, width, right in zip(cells, widths, self.right, strict=True):
            pad = " " * (width - text_width(cell))
            padded.append(pad + cell if right else cell + pad)
        return padded


def make_grid(table: Table, look: TableLook, name: str, *, single_as_record: bool = False) -> Grid:
    """Write every cell for the format `name`; `single_as_record` is for the layout "auto"."""
    rows = take(table.rows, ROW_LIMIT, f"`format` {name}")
    single = single_as_record and len(rows) == 1 and table.total is None
    if table.layout == "record" or (table.layout == "auto" and single):
        return _record(table, rows, look)
    columns = [c for c in table.columns if c.default] or list(table.columns)

    def cells(row: Row) -> list[str]:
        return [format_value(row.get(c.key), c.unit, look.digits) for c in columns]

    total = table.total
    blank = {c.key: "" for c in columns}  # a column that has no sum
    return Grid(
        heads=[one_line(column.title) for column in columns],
        helps=[one_line(column.help) for column in columns],
        right=[column.unit != "text" for column in columns],
        lines=[cells(row) for row in rows],
        total=None if total is None else cells(blank | dict(total)),
        values=tuple(tuple(row.get(c.key) for c in columns) for row in rows),
    )


def _record(table: Table, rows: list[Row], look: TableLook) -> Grid:
    """Turn rows into a list of figures: fitted, exact, and what each means."""
    lines = []
    for row in rows:
        for column in [c for c in table.columns if c.default] or table.columns:
            value = row.get(column.key)
            exact = format_exact(value, column.unit)
            fitted = format_value(value, column.unit, look.digits)
            exact = exact if len(exact) <= 24 and exact != fitted else ""
            lines.append([one_line(column.title), fitted, exact, one_line(column.help)])
    heads, right = ["Figure", "Value", "Exact", "Meaning"], [False, True, True, False]
    keep = [i for i in range(4) if i < 2 or any(line[i] for line in lines)]
    return Grid(
        heads=[heads[i] for i in keep],
        helps=[""] * len(keep),
        right=[right[i] for i in keep],
        lines=[[line[i] for i in keep] for line in lines],
        record=True,
    )


def prose(table: Table) -> list[str]:
    """Return the table's notes, and last what its words mean."""
    notes = [one_line(note, limit=10_000) for note in table.notes]
    words = "; ".join(f"{word} = {meaning}" for word, meaning in table.conventions.items())
    return [*notes, f"{words}."] if words else notes


def fit(grid: Grid, width: int | None) -> tuple[list[int], list[list[list[str]]]]:
    """Return the columns' widths, and each row (the heads first) as wrapped cells.

    Heads wrap at spaces so that they widen no column; text columns give way, numbers never do.
    """
    rows = [*grid.lines, *([grid.total] if grid.total is not None else [])]
    widths = []
    for i, head in enumerate(grid.heads):
        words = head.split() if not grid.record else []
        widths.append(max([1, *map(text_width, words), *(text_width(row[i]) for row in rows)]))
    least = [w if right else min(w, 16) for w, right in zip(widths, grid.right, strict=True)]
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        if widths[widest] <= least[widest]:
            break  # only numbers are left: a line that is too long beats one that is cut
        widths[widest] -= 1

    def wrapped(cells: list[str]) -> list[list[str]]:
        return [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]

    return widths, [wrapped(grid.heads), *map(wrapped, rows)]


def wrap(text: str, width: int) -> list[str]:
    """Break text at spaces, and a longer word where it has to be, into lines of `width`."""
    if text_width(text) <= width:
        return [text]
    lines, line = [], ""
    for word in text.split():
        if line and text_width(line) + 1 + text_width(word) <= width:
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
        while text_width(word) > width and len(word) > 1:
            cut = next(
                i for i in range(len(word), 0, -1) if i == 1 or text_width(word[:i]) <= width
            )
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [*lines, line]


def text_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii() or max(text) < "\u0300":
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
