"""Tables of where the time of a profiled run went: by layer, module or kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from effcalc.base.errors import InputError, one_of
from effcalc.base.units import Value, format_percent
from effcalc.network.network import OperatorCall
from effcalc.network.ops import Cost, cost, total
from effcalc.output.table import CONVENTIONS, Column, Row, Table
from effcalc.profiling.records import Owner
from effcalc.profiling.results import Measurement, Profile, Profiled, mean_of
from effcalc.profiling.roofline import ABOVE, Roofs, verdict, why_above
from effcalc.profiling.statistics import summarize
from effcalc.profiling.summary import layers_of, notes, title

PER = ("layer", "module", "kernel")

OTHERS: Mapping[str, tuple[str, str]] = {
    "between": (
        "(between layers)",
        "in a module that runs no operator itself, before its first layer",
    ),
    "loss": ("(loss)", "the loss and its backward pass"),
    "autograd": ("(autograd engine)", "between the nodes of the backward pass"),
    "optimizer": ("(optimizer)", "the step of the optimizer"),
    "communication": ("(communication)", "between ranks, where nothing is computed meanwhile"),
    "outside": ("(outside the model)", "in the step, but in no module"),
    "launch": ("(launch gaps)", "the device waits for the host to launch"),
    "idle": ("(idle)", "the device has work queued and runs none"),
}
"""The rows that are not layers, in order: what they are called, and what they are."""


@dataclass
class _Group:
    """The time, calls and cost of one row."""

    name: str
    op: str = ""
    time: float = 0.0
    python: float = 0.0
    backward: float = 0.0
    calls: float = 0.0
    cost: Cost | None = None
    layers: list[OperatorCall] = field(default_factory=list)
    samples: list[tuple[float, ...]] = field(default_factory=list)


def check_per(per: str | None, max_level: int | None, *, compiled: bool) -> None:
    """Refuse an unknown breakdown before anything runs; raises `InputError`."""
    if per is not None:
        one_of(per, PER, "`per`")
    if max_level is not None and per not in ("layer", "module"):
        raise InputError("`max_level` is for `per` layer and `per` module")
    if compiled and per in ("layer", "module"):
        raise InputError("`compile` fuses layers into kernels: `per` kernel")


def breakdown_table(profile: Profile, per: str, max_level: int | None = None) -> Table:
    """The time of one profiled run by layer, module or kernel; rows sum to the total.

    A "layer" is a row of `effcalc scale --per layer`, where identical blocks share one; a
    "module" each of them by itself. Raises `InputError` where nothing was recorded.
    """
    batches = {m.batch for m in profile.measurements}
    if len(batches) != 1:
        raise InputError(f"`per` {per} is for one batch size, and this has {len(batches)}")
    m = profile.measurements[0]
    recorded = [r.profiled for r in profile.measurements if r.profiled is not None]
    if not recorded:
        raise InputError(f"`per` {per}: nothing was recorded ({m.partial or 'no layers'})")
    mean = recorded[0] if len(recorded) == 1 else mean_of(recorded)
    if per == "kernel":
        return _kernel_table(profile, m, mean)
    table = _layer_table(profile, m, mean, per, max_level)
    return (
        table if len(recorded) == 1 else _with_slowest(table, profile, m, recorded, per, max_level)
    )


def _namer(
    profile: Profile, m: Measurement, per: str, max_level: int | None
) -> Callable[[Owner], str]:
    known = layers_of(m)

    def name(owner: Owner) -> str:
        if owner.kind != "layer":
            return OTHERS[owner.kind][0]
        path = owner.path
        if path not in known and m.network is not None:
            if not owner.after or owner.after not in known:
                return OTHERS["between"][0]
            path = owner.after
        path = path if per == "module" else m.merged.get(path, path)
        return ".".join(path.split(".")[:max_level]) or profile.name

    return name


def _layer_table(
    profile: Profile, m: Measurement, profiled: Profiled, per: str, max_level: int | None
) -> Table:
    name = _namer(profile, m, per, max_level)
    groups: dict[str, _Group] = {}
    for path, layers in layers_of(m).items():
        group = groups.setdefault(name(Owner("layer", path)), _Group(""))
        if not path and any(la.attrs.get("phase") for la in layers):
            continue  # the trace gives the loss and the optimizer to the whole model, too
        costs = [(cost(la), la.count) for la in layers]
        group.layers += layers
        group.cost = total([*costs, (group.cost, 1)] if group.cost is not None else costs)
        ops = {la.op for la in layers} | ({group.op} if group.op else set())
        group.op = next(iter(ops)) if len(ops) == 1 else "several"
    for heading, _ in OTHERS.values():
        groups.setdefault(heading, _Group(""))
    for part, time in profiled.parts.items():
        group = groups.setdefault(name(part.owner), _Group(""))
        group.time += time
        group.python += 0.0 if part.kernel else time
        group.backward += time if part.phase == "backward" else 0.0
        group.calls += profiled.calls.get(part, 0.0)
    for owner, times in profiled.samples.items():
        groups[name(owner)].samples.append(times)
    rows = [_layer_row(n, g, profiled, profile.roofs) for n, g in groups.items() if g.time > 0]
    return Table(
        "profile-layers",
        f"{title(profile)}, batch {m.batch}, by {per}",
        _layer_columns(per, m, profile.roofs is not None),
        rows,
        (*_above_roof(rows, profile), *_breakdown_notes(m, profiled), *notes(profile)),
        total=_layer_total(m, profiled),
        conventions=CONVENTIONS,
        environment={
            **profile.environment,
            **({} if profile.roofs is None else profile.roofs.ceilings().saved()),
        },
        layout="rows",
    )


def _with_slowest(
    table: Table,
    profile: Profile,
    m: Measurement,
    ranks: Sequence[Profiled],
    per: str,
    max_level: int | None,
) -> Table:
    """Add each row's time on the rank where it took longest; `time` is the mean of the ranks."""
    name = _namer(profile, m, per, max_level)
    slowest: dict[str, float] = {}
    for rank in ranks:
        times: dict[str, float] = {}
        for part, time in rank.parts.items():
            times[name(part.owner)] = times.get(name(part.owner), 0.0) + time
        for row, time in times.items():
            slowest[row] = max(slowest.get(row, 0.0), time)
    column = Column("slowest", "slowest", "seconds", "on the rank where it took longest")
    columns = [
        c._replace(default=c.default and c.key not in ("bandwidth", "achieved"))
        for c in table.columns
    ]
    columns.insert(next(i for i, c in enumerate(columns) if c.key == "time") + 1, column)
    rows = [{**row, "slowest": slowest.get(str(row["name"]))} for row in table.rows]
    total = {**(table.total or {}), "slowest": max(rank.time for rank in ranks)}
    note = f"time: the mean of {len(ranks)} ranks"
    return replace(
        table, columns=tuple(columns), rows=rows, total=total, notes=(note, *table.notes)
    )


