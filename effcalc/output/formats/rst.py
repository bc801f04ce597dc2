"""reStructuredText: a list-table, whose source changes by a line where a figure does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from effcalc.base.errors import one_line
from effcalc.output.formats.core import renderer
from effcalc.output.grid import PROSE_WIDTH, TableLook, make_grid, prose

if TYPE_CHECKING:
    from effcalc.output.table import Table

# Inline markup, and what makes a reference, an address or a literal block of a word. An underscore
# inside a word is only itself.
_SPECIAL = re.compile(r"([\\*`|@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:):)")
# A bullet, an enumerator, an option, a field or a ruler, where a block would start; a backslash
# before the first character leaves text.
_BLOCK = re.compile(
    r"[-*+•‣⁃](?=\s|\Z)|\(?(?:[0-9]+|[A-Za-z]|[ivxlcdmIVXLCDM]+|#)[.)](?=\s|\Z)"
    r"|[-+/](?=[A-Za-z0-9-])|:|[!-/:-@\[-`{-~]{2}|[!-/:-@\[-`{-~]\Z"
)


def _rst(text: str) -> str:
    """Escape what reStructuredText would read as inline markup."""
    return _SPECIAL.sub(r"\\\1", text)


def _block(text: str) -> str:
    """Escape text where a block starts."""
    escaped = _rst(text)
    return f"\\{escaped}" if _BLOCK.match(text) and not escaped.startswith("\\") else escaped


def _paragraph(text: str) -> Iterator[str]:
    from textwrap import wrap as fill

    for line in fill(_rst(text), PROSE_WIDTH - 1, break_long_words=False, break_on_hyphens=False):
        yield f"\\{line}\n" if _BLOCK.match(line) and not line.startswith("\\") else f"{line}\n"


@renderer("a reStructuredText list-table", (".rst", ".rest"), escape=_rst)
def render_rst(table: Table, look: TableLook) -> Iterator[str]:
    """Yield a `list-table` directive; its notes are the paragraphs after it."""
    grid = make_grid(table, look, "rst")

    def row(cells: list[str]) -> str:
        lines = [f"     - {cell}".rstrip() for cell in cells]
        lines[0] = f"   * - {cells[0]}".rstrip()
        return "\n".join(lines) + "\n"

    yield f".. list-table:: {_block(one_line(table.title))}".rstrip() + "\n"
    yield "   :header-rows: 1\n\n"
    yield row([_block(head) for head in grid.heads])
    for cells in grid.lines:
        yield row([_block(cell) for cell in cells])
    if grid.total is not None:
        yield row([f"**{_rst(cell)}**" if cell else "" for cell in grid.total])
    for paragraph in prose(table):
        yield "\n"
        yield from _paragraph(paragraph)
