"""Read back a table that effcalc wrote with `--format json`: what was measured, kept.

The file may be a stranger's: it is bounded, checked against what `formats.render_json` writes,
and nothing in it is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from effcalc.base.errors import InputError, one_line
from effcalc.base.paths import to_read
from effcalc.base.units import UNITS, Value
from effcalc.output.formats.json import SCHEMA
from effcalc.output.table import Column, Row, Table

MAX_BYTES = 64 << 20
_TEXTS = ("kind", "title", "command")


def read_saved(path: str | Path) -> Table:
    """Read a table from the JSON that effcalc wrote to `path`; raises `InputError`."""
    where = one_line(path)
    try:
        with to_read(Path(path)).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{where}: is not a path: {error}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: is larger than 64 MiB")
    try:
        document = json.loads(data, parse_constant=_not_json)
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply to be read") from None
    except ValueError as error:
        raise InputError(f"{where}: is not JSON that effcalc wrote: {one_line(error)}") from None
    return _table(document, where)


def latency(path: str | Path) -> float:
    """Return the one latency, in seconds, that a saved profile holds; raises `InputError`."""
    return read_latency(path)[0]


def read_latency(path: str | Path) -> tuple[float, Row]:
    """Return the one latency of a saved profile, and its row; raises `InputError`."""
    table = read_saved(path)
    where = one_line(path)
    if "latency" not in (column.key for column in table.columns):
        raise InputError(
            f"{where}: holds no latency; save one with `effcalc profile NETWORK -o {where}`"
        )
    measured = [row for row in table.rows if row.get("latency") is not None]
    if len(measured) != 1:
        raise InputError(
            f"{where}: holds {len(measured)} latencies; profile one batch and one dtype for it"
        )
    value = measured[0]["latency"]
    if isinstance(value, str | bool) or value is None or not value > 0:
        raise InputError(f"{where}: the latency {one_line(repr(value), 40)} is no time")
    return float(value), measured[0]


def _table(document: Any, where: str) -> Table:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"{where}: is not a table that effcalc wrote; use `format` json")
    for key in _TEXTS:
        if not isinstance(document.get(key), str):
            _refuse(where, f"{key} is not text")
    notes = document.get("notes")
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        _refuse(where, "notes is not a list of texts")
    columns = _columns(document.get("columns"), where)
    keys = {column.key for column in columns}
    rows = document.get("rows")
    if not isinstance(rows, list):
        _refuse(where, "rows is not a list")
    total = document.get("total")
    environment = document.get("environment")
    conventions = _record(document.get("conventions"), "conventions", where)
    return Table(
        kind=document["kind"],
        title=document["title"],
        columns=columns,
        rows=tuple(_row(row, f"row {i}", keys, where) for i, row in enumerate(rows, 1)),
        notes=tuple(notes),
        total=None if total is None else _row(total, "total", keys, where),
        command=document["command"],
        conventions={key: str(value) for key, value in conventions.items()},
        environment=None if environment is None else _record(environment, "environment", where),
    )


def _columns(items: Any, where: str) -> tuple[Column, ...]:
    columns = []
    for item in items if isinstance(items, list) else ():
        known = item if isinstance(item, dict) else {}
        texts = [known.get(key) for key in ("key", "title", "unit", "help")]
        if not all(isinstance(text, str) for text in texts):
            _refuse(where, "a column is not key, title, unit and help")
        if known["unit"] not in UNITS:
            _refuse(where, f"there is no unit {one_line(known['unit'], 40)!r}")
        columns.append(Column(known["key"], known["title"], known["unit"], known["help"]))
    keys = {column.key for column in columns}
    if not keys or len(keys) != len(columns):
        _refuse(where, "it needs columns, each with its own key")
    return tuple(columns)


def _row(row: Any, what: str, keys: set[str], where: str) -> Row:
    record = _record(row, what, where)
    if not record.keys() <= keys:
        _refuse(where, f"{what} has a figure without a column")
    return record


def _record(value: Any, what: str, where: str) -> Mapping[str, Value]:
    if not isinstance(value, dict):
        _refuse(where, f"{what} is not an object")
    for item in value.values():
        if not isinstance(item, int | float | str | None):
            _refuse(where, f"{what} holds {one_line(repr(item), 40)}, which is no figure")
    return value


def _refuse(where: str, why: str) -> NoReturn:
    raise InputError(f"{where}: is not a table that effcalc wrote: {why}")


def _not_json(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
