"""GitHub-flavoured Markdown, which MyST reads too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from effcalc.base.errors import one_line
from effcalc.output.formats.core import renderer
from effcalc.output.grid import PROSE_WIDTH, TableLook, make_grid, prose, text_width

if TYPE_CHECKING:
    from effcalc.output.table import Table


# An underscore inside a word and an ampersand that starts no entity are only themselves.
_MARKDOWN_SPECIAL = re.compile(
    r"([\\`*\[\]<|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#|[A-Za-z0-9]+;))"
)


def _markdown(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


@renderer("a GitHub-flavoured Markdown table", (".md", ".markdown"), escape=_markdown)
def render_markdown(table: Table, look: TableLook) -> Iterator[str]:
    """Yield a GFM table whose source is aligned too."""
    grid = make_grid(table, look, "markdown")
    heads = [_markdown(head) or " " for head in grid.heads]
    body = [[_markdown(cell) for cell in line] for line in grid.lines]
    if grid.total is not None:
        body.append([f"**{_markdown(cell)}**" if cell else "" for cell in grid.total])
    widths = [max(3, *(text_width(row[i]) for row in [heads, *body])) for i in range(len(heads))]

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(grid.padded(cells, widths))} |\n"

    if table.title:
        yield f"**{_markdown(one_line(table.title))}**\n\n"
    yield line(heads)
    marks = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, grid.right, strict=True)]
    yield line(marks)
    for cells in body:
        yield line(cells)
    for paragraph in prose(table):
        yield f"\n{_markdown_paragraph(paragraph)}\n"


def _markdown_paragraph(text: str) -> str:
    """Escape text and wrap it; no line may start a block, as `1.` or `-` would a list."""
    from textwrap import wrap as fill

    lines = []
    for line in fill(  # at spaces alone, and one column is left for an escape
        _markdown(text), PROSE_WIDTH - 1, break_long_words=False, break_on_hyphens=False
    ):
        start = re.match(r"[0-9]+[.)]|[-+=>#]", line)
        at = start.end() - 1 if start else 0
        lines.append(line[:at] + ("\\" if start else "") + line[at:])
    return "\n".join(lines)
