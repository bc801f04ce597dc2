"""One figure, for a sentence."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from effcalc.base.errors import InputError, one_line
from effcalc.base.units import MAX_DIGITS, Unit, Value, format_exact, format_value
from effcalc.output.table import Table, find_column
from effcalc.scaling.scale import Scaled
from effcalc.scaling.tables.scaling import scale_figures


class OneFigure(NamedTuple):
    """A value and its unit."""

    value: Value
    unit: Unit

    def text(self, digits: int) -> str:
        """Write the value to some significant digits."""
        return format_value(self.value, self.unit, digits)

    def exact_text(self) -> str:
        """Write a whole number with all its digits, another with as many as tell it apart."""
        digits = MAX_DIGITS
        if isinstance(self.value, float):
            mantissa = repr(abs(self.value)).partition("e")[0]
            digits = len(mantissa.replace(".", "").strip("0")) or 1
        return format_exact(self.value, self.unit) or self.text(digits)


def scaled_figure(scaled: Scaled, key: str) -> OneFigure:
    """Return what the column `key` of `effcalc scale` says of a network, and compute no other."""
    figures = {figure.key: figure for figure in scale_figures(scaled.arch)}
    column = find_column({k: f.column(()) for k, f in figures.items()}, key, "KEY")
    return _known(figures[key].value(scaled), column.unit, key)


def saved_figure(table: Table, key: str) -> OneFigure:
    """Return the figure of the column `key` of a table that has one row."""
    column = find_column({c.key: c for c in table.columns}, key, "KEY")
    rows = list(islice(table.rows, 2))
    if len(rows) != 1:
        raise InputError("`effcalc value` takes a figure from a table of one row, not of several")
    return _known(rows[0].get(key), column.unit, key)


def _known(value: Value, unit: Unit, key: str) -> OneFigure:
    if value is None:
        raise InputError(f"KEY: there is no figure for {one_line(repr(key), 60)} here")
    return OneFigure(value, unit)
