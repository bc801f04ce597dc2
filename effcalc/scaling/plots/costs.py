"""What several networks cost, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effcalc.output.plots.bars import Panel, bars, check_rows
from effcalc.output.plots.marks import drawable, records
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

FIGURES = {
    "macs": ("MACs", "one image"),
    "params": ("parameters", "a shared one once"),
    "peak_activation_bytes": ("peak activations", "one image"),
}


def costs(comparison: Table) -> Plot:
    """Draw `tables.comparison.compare_table`: a bar for each network, each figure on its axis."""
    table = drawable(comparison, ("network", *FIGURES))
    check_rows(len(list(table.rows)), "name fewer networks")
    return Plot("costs", "What they cost", (), (table,), lambda look: _draw(look, table))


def _draw(look: PlotLook, table: Table) -> alt.TopLevelMixin:
    rows = records(table)
    panels = [
        Panel(title, value_text, [row[key] for row in rows], [row[f"{key}_text"] for row in rows])
        for key, (title, value_text) in FIGURES.items()
    ]
    return bars(look, table, "network", panels, one_scale=False)
