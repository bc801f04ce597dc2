"""Where the MACs, the parameters and the activations of a network sit, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effcalc.base.units import format_value
from effcalc.output.plots.bars import Panel, bars, check_rows
from effcalc.output.plots.marks import drawable, records
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

FIGURES = {"macs": "MACs", "params": "parameters", "activation_bytes": "activations"}


def stages(breakdown: Table) -> Plot:
    """Draw `breakdown_table`: a bar for each part, its share of the network's total.

    Raises `InputError` for more parts than a picture can show.
    """
    table = drawable(breakdown, ("name", *FIGURES))
    check_rows(len(list(table.rows)), "`per` block or `per` stage has fewer")
    per = breakdown.columns[0].title
    total = dict(breakdown.total or {})
    return Plot(
        "stages",
        f"{breakdown.title}: where the cost sits, by {per}",
        ("share of the network's total, one image",),
        (table,),
        lambda look: _draw(look, table, total),
    )


def _draw(look: PlotLook, table: Table, total: dict[str, Any]) -> alt.TopLevelMixin:
    rows = records(table)
    units = {column.key: column.unit for column in table.columns}
    panels = []
    for key, title in FIGURES.items():
        shares = [row[key] / total[key] if total[key] else 0.0 for row in rows]
        texts = [_percent(share) for share in shares]
        panels.append(Panel(title, format_value(total[key], units[key]), shares, texts))
    return bars(look, table, "name", panels, one_scale=True)


def _percent(share: float) -> str:
    if not share:
        return "–"
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"
