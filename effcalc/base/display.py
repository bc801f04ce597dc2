"""How a value shows itself: by functions of rooms above its own.

A network knows nothing of tables, and a table nothing of formats. `effcalc/__init__.py`, above
every room, says which function shows which kind of value; it is imported when a value is first
shown. A function is written "package.module:name".
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_FUNCTIONS: dict[str, str] = {}


def show_with(**functions: str) -> None:
    """Name, for kinds of values by their class's name, the function that shows one.

    That of a Table returns its text, those of other values return their Table.
    """
    _FUNCTIONS.update(functions)


def shown(value: Any, *arguments: Any) -> Any:
    """Return the table of a value, or the text of a table."""
    return _call(type(value).__name__, value, *arguments)


def figures_of(value: Any) -> Any:
    """Return the totals of a value, which "<class>_figures" of `show_with` computes."""
    return _call(f"{type(value).__name__}_figures", value)


def _call(key: str, value: Any, *arguments: Any) -> Any:
    return function_at(_FUNCTIONS[key])(value, *arguments)


def function_at(path: str) -> Any:
    """Import and return the function that "package.module:name" names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
