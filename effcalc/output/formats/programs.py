"""Formats for programs: CSV and JSON, with exact values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING

from effcalc.base.units import Value, int_text
from effcalc.output.formats.core import renderer
from effcalc.output.grid import TableLook
from effcalc.output.table import stream

if TYPE_CHECKING:
    from effcalc.output.table import Table

SCHEMA = "urn:effcalc:table:1"
"""Names the JSON Schema, `effcalc/output/schema/table.schema.json`, that JSON output follows."""


@renderer("csv", "exact values, one line a row; streams any number of rows", (".csv",), head=1)
def render_csv(table: Table, look: TableLook) -> Iterator[str]:
    """Yield the keys, then each row: RFC 4180 quoting, lines ended by a newline alone.

    Nothing else is in it: no notes, conventions or total, so that every line is a row.
    """
    import csv
    from io import StringIO

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


@renderer("json", "exact values and what they mean; streams any number of rows", (".json",))
def render_json(table: Table, look: TableLook) -> Iterator[str]:
    """Yield one object that follows `output/schema/table.schema.json`, a row on each line."""
    from effcalc.base.version import __version__

    def item(key: str, value: object) -> str:
        return f"  {_json(key)}: {_json(value)}"

    keys = [f"{_json(column.key)}: " for column in table.columns]
    head = {
        "schema": SCHEMA,
        "kind": table.kind,
        "title": table.title,
        "effcalc": __version__,
        "command": table.command,
        "conventions": table.conventions,
    }
    if table.environment is not None:
        head["environment"] = table.environment
    yield "{\n" + "".join(f"{item(key, value)},\n" for key, value in head.items())
    columns = [
        {"key": c.key, "title": c.title, "unit": c.unit, "help": c.help} for c in table.columns
    ]
    yield '  "columns": [\n' + ",\n".join(f"    {_json(column)}" for column in columns)
    yield '\n  ],\n  "rows": ['
    between = "\n"
    for values in stream(table):
        yield f"{between}    {_json_row(keys, values)}"
        between = ",\n"
    yield "\n  ],\n" if between != "\n" else "],\n"
    if table.total is not None:
        yield f"{item('total', {c.key: table.total.get(c.key) for c in table.columns})},\n"
    yield f"{item('notes', list(table.notes))}\n}}\n"


def _json_row(keys: list[str], values: list[Value]) -> str:
    cells = (f"{key}{_json(value)}" for key, value in zip(keys, values, strict=True))
    return f"{{{', '.join(cells)}}}"


@renderer(
    "jsonl", "exact values, one object a line; streams any number of rows", (".jsonl",), head=0
)
def render_jsonl(table: Table, look: TableLook) -> Iterator[str]:
    """Yield JSON Lines: each row an object by the keys of the columns, and nothing else."""
    keys = [f"{_json(column.key)}: " for column in table.columns]
    for values in stream(table):
        yield f"{_json_row(keys, values)}\n"


def _json(value: object) -> str:
    """Write JSON on one line: ints of any size, and null for what JSON has no number for."""
    import json

    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate, as from a file name that is not UTF-8
            return json.dumps(value)
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_json(k)}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return int_text(value)
    if isinstance(value, float):
        return repr(value) if isfinite(value) else "null"
    raise TypeError(f"no JSON for {type(value).__name__}")
