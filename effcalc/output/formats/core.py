"""The output formats: a file each in this folder, which `--format` follows."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from effcalc.base.errors import named
from effcalc.output.grid import TableLook

if TYPE_CHECKING:
    from effcalc.output.table import Table

Renderer: TypeAlias = "Callable[[Table, TableLook], Iterator[str]]"


class Format(NamedTuple):
    """One output format; `render` yields its text in pieces, row by row where it can.

    `fragment` does the same for a table that goes into a document, and `escape` writes a piece of
    text so that it means itself there; formats that no document has leave text as it is.
    """

    name: str
    help: str
    suffixes: tuple[str, ...]  # of the file names that imply it
    render: Renderer
    fragment: Renderer
    escape: Callable[[str], str] = str
    head: int | None = None  # lines before the first row, where every line after is a row


_imported: dict[str, Format] = {}


def _names() -> list[str]:
    """Return the names of the files in this folder, "table" first."""
    folders = sys.modules[__package__].__path__  # a test adds one
    files = {file for folder in folders for file in os.listdir(folder)}
    names = {file.removesuffix(".py") for file in files if file.endswith(".py")}
    return sorted(names - {"__init__", "core"}, key=lambda name: (name != "table", name))


class _Formats(Mapping[str, Format]):
    """Every output format by its name; its file is imported when it is asked for."""

    def __getitem__(self, name: str) -> Format:
        if name not in _imported:
            if name not in _names():
                raise KeyError(name)
            importlib.import_module(f"{__package__}.{name}")
        return _imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())


FORMATS = _Formats()


def renderer(
    help: str,
    suffixes: tuple[str, ...] = (),
    *,
    escape: Callable[[str], str] = str,
    fragment: Renderer | None = None,
    head: int | None = None,
) -> Callable[[Renderer], Renderer]:
    """Make a function the renderer of the format that its file is named after."""

    def register(render: Renderer) -> Renderer:
        name = render.__module__.rpartition(".")[2]
        _imported[name] = Format(name, help, suffixes, render, fragment or render, escape, head)
        return render

    return register


def find_format(name: str | None, file_name: str = "") -> Format:
    """Return the named format; without a name the one that the file's suffix implies, or table."""
    if name is None and not file_name:
        name = "table"
    elif name is None:
        name = next(
            (f.name for f in FORMATS.values() if file_name.lower().endswith(f.suffixes or ("\0",))),
            "table",
        )
    return named(name, FORMATS, "format", "`format`")


def render(table: Table, format: str = "table", look: TableLook | None = None) -> Iterator[str]:
    """Yield the table as text in the named format."""
    return find_format(format).render(table, look or TableLook())


def text(table: Table, format: str, digits: int, fragment: bool = False) -> str:
    """Return the table as text, or with `fragment` as what goes into a document."""
    writer = find_format(format)
    return "".join((writer.fragment if fragment else writer.render)(table, TableLook(digits)))
