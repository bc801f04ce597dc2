"""CSV, with exact values."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import TYPE_CHECKING

from effcalc.base.units import Value, int_text
from effcalc.output.formats.core import renderer
from effcalc.output.grid import TableLook
from effcalc.output.table import stream

if TYPE_CHECKING:
    from effcalc.output.table import Table


@renderer("exact values, one line a row; streams any number of rows", (".csv",), head=1)
def render_csv(table: Table, look: TableLook) -> Iterator[str]:
    """Yield the keys, then each row: RFC 4180 quoting, lines ended by a newline alone.

    Nothing else is in it: no notes, conventions or total, so that every line is a row.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def line(values: Iterable[object]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(values)
        return buffer.getvalue()

    yield line(column.key for column in table.columns)
    for values in stream(table):
        yield line(map(_csv_value, values))


def _csv_value(value: Value) -> str | float | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return int_text(value) if isinstance(value, int) else value
