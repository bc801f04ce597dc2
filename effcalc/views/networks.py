"""Tables about the networks themselves: what there is, what their files say, what papers print."""

from __future__ import annotations

from collections.abc import Iterable

from effcalc.arch import Stage
from effcalc.figures import PER, breakdown
from effcalc.published import Claim
from effcalc.scaling import Scaled
from effcalc.table import Column, Row, Table
from effcalc.units import Value
from effcalc.views.scaling import pixels


def archs_table(networks: Iterable[Scaled]) -> Table:
    """The built-in networks, unscaled."""
    columns = (
        Column("name", "name", "text", "what to call it"),
        Column("pixels", "px", "text", "image side(s)"),
        Column("params", "params", "count", "parameters"),
        Column("macs", "MACs", "count", "multiply-accumulates"),
        Column("variants", "variants", "text", "released scalings"),
        Column("source", "source", "text", "of its table", default=False),
    )
    rows: list[Row] = [
        {
            "name": at.arch.name,
            "pixels": pixels(at.scaling.image_size),
            "params": at.params,
            "macs": at.macs,
            "variants": " ".join(v.name for v in at.arch.variants) or None,
            "source": at.arch.source,
        }
        for at in networks
    ]
    notes = ("effcalc archs NETWORK shows the stage table, what scales, and the source",)
    return Table("archs", "Built-in networks", columns, rows, notes, layout="rows")


_SHORT = {"kernel": "k", "stride": "s", "expansion": "exp", "channels": "c", "se_ratio": "SE"}


def arch_table(at: Scaled) -> Table:
    """The stage table of a network as its file writes it, with what scales."""
    arch = at.arch
    keys = [
        key
        for key in ("kernel", "stride", "expansion", "channels", "expand", "groups", "se_ratio")
        if any(stage.keys.get(key, 0) > (key == "groups") for stage in arch.stages)
    ]
    parts = {part.name: part for part in breakdown(at.network, PER["stage"])}
    columns = (
        Column("stage", "stage"),
        Column("block", "block"),
        *(Column(key, _SHORT.get(key, key), "number") for key in keys),
        Column("repeats", "n", "int"),
        Column("output", "output", "text"),
        Column("scales", "scales", "text"),
        Column("params", "params", "count", default=False),
        Column("macs", "MACs", "count", default=False),
        Column("keys", "keys", "text", default=False),
    )
    rows: list[Row] = []
    for stage in arch.stages:
        if stage.name not in parts:  # left out with the head
            continue
        part = parts[stage.name]
        row: dict[str, Value] = {key: stage.keys[key] for key in keys if stage.keys.get(key)}
        row |= {
            "stage": stage.name,
            "block": stage.block,
            "repeats": stage.repeats or None,
            "output": "x".join(map(str, part.output[1:])),
            "scales": _scales(stage),
            "params": part.weights.params,
            "macs": part.cost.macs,
            "keys": ", ".join(f"{key}={value}" for key, value in stage.keys.items()),
        }
        rows.append(row)
    notes = [
        "k kernel, s stride, exp expansion, c channels, SE squeeze ratio, n repeats; "
        "scales: d repeats, w channels",
        f"input: {arch.in_channels}x{'x'.join(map(str, arch.image_size))}",
        f"source: {arch.source}",
        f"scaling rule: {arch.rule}",
        *arch.notes,
    ]
    if arch.variants:
        released = (
            f"{v.name} d {v.depth:g} w {v.width:g} {pixels(v.image_size)} px" for v in arch.variants
        )
        notes.append(f"released (--variant): {'; '.join(released)}")
    notes += [f"--set {k.name}={arch.settings[k.name]}: {k.help}" for k in arch.knobs]
    filled = tuple(note for note in notes if not note.endswith(": "))
    return Table("arch", f"{arch.title} ({arch.name})", columns, rows, filled, layout="rows")


def _scales(stage: Stage) -> str:
    wide = stage.channel_scales and ("channels" in stage.keys or "expand" in stage.keys)
    letters = ["d"] * bool(stage.repeats and stage.repeat_scales) + ["w"] * wide
    return " ".join(letters) or "–"


def papers_table(claims: Iterable[Claim], title: str, single: bool = False) -> Table:
    """Published figures beside effcalc's; `single` says that all are of one table."""
    columns = (
        Column("table", "table", "text", "the paper's table", default=not single),
        Column("label", "network", "text", "as the paper names it"),
        Column("figure", "figure", "text", "what is counted"),
        Column("printed", "printed", "text", "by the paper"),
        Column("computed", "effcalc", "int", "effcalc's exact figure"),
        Column("difference", "off by", "change", "the paper's over effcalc's"),
        Column("verdict", "same", "text", "within the digits printed"),
        Column("top1", "top-1 %", "number", "as published", default=False),
        Column("top5", "top-5 %", "number", "as published", default=False),
    )
    names = {"params": "params", "macs": "MACs", "weight_bytes": "weights"}
    rows: list[Row] = [
        {
            "table": claim.published.table,
            "label": claim.published.label,
            "figure": names[claim.figure],
            "printed": claim.printed,
            "computed": claim.computed,
            "difference": claim.difference * 100,
            "verdict": claim.verdict,
            "top1": claim.published.top1,
            "top5": claim.published.top5,
        }
        for claim in claims
    ]
    notes = (
        "same: effcalc's figure, rounded to the digits printed, is the one printed; as MiB: it is "
        "when the paper's MB are 2^20 bytes",
    )
    return Table("papers", title, columns, rows, notes, layout="rows")
