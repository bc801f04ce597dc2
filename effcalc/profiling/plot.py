"""Measured layers under the measured roofs of their device, and the time by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from effcalc.base.errors import InputError
from effcalc.base.units import format_bandwidth, format_flops, format_percent
from effcalc.output.plots.marks import (
    DASHES,
    SHAPES,
    chart_of,
    drawable,
    label_mark,
    labelled,
    log_ticks,
    place_labels,
    records,
    tooltips,
)
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Column, Table
from effcalc.profiling.roofline import Ceilings

if TYPE_CHECKING:
    import altair as alt

    from effcalc.output.plots.marks import Layers

BARS = 25
"""Layers that have a bar; the others share the last one."""

LABELS = 8
"""Points that are named: those with the largest share of the time."""

_KEYS = ("name", "time", "share", "flops_rate", "intensity", "bound", "efficiency")


def no_roofs() -> InputError:
    """Return the error that nothing is known to draw layers under."""
    return InputError(
        "a roofline needs the measured roofs of this device, format and number of threads: "
        "run effcalc device first"
    )


def roofline(layers: Table, ceilings: Ceilings | None) -> Plot:
    """Draw a `breakdown_table` by layer or module.

    Above, each layer's FLOP/s against its arithmetic intensity, under the roofs that
    `effcalc device` measured; layers without FLOPs, which have no intensity, are not there.
    Below, the time by layer, those without FLOPs too. Raises `InputError` without roofs.
    """
    if layers.kind != "profile-layers":
        raise InputError(f"a roofline is of layers, and this is a table of kind {layers.kind!r}")
    if ceilings is None:
        raise no_roofs()
    table = drawable(layers, _KEYS)
    roofs = Table(
        "roofs",
        "Roofs",
        (
            Column("level", "level"),
            Column("bandwidth", "bandwidth", "bytes_per_second"),
            Column("flops", "peak", "flops_per_second"),
        ),
        [
            {
                "level": ", ".join(name for name, _ in run),
                "bandwidth": rate,
                "flops": ceilings.flops,
            }
            for rate, run in groupby(ceilings.bandwidths, lambda pair: pair[1])
        ],
    )
    subtitle = (
        "above: layers that compute, area by share of the time; below: the time of every layer",
        "roofs as effcalc device measured them, bytes by effcalc's count: each operand once",
    )
    return Plot(
        "roofline", layers.title, subtitle, (table, roofs), lambda look: _draw(look, table, roofs)
    )


def _draw(look: PlotLook, table: Table, roofs: Table) -> alt.TopLevelMixin:
    import altair as alt

    rows = records(table)
    top = _roofs_and_points(look, table, rows, records(roofs))
    return alt.vconcat(top, _bars(look, table, rows), spacing=28)


def _kind(row: dict[str, Any]) -> str:
    """Return which kind of roof bounds a layer, which its colour shows."""
    bound = row["bound"]
    if bound is None:
        return "no layer"
    return str(bound) if bound in ("compute", "overhead") else "bandwidth"


_KINDS = ("compute", "bandwidth", "overhead", "no layer")


def _colour(look: PlotLook) -> alt.Color:
    import altair as alt

    colours = [*look.theme.series[:3], look.theme.muted]
    return alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(_KINDS), range=colours),
        legend=alt.Legend(title="bound by", titleFontWeight=400, titleColor=look.theme.muted),
    )


@dataclass(frozen=True)
class _Frame:
    """The axes of the upper picture: intensities from left to right, FLOP/s from below."""

    low: float
    high: float
    bottom: float
    top: float
    width: float
    height: float = 340

    def encodings(self) -> dict[str, Any]:
        """Return both axes, logarithmic."""
        import altair as alt

        x = alt.X(
            "intensity:Q",
            title="arithmetic intensity, FLOP/byte",
            scale=alt.Scale(type="log", domain=[self.low, self.high], nice=False),
            axis=alt.Axis(values=log_ticks([self.low, self.high]), format="~g"),
        )
        ticks, label = log_ticks([self.bottom, self.top]), "format(datum.value / 1e9, '~g')"
        y = alt.Y(
            "flops_rate:Q",
            title="achieved, GFLOP/s",
            scale=alt.Scale(type="log", domain=[self.bottom, self.top], nice=False),
            axis=alt.Axis(values=ticks, labelExpr=label),
        )
        return {"x": x, "y": y}

    def place(self, intensity: float, rate: float) -> tuple[float, float]:
        """Return where a point is, in pixels from the upper left."""
        across = math.log(intensity / self.low) / math.log(self.high / self.low)
        down = math.log(self.top / rate) / math.log(self.top / self.bottom)
        return across * self.width, down * self.height


def _frame(
    look: PlotLook, points: list[dict[str, Any]], roofs: list[dict[str, Any]], peak: float
) -> _Frame:
    """Return the axes that hold all points, and the roofs around their ridges."""
    slowest = min(r["bandwidth"] for r in roofs)
    ridges = [peak / r["bandwidth"] for r in roofs]
    intensities = [p["intensity"] for p in points] + [min(ridges) / 2, max(ridges)]
    low, high = min(intensities) / 2, max(intensities) * 2
    rates = [p["flops_rate"] for p in points] + [peak]
    bottom, top = min([*rates, slowest * low]) / 1.5, max(rates) * 1.8
    return _Frame(low, high, bottom, top, max(look.width - 90, 160))


def _roofs_and_points(
    look: PlotLook, table: Table, rows: list[dict[str, Any]], roofs: list[dict[str, Any]]
) -> Layers:
    import altair as alt

    points = [{**r, "kind": _kind(r)} for r in rows if r["flops_rate"] and r["intensity"]]
    peak = roofs[0]["flops"]
    frame = _frame(look, points, roofs, peak)
    axes = frame.encodings()
    layers: list[Any] = []
    for i, roof in enumerate(roofs):
        mark = chart_of(_roof_line(roof["bandwidth"], peak, frame)).mark_line(
            color=look.theme.muted, strokeWidth=1.5, strokeDash=DASHES[i % len(DASHES)]
        )
        layers.append(mark.encode(**axes))
    shapes = alt.Scale(domain=list(_KINDS), range=list(SHAPES[: len(_KINDS)]))
    layers.append(
        chart_of(points)
        .mark_point(filled=True, opacity=0.85)
        .encode(
            **axes,
            color=_colour(look),
            shape=alt.Shape("kind:N", scale=shapes, legend=None),
            size=alt.Size("share:Q", scale=alt.Scale(range=[25, 300]), legend=None),
            tooltip=tooltips(table, "name", "time", "flops_rate", "intensity", "bound"),
        )
    )
    texts = [{**p, "label": p["name"]} for p in sorted(points, key=lambda p: -p["share"])[:LABELS]]
    texts += _roof_texts(roofs, frame.low, frame.bottom, peak)
    spots = [(*frame.place(t["intensity"], t["flops_rate"]), str(t["label"])) for t in texts]
    for where in dict.fromkeys(places := place_labels(spots, frame.width)):
        part = [t for t, at in zip(texts, places, strict=True) if at == where]
        text = chart_of(part).encode(**axes, text="label:N")
        layers.append(labelled(text, look.theme, **label_mark(where)))
    return alt.layer(*layers).properties(width=frame.width, height=frame.height)


def _roof_line(bandwidth: float, peak: float, frame: _Frame) -> list[dict[str, float]]:
    """The corners of one roof: up along its bandwidth to the ridge, and flat from there."""
    ridge, start = peak / bandwidth, max(frame.low, frame.bottom / bandwidth)
    slope = [{"intensity": start, "flops_rate": bandwidth * start}] if start < ridge else []
    return [
        *slope,
        {"intensity": max(ridge, frame.low), "flops_rate": peak},
        {"intensity": frame.high, "flops_rate": peak},
    ]


def _roof_texts(
    roofs: list[dict[str, Any]], low: float, bottom: float, peak: float
) -> list[dict[str, Any]]:
    """Name each sloping roof near its lower end, and the flat one at its ridge."""
    texts = []
    for i, roof in enumerate(roofs):
        start = max(low, bottom / roof["bandwidth"])
        ridge = peak / roof["bandwidth"]
        at = start * (ridge / start) ** (0.12 + 0.1 * i) if ridge > start else start
        label = f"{roof['level']} {format_bandwidth(roof['bandwidth'], 3)}"
        texts.append({"intensity": at, "flops_rate": roof["bandwidth"] * at, "label": label})
    ridge = peak / min(r["bandwidth"] for r in roofs)
    texts.append({"intensity": ridge, "flops_rate": peak, "label": format_flops(peak, 3)})
    return texts


def _bars(look: PlotLook, table: Table, rows: list[dict[str, Any]]) -> Layers:
    import altair as alt

    ordered = sorted(rows, key=lambda row: -row["time"])
    shown = [{**r, "kind": _kind(r)} for r in ordered[:BARS]]
    rest = ordered[BARS:]
    if rest:
        time, share = (math.fsum(r[key] for r in rest) for key in ("time", "share"))
        shown.append({"name": f"{len(rest)} others", "time": time, "share": share,
                      "kind": "no layer", "time_text": ""})  # fmt: skip
    for order, row in enumerate(shown):
        percent = format_percent(row["share"], 3)
        row |= {"order": order, "label": f"{row['time_text']}, {percent}".strip(", ")}
    names = [str(row["name"]) for row in shown]
    room = 6.2 * max(map(len, names), default=0)
    base = chart_of(shown).encode(
        x=alt.X(
            "time:Q",
            axis=None,
            scale=alt.Scale(domain=[0, max(r["time"] for r in shown) * 1.3], nice=False),
        ),
        y=alt.Y(
            "order:O",
            title=None,
            axis=alt.Axis(labelExpr=_names(names), labelColor=look.theme.ink, labelLimit=400),
            scale=alt.Scale(paddingInner=0.28),
        ),
    )
    bar = base.mark_bar().encode(color=_colour(look))
    text = base.mark_text(align="left", dx=5, color=look.theme.ink).encode(text="label:N")
    return alt.layer(bar, text).properties(
        width=max(look.width - room - 60, 160), height=alt.Step(20)
    )


def _names(names: list[str]) -> str:
    """Return the expression of the labels: names by their place, since two may be equal."""
    import json

    return f"{json.dumps(names, ensure_ascii=False)}[datum.value]"
