"""How a value shows itself: as a table that a room above its own knows how to make.

A value knows nothing of tables. `effcalc/__init__.py`, above every room, says which function makes
the table of which kind of value; it is imported when a value is first shown.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_TABLES: dict[str, str] = {}


def show_with(**tables: str) -> None:
    """Name, for kinds of values by their class's name, the function that makes their table.

    A function is written "package.module:name".
    """
    _TABLES.update(tables)


def table_of(value: Any) -> Any:
    """Return the table that shows a value."""
    module, _, name = _TABLES[type(value).__name__].partition(":")
    return getattr(import_module(module), name)(value)
