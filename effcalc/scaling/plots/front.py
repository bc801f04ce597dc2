"""Candidates of a search: accuracy against cost, the Pareto front, and the best reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effcalc.base.errors import InputError, one_line
from effcalc.output.plots.marks import (
    axis,
    chart_of,
    drawable,
    label_mark,
    labelled,
    place_labels,
    records,
    tooltips,
)
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

_KEYS = ("alpha", "beta", "gamma", "cost", "accuracy", "reward")
_KINDS = ("candidate", "on the front", "best reward")
_NOUNS = {"macs": ("per image", "MACs"), "params": ("", "parameters")}


def front(search: Table) -> Plot:
    """Draw `search_table`: each candidate's accuracy against its cost.

    The line joins the Pareto front, the candidates than which none is both cheaper and at least
    as accurate. Those without an accuracy are left out. Raises `InputError` for another table.
    """
    known = {column.key for column in search.columns}
    if not known.issuperset(_KEYS):
        raise InputError("is no table of effcalc search; save one with its `output` FILE.json")
    table = drawable(search, _KEYS)
    rows = tuple(row for row in table.rows if row["accuracy"] is not None)
    without = len(list(table.rows)) - len(rows)
    if not rows:
        raise InputError("no candidate has an accuracy yet")
    cost = next(column for column in table.columns if column.key == "cost")
    subtitle = [f"{len(rows)} candidates; those with α, β and γ beside them are on the front"]
    if without:
        subtitle.append(f"{without} without an accuracy are not drawn")
    table = Table(table.kind, table.title, table.columns, rows)
    return Plot(
        "front",
        one_line(search.title),
        tuple(subtitle),
        (table,),
        lambda look: _draw(look, table, cost.help),
    )


def on_front(points: list[tuple[float, float]]) -> list[int]:
    """Places of the points (cost, accuracy) on the front, the cheapest first."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front_places: list[int] = []
    for i in order:
        if not front_places or points[i][1] > points[front_places[-1]][1]:
            front_places.append(i)
    return front_places


def _draw(look: PlotLook, table: Table, cost: str) -> alt.TopLevelMixin:
    import altair as alt

    rows = records(table)
    places = on_front([(row["cost"], row["accuracy"]) for row in rows])
    named = _mark(rows, places)
    unit = next(column.unit for column in table.columns if column.key == "cost")
    what, noun = _NOUNS.get(cost, (cost, ""))
    scale = axis(what, unit, [row["cost"] for row in rows], noun)
    x_domain, y_domain = (_room([row[key] for row in rows]) for key in ("cost", "accuracy"))
    width, height = max(look.width - 90, 120), 340
    x = alt.X(
        "cost:Q",
        title=scale.title,
        scale=alt.Scale(domain=x_domain, nice=False),
        axis=alt.Axis(labelExpr=scale.labels, grid=False),
    )
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=y_domain, nice=False))
    theme = look.theme
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=_KINDS, range=[theme.muted, theme.series[0], theme.series[1]]),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape(
        "kind:N", title=None, scale=alt.Scale(domain=_KINDS, range=["circle", "square", "diamond"])
    )
    line = chart_of([rows[i] for i in places]).mark_line(
        interpolate="step-after", strokeWidth=1.5, color=theme.series[0]
    )
    point = chart_of(rows).mark_point(filled=True, size=90, opacity=1)
    shown = tooltips(table, *_KEYS)
    layers: list[Any] = [
        line.encode(x=x, y=y),
        point.encode(x=x, y=y, color=colour, shape=shape, tooltip=shown),
    ]
    spots = [
        (
            (row["cost"] - x_domain[0]) / (x_domain[1] - x_domain[0]) * width,
            (y_domain[1] - row["accuracy"]) / (y_domain[1] - y_domain[0]) * height,
            row["label"] if i in named else "",
        )
        for i, row in enumerate(rows)
    ]
    placements = place_labels(spots, width, ("above left", "left", "below right"))
    for i in named:
        text = chart_of([rows[i]]).encode(x=x, y=y, text="label:N")
        layers.append(labelled(text, theme, **label_mark(placements[i])))
    return alt.layer(*layers).properties(width=width, height=height)


def _mark(rows: list[dict[str, Any]], front_places: list[int]) -> list[int]:
    """Give each row its kind and label; return the places of those that are labelled."""
    best = max(range(len(rows)), key=lambda i: (rows[i]["reward"], -i))
    for i, row in enumerate(rows):
        row["kind"] = _KINDS[2 if i == best else 1 if i in front_places else 0]
        row["label"] = ", ".join(row[f"{key}_text"] for key in _KEYS[:3])
    return sorted({*front_places, best})


def _room(values: list[float]) -> list[float]:
    """Ends of an axis with a little room around the values."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return [low - room, high + room]
