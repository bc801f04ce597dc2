"""Arguments of the Python functions as the command line calls them.

A message of the domain has an argument's name in backquotes, "`image_size` is too large", which
reads well in Python; here it becomes "--image-size is too large".
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effcalc.output.page import Item, Page
    from effcalc.output.table import Table

_ARGUMENT = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)*)`")

_OPTIONS = {"knobs": "--set"}
"""Options that are not called as their argument."""


def with_options(text: str) -> str:
    """Replace each argument's name in backquotes by the option that sets it."""
    return _ARGUMENT.sub(lambda m: _OPTIONS.get(m[1], "--" + m[1].replace("_", "-")), text)


def table_with_options(table: Table) -> Table:
    """Replace the names of arguments in a table's notes, meanings and, where held, cells."""
    rows = table.rows
    if isinstance(rows, (list, tuple)):
        rows = [
            {k: with_options(v) if isinstance(v, str) else v for k, v in row.items()}
            for row in rows
        ]
    return replace(
        table,
        notes=tuple(map(with_options, table.notes)),
        columns=tuple(c._replace(help=with_options(c.help)) for c in table.columns),
        rows=rows,
    )


def page_with_options(page: Page) -> Page:
    """Replace the names of arguments in a page's tables."""
    sections = [s._replace(items=[_item(item) for item in s.items]) for s in page.sections]
    return page._replace(sections=sections)


def _item(item: Item) -> Item:
    from effcalc.output.page import Folded
    from effcalc.output.table import Table

    if isinstance(item, Folded):
        return item._replace(table=table_with_options(item.table))
    return table_with_options(item) if isinstance(item, Table) else item
