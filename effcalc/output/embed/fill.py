"""Fill the regions of one document, of any kind."""

from __future__ import annotations

from typing import NamedTuple

from effcalc.base.errors import InputError, one_line
from effcalc.output.embed.edits import apply, diff_of
from effcalc.output.embed.notebook import fill_cells
from effcalc.output.embed.regions import Compute, checked_edits
from effcalc.output.embed.syntax import syntax_of
from effcalc.output.embed.text import decode


class Filled(NamedTuple):
    """A document filled: its bytes, and the lines of a diff, none where nothing changed."""

    data: bytes
    diff: list[str]


def fill(data: bytes, name: str, compute: Compute) -> Filled:
    """Return the document with the output of its commands; `name` says what kind it is.

    Raises `InputError` with the file and line of a marker that is broken, and whatever `compute`
    raises with the place of its region.
    """
    syntax = syntax_of(name)
    where = one_line(name)
    document = decode(data, where)
    if "effcalc" not in document.text:
        return Filled(data, [])
    if name.lower().endswith(".ipynb"):
        text, diff = fill_cells(document, where, syntax, compute)
    else:
        edits = checked_edits(document.text, document, where, syntax, compute)
        text, diff = apply(document.text, edits), diff_of(document.text, edits, where)
    if not diff:
        return Filled(data, [])
    try:
        return Filled(document.encode(text), diff)
    except UnicodeEncodeError:
        raise InputError(f"{where}: the output cannot be written as {document.encoding}") from None