def _layer_columns(per: str, m: Measurement, judged: bool) -> tuple[Column, ...]:
    clock = "device" if m.device is not None else "wall"
    return (
        Column("name", per, "text", "identical blocks share a row" if per == "layer" else ""),
        Column("op", "op", "text", "operator, where it is one alone", default=False),
        Column("time", "time", "seconds", f"{clock} time in a profiled run"),
        Column("share", "% time", "percent", "of the run"),
        Column("low", "low", "seconds", "95% interval of the median run, from", default=False),
        Column("high", "high", "seconds", "95% interval of the median run, to", default=False),
        Column("backward", "backward", "seconds", "in the backward pass", default=False),
        Column("python", "between", "seconds", "of it between operators", default=False),
        Column("calls", "calls", "number", "operators or kernels", default=False),
        Column("macs", "MACs", "count", "of a run", default=False),
        Column("flops", "FLOPs", "count", "2 × MACs + other arithmetic", default=False),
        Column("flops_rate", "achieved", "flops_per_second", "FLOPs over time"),
        Column("moved_bytes", "moved", "bytes", "operands and results, once each", default=False),
        Column("bandwidth", "bandwidth", "bytes_per_second", "moved over time", not judged),
        Column("intensity", "FLOP/B", "number", "FLOPs over bytes moved", not judged),
        Column("bound", "bound", "text", "the roof that allows least: docs/profiling.md", judged),
        Column("efficiency", "of roof", "percent", "least time by it, of the time", judged),
    )


