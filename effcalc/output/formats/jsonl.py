"""JSON Lines, with exact values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from effcalc.output.formats.core import renderer
from effcalc.output.formats.json import json_row, json_text
from effcalc.output.grid import TableLook
from effcalc.output.table import stream

if TYPE_CHECKING:
    from effcalc.output.table import Table


@renderer("exact values, one object a line; streams any number of rows", (".jsonl",), head=0)
def render_jsonl(table: Table, look: TableLook) -> Iterator[str]:
    """Yield JSON Lines: each row an object by the keys of the columns, and nothing else."""
    keys = [f"{json_text(column.key)}: " for column in table.columns]
    for values in stream(table):
        yield f"{json_row(keys, values)}\n"
