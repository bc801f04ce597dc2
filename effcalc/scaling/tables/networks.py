"""Tables about the networks themselves: what there is, what their files say, what papers print."""

from __future__ import annotations

from collections.abc import Iterable

from effcalc.base.units import Value
from effcalc.network.arch import Arch, Stage
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.figures import PER, breakdown
from effcalc.scaling.scale import Scaled
from effcalc.scaling.tables.scaling import pixels


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
            "name": scaled.arch.name,
            "pixels": pixels(scaled.scaling.image_size),
            "params": scaled.params,
            "macs": scaled.macs,
            "variants": " ".join(v.name for v in scaled.arch.variants) or None,
            "source": scaled.arch.source,
        }
        for scaled in networks
    ]
    notes = ("effcalc archs NETWORK shows the stage table, what scales, and the source",)
    return Table("archs", "Built-in networks", columns, rows, notes, layout="rows")


_SHORT = {"kernel": "k", "stride": "s", "expansion": "exp", "channels": "c", "se_ratio": "SE"}


def arch_table(scaled: Scaled) -> Table:
    """The stage table of a network as its file writes it, with what scales."""
    arch = scaled.arch
    keys = [
        key
        for key in ("kernel", "stride", "expansion", "channels", "expand", "groups", "se_ratio")
        if any(stage.keys.get(key, 0) > (key == "groups") for stage in arch.stages)
    ]
    parts = {part.name: part for part in breakdown(scaled.network, PER["stage"])}
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
    return Table("arch", f"{arch.title} ({arch.name})", columns, rows, _notes(arch), layout="rows")


def _notes(arch: Arch) -> tuple[str, ...]:
    """What the letters mean, the source, the released scalings and the knobs."""
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
        notes.append(f"released (`variant`): {'; '.join(released)}")
    notes += [f"`knobs` {k.name}={arch.settings[k.name]}: {k.help}" for k in arch.knobs]
    return tuple(note for note in notes if not note.endswith(": "))


def _scales(stage: Stage) -> str:
    wide = stage.channel_scales and ("channels" in stage.keys or "expand" in stage.keys)
    letters = ["d"] * bool(stage.repeats and stage.repeat_scales) + ["w"] * wide
    return " ".join(letters) or "–"