def _layer_row(name: str, group: _Group, profiled: Profiled, roofs: Roofs | None) -> Row:
    row: dict[str, Value] = {
        "name": name,
        "op": group.op or None,
        "time": group.time,
        "share": 100 * group.time / profiled.time,
        "backward": group.backward or None,
        "python": group.python,
        "calls": group.calls,
    }
    if group.samples:
        interval = summarize([sum(times) for times in zip(*group.samples, strict=True)])
        row |= {"low": interval.low, "high": interval.high}
    if group.cost is not None and group.time > 0:
        flops, moved = group.cost.flops, group.cost.moved_bytes
        row |= {
            "macs": group.cost.macs,
            "flops": flops,
            "moved_bytes": moved,
            "flops_rate": flops / group.time if flops else None,
            "bandwidth": moved / group.time if moved else None,
            "intensity": flops / moved if moved and flops else None,
        }
        if roofs is not None:
            judged = verdict(group.layers, group.time, group.python, roofs)
            if judged is not None:
                row |= {"bound": judged.bound, "efficiency": 100 * judged.efficiency}
    return row


def _above_roof(rows: list[Row], profile: Profile) -> list[str]:
    """Name layers that are faster than their roof, with likely causes: none is clipped."""
    above: dict[str, list[str]] = {}
    for row in rows:
        efficiency, bound = row.get("efficiency"), str(row.get("bound"))
        if isinstance(efficiency, float) and efficiency > 100 * ABOVE:
            above.setdefault(bound, []).append(f"{row['name']} {format_percent(efficiency, 3)}")
    where = profile.environment
    return [
        f"above the roof ({bound}): {', '.join(names[:5])}"
        + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        + f"; likely: {why_above(str(where.get('dtype')), str(where.get('device_type')), bound)}"
        for bound, names in above.items()
    ]


def _layer_total(m: Measurement, profiled: Profiled) -> Row:
    costs = [(cost(la), la.count) for la in (m.network.calls if m.network is not None else ())]
    whole = total(costs)
    runs = [sum(times) for times in zip(*profiled.samples.values(), strict=True)]
    interval = summarize(runs)
    return {
        "name": "total",
        "time": profiled.time,
        "share": 100.0,
        "low": interval.low,
        "high": interval.high,
        "calls": sum(profiled.calls.values()),
        "macs": whole.macs,
        "flops": whole.flops,
        "moved_bytes": whole.moved_bytes,
        "flops_rate": whole.flops / profiled.time,
        "bandwidth": whole.moved_bytes / profiled.time,
    }


def _kernel_table(profile: Profile, m: Measurement, profiled: Profiled) -> Table:
    name = _namer(profile, m, "layer", None)
    compiled = profile.environment.get("compiled") != "no"
    groups: dict[tuple[str, str], _Group] = {}
    for part, time in profiled.parts.items():
        layer = name(part.owner) if not compiled else profile.name
        other = layer.startswith("(")
        kernel = part.kernel or (layer if other else "(between operators)")
        group = groups.setdefault((kernel, layer), _Group(kernel))
        group.time += time
        group.calls += profiled.calls.get(part, 0.0)
    ordered = sorted(groups.items(), key=lambda item: -item[1].time)
    rows: list[Row] = [
        {
            "kernel": kernel,
            "layer": layer,
            "calls": group.calls or None,
            "time": group.time,
            "share": 100 * group.time / profiled.time,
        }
        for (kernel, layer), group in ordered
        if group.time > 0
    ]
    what = "kernel of the device" if m.device is not None else "operator"
    columns = (
        Column("kernel", "kernel", "text", what),
        Column("layer", "layer", "text", "whose it is; identical blocks share a row", not compiled),
        Column("calls", "calls", "number", "in a run"),
        Column("time", "time", "seconds", "own time in a profiled run"),
        Column("share", "% time", "percent", "of the run"),
    )
    whole: Row = {
        "kernel": "total",
        "calls": sum(profiled.calls.values()),
        "time": profiled.time,
        "share": 100.0,
    }
    return Table(
        "profile-kernels",
        f"{title(profile)}, batch {m.batch}, by kernel",
        columns,
        rows,
        (*_breakdown_notes(m, profiled), *notes(profile)),
        total=whole,
        environment=profile.environment,
        layout="rows",
    )


def _breakdown_notes(m: Measurement, profiled: Profiled) -> list[str]:
    """Say how the profiled runs compare with those that were timed."""
    clock = m.wall if m.device is None else m.device
    more = profiled.time / clock.median - 1
    return [
        f"{profiled.runs} runs under the profiler, the middle half kept; such a run takes "
        f"{more:+.1%} against the latency without it"
    ]
