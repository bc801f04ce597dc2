"""Where the MACs, the parameters and the activations of a network sit, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effcalc.errors import InputError
from effcalc.plots.marks import chart_of, drawable, records, tooltips
from effcalc.plots.style import Look, Plot
from effcalc.table import Table

if TYPE_CHECKING:
    import altair as alt

PARTS = 120
"""Parts that one picture shows at most."""

FIGURES = {"macs": "MACs", "params": "parameters", "activation_bytes": "activations"}


def stages(breakdown: Table) -> Plot:
    """Draw `views.scaling.breakdown_table`: a bar for each part, its share of the network's total.

    Raises `InputError` for more parts than a picture can show.
    """
    table = drawable(breakdown, ("name", *FIGURES))
    total = breakdown.total or {}
    rows = list(table.rows)
    if len(rows) > PARTS:
        raise InputError(
            f"this has {len(rows):,} parts and a plot shows at most {PARTS}; "
            "--per block or --per stage has fewer"
        )
    per = breakdown.columns[0].title
    return Plot(
        "stages",
        f"{breakdown.title}: where the cost sits, by {per}",
        ("share of the network's total, one image",),
        (table,),
        lambda look: _draw(look, table, {key: total[key] for key in FIGURES}),
    )


def _draw(look: Look, table: Table, total: dict[str, Any]) -> alt.TopLevelMixin:
    import altair as alt

    from effcalc.units import format_value

    rows = records(table)
    names = [row["name"] for row in rows]
    room = 6 * max(map(len, names), default=0)
    width = max((look.width - room - 90) / len(FIGURES), 60)
    units = {column.key: column.unit for column in table.columns}
    shares = [row[key] / total[key] for row in rows for key in FIGURES if total[key]]
    domain = [0, (max(shares, default=0) or 1) * 1.35]  # one for all panels, and room for texts
    panels = []
    for i, (key, title) in enumerate(FIGURES.items()):
        data = [
            {**row, "share": row[key] / total[key] if total[key] else 0.0, "order": at}
            for at, row in enumerate(rows)
        ]
        y = alt.Y(
            "order:O",
            title=None,
            scale=alt.Scale(paddingInner=0.28, paddingOuter=0.15),
            axis=alt.Axis(labelExpr=_names(names), labelColor=look.theme.ink, labelLimit=400)
            if i == 0
            else None,
        )
        x = alt.X("share:Q", axis=None, scale=alt.Scale(domain=domain, nice=False))
        base = chart_of(data).encode(x=x, y=y, tooltip=tooltips(table, "name", *FIGURES))
        label = base.mark_text(align="left", dx=5, color=look.theme.ink)
        share = (
            "datum.share >= 0.0005 ? format(datum.share, '.1%') : datum.share > 0 ? '<0.1%' : '–'"
        )
        whole = format_value(total[key], units[key])
        panel = alt.layer(
            base.mark_bar(color=look.theme.bar),
            label.transform_calculate(label=share).encode(text="label:N"),
        )
        panels.append(
            panel.properties(
                width=width,
                height=alt.Step(24),
                title=alt.Title(
                    title,
                    subtitle=f"{whole}",
                    fontSize=13,
                    offset=6,
                    anchor="start",
                ),
            )
        )
    return alt.hconcat(*panels, spacing=24)


def _names(names: list[str]) -> str:
    """Return the expression of the labels: names by their place, since two may be equal."""
    import json

    return f"{json.dumps(names, ensure_ascii=False)}[datum.value]"
