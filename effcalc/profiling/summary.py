"""The table of a profile: latency, spread, throughput and memory of each batch size."""

from __future__ import annotations

from collections.abc import Mapping

from effcalc.base.units import Value, format_bandwidth, format_flops
from effcalc.network.network import OperatorCall
from effcalc.network.ops import cost, total
from effcalc.output.table import Column, Row, Table
from effcalc.profiling.records import Owner
from effcalc.profiling.results import Measurement, Profile
from effcalc.profiling.roofline import Roofs

SUMMARY = (
    Column("rank", "rank", "int", "of the processes under torchrun"),
    Column("batch", "batch", "int", "images or samples in a run"),
    Column("dtype", "dtype", "text", "numeric format", default=False),
    Column("mode", "mode", "text", "infer, or train: a whole step", default=False),
    Column("latency", "latency", "seconds", "median of runs, without the profiler"),
    Column("p10", "p10", "seconds", "10% of the runs were faster"),
    Column("p90", "p90", "seconds", "90% of the runs were faster"),
    Column("low", "low", "seconds", "95% interval of the median, from", default=False),
    Column("high", "high", "seconds", "95% interval of the median, to", default=False),
    Column("precision", "± median", "percent", "half its 95% interval"),
    Column("device_time", "device", "seconds", "median by the device's own clock", default=False),
    Column("throughput", "samples/s", "number", "batch over latency"),
    Column("macs", "MACs", "count", "of a run, as traced", default=False),
    Column("flops_rate", "achieved", "flops_per_second", "FLOPs over latency"),
    Column("mfu", "of peak", "percent", "achieved, of the measured peak", default=False),
    Column("peak_memory", "peak mem.", "bytes", "most memory at once, weights included"),
    Column("held_memory", "held", "bytes", "of it weights, buffers, optimizer state", False),
    Column("runs", "runs", "int", "timed", default=False),
    Column("warmup", "warm-up", "int", "runs before them", default=False),
    Column("profiled", "profiled", "seconds", "a run under the profiler", default=False),
    Column("attributed", "in layers", "percent", "of a profiled run, in a layer", default=False),
    Column("noise", "noise", "text", "what may have disturbed it", default=False),
    Column("partial", "partial", "text", "why something is missing", default=False),
)


def profile_table(profile: Profile) -> Table:
    """One row for each batch size: latency and its spread, throughput, memory, noise."""
    rows = [_summary_row(m, profile.roofs) for m in profile.measurements]
    used = {key for row in rows for key, value in row.items() if value is not None}
    columns = tuple(c for c in SUMMARY if c.key in used or (c.default and c.key != "rank"))
    if len(rows) > 1:  # with several rows the table has 80 columns, with one there is room for all
        shown = columns
    else:
        shown = tuple(
            Column(c.key, c.title, c.unit, c.help, c.key not in ("noise", "partial"))
            for c in columns
        )
    return Table(
        "profile",
        title(profile),
        shown,
        rows,
        notes(profile),
        environment=profile.environment,
    )


def title(profile: Profile) -> str:
    """What was measured, how and where."""
    first = profile.measurements[0]
    where = profile.environment.get("device", "")
    return f"{profile.name}, {first.mode}, {first.dtype}, {where}"


def notes(profile: Profile) -> tuple[str, ...]:
    """What to know beside the figures: noise, gaps, settings, roofs."""
    lines = []
    first = profile.measurements[0]
    for m in profile.measurements:
        at = f"batch {m.batch}: " if len(profile.measurements) > 1 else ""
        at = at if m.rank is None else f"rank {m.rank}, {at}"
        lines += [f"{at}noise: {text}" for text in m.noise]
        if m.partial:
            lines.append(f"{at}PARTIAL: {m.partial}")
        if m.network is not None and m.network.uncounted:
            names = ", ".join(sorted(m.network.uncounted))
            lines.append(f"{at}operators without a formula, whose FLOPs are not counted: {names}")
    where = profile.environment
    if "runtime" in where:
        lines.append("a row whose name has + is one fused operator, of the layers that it names")
    elif "graph" in where:
        lines.append(
            "the graph of the file, run by torch operator by operator: another runtime fuses "
            "operators and has kernels of its own"
        )
        if first.mode == "train":
            lines.append(
                "trained as it was exported: batch norms of an inference keep their statistics or "
                "are folded away, and dropout does nothing"
            )
    settings = f"{where.get('threads')} threads" if where.get("device_type") == "cpu" else ""
    parts = [settings, f"TF32 {where.get('tf32')}", f"{where.get('layout')}",
             f"{where.get('caches')} caches"]  # fmt: skip
    if where.get("compiled") != "no":
        parts.append("torch.compile")
    if "ranks" in where:
        parts.append(f"{where['ranks']} ranks over {where['backend']}")
    if "amp_format" in where:
        parts.append(f"amp in {where['amp_format']}")
    if "untested" in where:
        parts.append(str(where["untested"]))
    runtime = where.get("runtime") or f"torch {where.get('torch')}"
    lines.append(", ".join(part for part in parts if part) + f"; {runtime}")
    if profile.roofs is None:
        lines.append("no measured roofs of this device and format: effcalc device measures them")
    else:
        lines.append(
            f"roofs by effcalc device: {format_flops(profile.roofs.flops)} of "
            f"{where.get('amp_format', first.dtype)} products, "
            f"{format_bandwidth(profile.roofs.bandwidth[-1][1])} of memory"
        )
    return tuple(dict.fromkeys(lines))


def _summary_row(m: Measurement, roofs: Roofs | None) -> Row:
    cost_ = None if m.network is None else total([(cost(la), la.count) for la in m.network.calls])
    row: dict[str, Value] = {
        "rank": m.rank,
        "batch": m.batch,
        "dtype": m.dtype,
        "mode": m.mode,
        "latency": m.wall.median,
        "p10": m.wall.p10,
        "p90": m.wall.p90,
        "low": m.wall.low,
        "high": m.wall.high,
        "precision": m.wall.precision * 100,
        "device_time": None if m.device is None else m.device.median,
        "throughput": m.batch / m.wall.median,
        "runs": m.wall.runs,
        "warmup": m.warmup,
        "noise": "; ".join(m.noise) or None,
        "partial": m.partial or None,
    }
    if cost_ is not None:
        rate = cost_.flops / m.wall.median
        row |= {"macs": cost_.macs, "flops_rate": rate}
        row["mfu"] = None if roofs is None else 100 * rate / roofs.flops
    if m.memory is not None:
        row |= {"peak_memory": m.memory.peak, "held_memory": m.memory.held}
    if m.profiled is not None:
        row["profiled"] = m.profiled.time
        if m.network is not None:
            known = layers_of(m)
            inside = sum(t for part, t in m.profiled.parts.items() if _is_layer(part.owner, known))
            row["attributed"] = 100 * inside / m.profiled.time
    return row


def layers_of(m: Measurement) -> dict[str, list[OperatorCall]]:
    """The traced operator calls by the module that ran them."""
    layers: dict[str, list[OperatorCall]] = {}
    for la in () if m.network is None else m.network.calls:
        layers.setdefault(la.name, []).append(la)
    return layers


def _is_layer(owner: Owner, known: Mapping[str, list[OperatorCall]]) -> bool:
    return owner.kind == "layer" and (owner.path in known or owner.after in known)
