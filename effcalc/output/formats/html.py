"""HTML: a page of its own, or a figure inside another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING

from effcalc.base.errors import one_line
from effcalc.base.units import Value
from effcalc.output.formats.core import renderer
from effcalc.output.grid import TableLook, make_grid, prose

if TYPE_CHECKING:
    from effcalc.output.table import Table


_STYLE = """\
.effcalc{margin:1em 0;overflow-x:auto}
.effcalc table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.effcalc caption{font-weight:600;text-align:left;padding:.3em .7em}
.effcalc th,.effcalc td{padding:.25em .7em;text-align:left;vertical-align:top}
.effcalc .n{text-align:right;white-space:nowrap}
.effcalc thead th{border-bottom:1px solid #8a8a8a;vertical-align:bottom}
.effcalc tfoot td{border-top:1px solid #8a8a8a;font-weight:600}
.effcalc tbody tr:nth-child(even){background:#7f7f7f1a}
.effcalc figcaption{font-size:.85em;opacity:.8;max-width:60em;padding:.3em .7em}
"""  # colours are the page's own, so a figure fits a light page and a dark one

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;margin:2em}}</style>
</head>
<body>
"""


def _html(text: str) -> str:
    from html import escape

    return escape(text)


def html_fragment(
    table: Table, look: TableLook | None = None, *, sorts: bool = False
) -> Iterator[str]:
    """Yield a `<figure>` with its own style, to be placed inside another page.

    A page that `sorts` tables has the style itself: the figure is of the class `sorts` where its
    table has rows to sort, and a number's exact value is in `data-v`.
    """
    grid = make_grid(table, look or TableLook(), "html")
    kinds = [' class="n"' if right else "" for right in grid.right]

    def line(cells: Iterable[str], values: Iterable[Value] = ()) -> str:
        exact = [_exact(value) for value in values] if sorts else []
        exact = exact or [""] * len(kinds)
        inner = (
            f"<td{kind}{value}>{_html(cell)}</td>"
            for kind, cell, value in zip(kinds, cells, exact, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>\n"

    if sorts:
        yield f'<figure class="effcalc{"" if grid.record else " sorts"}">\n<table>\n'
    else:
        yield f'<figure class="effcalc">\n<style>\n{_STYLE}</style>\n<table>\n'
    if table.title:
        yield f"<caption>{_html(one_line(table.title))}</caption>\n"
    heads = (
        f'<th scope="col"{kind}{f""" title="{_html(help)}" """.rstrip() if help else ""}>'
        f"{_html(head)}</th>"
        for head, help, kind in zip(grid.heads, grid.helps, kinds, strict=True)
    )
    yield f"<thead>\n<tr>{''.join(heads)}</tr>\n</thead>\n<tbody>\n"
    for cells, values in zip(grid.lines, grid.values or repeat(()), strict=False):
        yield line(cells, values)
    yield "</tbody>\n"
    if grid.total is not None:
        yield f"<tfoot>\n{line(grid.total)}</tfoot>\n"
    yield "</table>\n"
    if paragraphs := prose(table):
        yield f"<figcaption>{'<br>'.join(map(_html, paragraphs))}</figcaption>\n"
    yield "</figure>\n"


def _exact(value: Value) -> str:
    """Return the attribute that holds a number as a float has it, which is enough to sort by."""
    if value is None or isinstance(value, str | bool):
        return ""
    try:
        return f' data-v="{float(value)!r}"'
    except OverflowError:
        return ' data-v="Infinity"'


@renderer(
    "a page that stands alone, light and dark",
    (".html", ".htm"),
    escape=_html,
    fragment=html_fragment,
)
def render_html(table: Table, look: TableLook) -> Iterator[str]:
    """Yield a whole page that holds the table and needs nothing else."""
    fragment = html_fragment(table, look)
    first = next(fragment)  # a table of too many rows is refused before anything is written
    yield _PAGE.format(title=_html(one_line(table.title) or table.kind))
    yield first
    yield from fragment
    yield "</body>\n</html>\n"
