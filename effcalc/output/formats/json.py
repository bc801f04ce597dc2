"""JSON, with exact values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING

from effcalc.base.units import Value, int_text
from effcalc.base.version import __version__
from effcalc.output.formats.core import renderer
from effcalc.output.grid import TableLook
from effcalc.output.table import stream

if TYPE_CHECKING:
    from effcalc.output.table import Table

SCHEMA = "urn:effcalc:table:1"
"""Names the JSON Schema, `effcalc/output/schema/table.schema.json`, that JSON output follows."""


@renderer("exact values and what they mean; streams any number of rows", (".json",))
def renderjson_text(table: Table, look: TableLook) -> Iterator[str]:
    """Yield one object that follows `output/schema/table.schema.json`, a row on each line."""

    def item(key: str, value: object) -> str:
        return f"  {json_text(key)}: {json_text(value)}"

    keys = [f"{json_text(column.key)}: " for column in table.columns]
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
    yield '  "columns": [\n' + ",\n".join(f"    {json_text(column)}" for column in columns)
    yield '\n  ],\n  "rows": ['
    between = "\n"
    for values in stream(table):
        yield f"{between}    {json_row(keys, values)}"
        between = ",\n"
    yield "\n  ],\n" if between != "\n" else "],\n"
    if table.total is not None:
        yield f"{item('total', {c.key: table.total.get(c.key) for c in table.columns})},\n"
    yield f"{item('notes', list(table.notes))}\n}}\n"


def json_row(keys: list[str], values: list[Value]) -> str:
    """Write a row as an object; `keys` end in a colon and a space."""
    cells = (f"{key}{json_text(value)}" for key, value in zip(keys, values, strict=True))
    return f"{{{', '.join(cells)}}}"


def json_text(value: object) -> str:
    """Write JSON on one line: ints of any size, and null for what JSON has no number for."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate, as from a file name that is not UTF-8
            return json.dumps(value)
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json_text(k)}: {json_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_text, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return int_text(value)
    if isinstance(value, float):
        return repr(value) if isfinite(value) else "null"
    raise TypeError(f"no JSON for {type(value).__name__}")
