"""Tables about what distributed training sends, and how long that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from effcalc.base.errors import InputError
from effcalc.base.units import Value, format_bandwidth, format_seconds
from effcalc.communication.collectives import ALGORITHMS, collective_cost
from effcalc.communication.predict import CommPrediction
from effcalc.communication.verify import Compared
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.request import Many

_AXES = ("strategy", "algorithm", "dtype", "workers")


def comm_table(
    title: str, rows: Sequence[CommPrediction] | Many[CommPrediction], shown: Iterable[str]
) -> Table:
    """One row for each prediction; `shown` names the axes of which there are several.

    Where the compute is known, people see exposed time and efficiency too.
    """
    several = set(shown)
    first = next(iter(rows))
    timed = first.compute is not None
    room = 2 - len(several)  # each axis takes the place of a figure in 80 columns
    spare = room > 0 or not timed
    columns = (
        *(Column(axis, axis, "text", default=axis in several) for axis in _AXES[:3]),
        Column("workers", "workers", "int", "ranks that train together"),
        Column("sent", "sent", "bytes", "by each rank at each step, payload"),
        Column("received", "received", "bytes", "by each rank at each step", default=False),
        Column("gloo", "on gloo", "bytes", "the same collectives on torch's gloo", room > 0),
        Column("gloo_ratio", "gloo ×", "relative", "gloo over sent", default=False),
        Column("messages", "messages", "number", "that each rank sends at each step", room > 1),
        Column("seconds", "time", "seconds", "of a step's communication alone", spare),
        Column("exposed", "exposed", "seconds", "what compute does not hide", timed and room > -1),
        Column("step", "step", "seconds", "compute and exposed communication", default=False),
        Column("efficiency", "efficiency", "percent", "useful compute over time", default=timed),
        Column("speedup", "speedup", "ratio", "over one worker", default=False),
        Column("images", "images/s", "count", "of all workers", default=False),
        Column("bubble", "bubble", "percent", "of a pipeline's rounds", default=False),
        Column("startup", "once", "bytes", "by each rank, on top of steps", default=False),
        Column("startup_first", "once, rank 0", "bytes", "by rank 0", default=False),
    )
    lines: Iterable[Row] = (
        [_row(p) for p in rows]
        if isinstance(rows, Sequence)
        else Many(len(rows), lambda: (_row(p) for p in rows))
    )
    texts = notes(first)[: -1 if "strategy" in several else None]
    return Table("comm", title, columns, lines, texts, chart="effcalc.communication.plot:comm")


def notes(p: CommPrediction) -> tuple[str, ...]:
    """What the figures of predictions are based on."""
    bytes_ = "bytes are payload, the mean over the ranks, of which some send more: `per` rank"
    link = p.cluster.outer
    wires = [f"link: {link.title}, {_link(p, 1)}"]
    if p.cluster.inner != p.cluster.outer:
        wires = [
            f"links: {p.cluster.inner.title} in a node ({_link(p, 0)}), {link.title} "
            f"between nodes ({_link(p, 1)})"
        ]
    times = []
    if p.compute is not None:
        times.append(
            f"compute: {format_seconds(p.compute)} for a worker's step, a third of it forward; "
            "efficiency: that over the step's time"
        )
    return (bytes_, *wires, *times, f"{p.strategy.name}: {p.strategy.source}")


def _link(p: CommPrediction, tier: int) -> str:
    link = p.cluster.outer if tier else p.cluster.inner
    return (
        f"{format_bandwidth(link.bytes_per_second)} each way for a rank, "
        f"{format_seconds(link.latency_s)} a message"
    )


def _row(p: CommPrediction) -> Row:
    row: dict[str, Value] = {
        "strategy": p.strategy.name,
        "algorithm": p.algorithm.name,
        "dtype": p.setup.dtype,
        "workers": p.cluster.workers,
        "sent": p.mean(p.steady.sent),
        "received": p.mean(p.steady.received),
        "gloo": p.mean(p.gloo.sent),
        "gloo_ratio": p.gloo.sent / p.steady.sent if p.steady.sent else None,
        "messages": p.mean(p.steady.messages),
        "seconds": p.seconds,
        "startup": p.mean(p.startup),
        "startup_first": p.startup_first,
    }
    if p.step is not None:
        workers = p.cluster.workers
        row |= {
            "exposed": p.step.exposed,
            "step": p.step.seconds,
            "efficiency": 100 * p.step.efficiency,
            "speedup": workers * p.step.efficiency,
            "images": workers * p.setup.batch * p.setup.accumulate / p.step.seconds,
            "bubble": None if p.step.bubble is None else 100 * p.step.bubble,
        }
    return row


def ranks_table(title: str, p: CommPrediction) -> Table:
    """What each rank sends and receives, in each phase; rows are computed as they are read."""
    phases = p.plan.phases
    columns = [Column("rank", "rank", "text")]
    for i, phase in enumerate(phases):
        key = phase.name.replace(" ", "_")
        last = i == len(phases) - 1
        columns.append(Column(f"{key}_sent", phase.name, "int", "payload bytes sent"))
        columns.append(
            Column(f"{key}_received", "received", "int", f"in the {phase.name}", default=last)
        )
        columns.append(
            Column(f"{key}_messages", "messages", "int", f"in the {phase.name}", default=False)
        )
    server = any(c.op in ("push", "pull") for c in p.plan.steady.collectives)
    count = p.cluster.workers + server

    def row(rank: int) -> Row:
        cells: dict[str, Value] = {"rank": "server" if rank == p.cluster.workers else str(rank)}
        for phase in phases:
            key = phase.name.replace(" ", "_")
            traffic = p.phase_rank(phase, rank)
            cells[f"{key}_sent"] = traffic.sent
            cells[f"{key}_received"] = traffic.received
            cells[f"{key}_messages"] = traffic.messages_sent
        return cells

    rows = Many(count, lambda: (row(rank) for rank in range(count)))
    texts = ("payload bytes that each rank sends, by phase", *notes(p)[1:])
    return Table("comm-ranks", title, tuple(columns), rows, texts, layout="rows")


def collectives_table(title: str, p: CommPrediction) -> Table:
    """Every collective of every phase, in the order in which they run."""
    columns = (
        Column("phase", "phase", "text"),
        Column("op", "collective", "text"),
        Column("what", "of", "text", "what is in it"),
        Column("count", "times", "int", default=False),
        Column("size", "size", "bytes", "of the whole vector"),
        Column("sent", "sent", "bytes", "by each rank, mean"),
        Column("gloo", "on gloo", "bytes", "by each rank, mean"),
        Column("messages", "messages", "number", "by each rank, mean", default=False),
        Column("seconds", "time", "seconds", "alone", default=False),
    )
    gloo = ALGORITHMS["gloo"]
    rows: list[Row] = []
    for phase in p.plan.phases:
        for c in phase.collectives:
            cost = collective_cost(p.algorithm, c, p.cluster)
            rows.append(
                {
                    "phase": phase.name,
                    "op": c.op,
                    "what": c.what,
                    "count": c.repeats,
                    "size": c.size * c.repeats,
                    "sent": p.mean(cost.sent),
                    "gloo": p.mean(collective_cost(gloo, c, p.cluster).sent),
                    "messages": p.mean(cost.messages),
                    "seconds": p.cluster.seconds(cost),
                }
            )
    return Table("comm-collectives", title, columns, rows, notes(p), layout="rows")


def stages_table(title: str, p: CommPrediction) -> Table:
    """The stages of a pipeline, and what crosses the cut behind each."""
    columns = (
        Column("stage", "stage", "int"),
        Column("first", "from", "text", "first layer"),
        Column("last", "to", "text", "last layer"),
        Column("layers", "layers", "int", "operator calls"),
        Column("macs", "MACs", "count", "of one image, forward"),
        Column("share", "% MACs", "percent", "of the network's"),
        Column("cut", "cut", "bytes", "activations of one image that go on"),
    )
    if not p.plan.stages:
        raise InputError("`per` stage is for `strategy` pipeline")
    whole = sum(stage.macs for stage in p.plan.stages)
    rows: list[Row] = [
        {
            "stage": i,
            "first": stage.first,
            "last": stage.last,
            "layers": stage.layers,
            "macs": stage.macs,
            "share": 100 * stage.macs / whole if whole else None,
            "cut": stage.cut_bytes,
        }
        for i, stage in enumerate(p.plan.stages, 1)
    ]
    total: Row = {
        "stage": None,
        "first": "total",
        "layers": sum(stage.layers for stage in p.plan.stages),
        "macs": whole,
        "share": 100.0 if whole else None,
        "cut": sum(stage.cut_bytes for stage in p.plan.stages),
    }
    texts = (f"{p.plan.micro_batches} micro-batches", *notes(p)[1:])
    return Table("comm-stages", title, columns, rows, texts, total, layout="rows")


BREAKDOWNS: Mapping[str, Callable[[str, CommPrediction], Table]] = {
    "rank": ranks_table,
    "collective": collectives_table,
    "stage": stages_table,
}
"""What `--per` offers for one prediction."""


def verify_table(title: str, rows: Sequence[Compared], environment: Mapping[str, Value]) -> Table:
    """Predicted and measured payload of each rank in each phase."""
    columns = (
        Column("phase", "phase", "text"),
        Column("rank", "rank", "int"),
        Column("collectives", "collectives", "int", "that torch ran"),
        Column("predicted", "predicted", "int", "payload bytes sent"),
        Column("measured", "measured", "int", "payload bytes sent"),
        Column("off", "off", "int", "bytes sent or received, the worse"),
        Column("off_share", "off %", "percent", "of what was predicted", default=False),
        Column("received_predicted", "received, predicted", "int", "bytes", default=False),
        Column("received", "received", "int", "bytes, measured", default=False),
        Column("messages", "messages", "int", "predicted to be sent", default=False),
        Column("wire_sent", "on the wire", "int", "bytes sent, headers too", default=False),
        Column("wire_received", "wire, received", "int", "bytes, headers too", default=False),
        Column("differs", "differs", "text", "the first collective", default=False),
    )
    lines: list[Row] = [
        {
            "phase": row.phase,
            "rank": row.rank,
            "collectives": row.collectives,
            "predicted": row.predicted.sent,
            "measured": row.sent,
            "off": row.off,
            "off_share": 100 * row.share,
            "received_predicted": row.predicted.received,
            "received": row.received,
            "messages": row.predicted.messages_sent,
            "wire_sent": None if row.wire is None else row.wire[0],
            "wire_received": None if row.wire is None else row.wire[1],
            "differs": row.differs or None,
        }
        for row in rows
    ]
    exact = sum(not row.off for row in rows)
    how = (
        "measured: acknowledged bytes of the process's own TCP connections (TCP_INFO), less "
        "48 bytes for each header and notice of gloo's"
        if rows[0].wire is not None
        else "measured: the flight recorder's collectives, sent as a ring does"
    )
    texts = (f"{exact} of {len(rows)} to the byte, sent and received", how)
    return Table(
        "comm-verify", title, columns, lines, texts, environment=environment, layout="rows"
    )
