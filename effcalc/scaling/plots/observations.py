"""Accuracy gained for cost: depth, width and resolution alone, and all three together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from effcalc.output.plots.marks import DASHES, SHAPES, chart_of, drawable, records, tooltips
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

    from effcalc.output.plots.marks import Layers

SERIES = ("all three", "depth", "width", "resolution")

_KEYS = ("label", "scaled", "params", "macs", "growth", "top1", "gain", "rate")


def observations(tables: Sequence[Table]) -> Plot:
    """Draw one panel for each `observations_table`."""
    drawn = tuple(drawable(table, _KEYS) for table in tables)
    return Plot(
        "observations",
        "Accuracy gained for cost, by what is scaled",
        ("published ImageNet top-1 accuracy (Tan & Le 2019, tables 3 and 7) against exact MACs",),
        drawn,
        lambda look: _draw(look, drawn),
    )


def _draw(look: PlotLook, tables: Sequence[Table]) -> alt.TopLevelMixin:
    import altair as alt

    columns = min(len(tables), 2)
    width = max((look.width - 40) / columns - 44, 80)
    data = [records(table) for table in tables]
    cost = max(record["growth"] for rows in data for record in rows)
    gain = max(record["gain"] or 0.0 for rows in data for record in rows)
    x_scale = alt.Scale(type="log", base=2, domain=[0.93, max(cost * 1.08, 2)], nice=False)
    y_scale = alt.Scale(domain=[min(-0.2, -gain * 0.03), gain * 1.08], nice=False)
    present = {record["scaled"] for rows in data for record in rows}
    names = [name for name in SERIES if name in present]
    indices = [SERIES.index(name) for name in names]
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=names, range=[look.theme.series[i] for i in indices]),
        legend=alt.Legend(symbolSize=120, symbolStrokeWidth=0),
    )
    shape = alt.Shape("series:N", scale=alt.Scale(domain=names, range=[SHAPES[i] for i in indices]))
    dash = alt.StrokeDash(
        "series:N", scale=alt.Scale(domain=names, range=[DASHES[i] for i in indices]), legend=None
    )
    encoding = {"color": colour, "shape": shape, "strokeDash": dash}
    panels = []
    for i, (table, rows) in enumerate(zip(tables, data, strict=True)):
        x = alt.X(
            "growth:Q",
            title="MACs, times the unscaled network's" if i >= len(tables) - columns else None,
            scale=x_scale,
            axis=alt.Axis(grid=False, values=[1, 2, 4, 8, 16], format="~g"),
        )
        y = alt.Y(
            "gain:Q",
            title="top-1, points gained" if i % columns == 0 else None,
            scale=y_scale,
            axis=alt.Axis(tickCount=6, format="~g"),
        )
        panel = _panel(look, table, rows, {"x": x, "y": y, **encoding})
        panels.append(panel.properties(width=width, height=190))
    return alt.concat(*panels, columns=columns, spacing=22)


def _panel(
    look: PlotLook, table: Table, rows: list[dict[str, Any]], encoding: dict[str, Any]
) -> Layers:
    """Draw one table: a line from the unscaled network to each scaled one."""
    import altair as alt

    place = {"x": encoding["x"], "y": encoding["y"], "color": encoding["color"]}
    scaled = [row | {"series": row["scaled"]} for row in rows if row["scaled"] in SERIES]
    base = next(row for row in rows if row["scaled"] not in SERIES) | {"gain": 0.0}
    lines = [part | {"series": row["scaled"]} for row in scaled for part in (base, row)]
    tip = tooltips(table, "label", "params", "macs", "growth", "top1", "gain", "rate")
    base_tip = tooltips(table, "label", "params", "macs", "top1")
    line = chart_of(lines).mark_line(strokeWidth=2)
    point = chart_of(scaled).mark_point(filled=True, size=100, opacity=1)
    start = chart_of([base]).mark_point(filled=True, size=60, color=look.theme.ink, opacity=1)
    return alt.layer(
        line.encode(**place, strokeDash=encoding["strokeDash"]),
        start.encode(x=encoding["x"], y=encoding["y"], tooltip=base_tip),
        point.encode(**place, shape=encoding["shape"], tooltip=tip),
        title=alt.Title(
            table.title,
            subtitle=f"{base['top1']:g}% at {base['macs_text']} MACs",
            fontSize=13,
            offset=4,
        ),
    )
