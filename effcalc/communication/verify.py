"""Predicted against measured: bytes of each rank and phase, and the collective that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from effcalc.communication import gloo
from effcalc.communication.collectives import ALGORITHMS, phase_rank
from effcalc.communication.core import Cluster, Collective, Phase, RankTraffic
from effcalc.communication.strategies import STRATEGIES, Plan
from effcalc.hardware.files import Link

VERIFIED = tuple(strategy.name for strategy in STRATEGIES.values() if strategy.trainer)
"""Strategies that real ranks can train."""


class Compared(NamedTuple):
    """One rank in one phase: payload predicted and measured, and the collectives that ran.

    `wire` is what the sockets carried, sent and received, with gloo's headers and notices.
    """

    phase: str
    rank: int
    predicted: RankTraffic
    sent: int
    received: int
    wire: tuple[int, int] | None
    collectives: int
    differs: str

    @property
    def off(self) -> int:
        """Bytes by which the measured payload is off, of sent and received the worse."""
        sent, received = self.sent - self.predicted.sent, self.received - self.predicted.received
        return max(sent, received, key=abs)

    @property
    def share(self) -> float:
        """The same as a share of what was predicted; of one byte where that is nothing."""
        sent = abs(self.sent - self.predicted.sent) / max(self.predicted.sent, 1)
        return max(
            sent, abs(self.received - self.predicted.received) / max(self.predicted.received, 1)
        )


def phases(plan: Plan, answer: Mapping[str, Any], run: int = 0) -> tuple[Phase, ...]:
    """What a plan predicts for each phase that a rank ran, by its name.

    Of phases that the plan does not have, a step is as the steady one, and others send nothing.
    """
    planned = {phase.name: phase for phase in plan.phases}
    steady = plan.steady.collectives
    names = [phase["name"] for phase in answer["runs"][run]]
    return tuple(
        planned.get(name) or Phase(name, steady if name.endswith("step") else ()) for name in names
    )


def alone(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Each different collective of some phases as a phase of its own."""
    seen: dict[tuple[object, ...], Collective] = {}
    for phase in phases:
        for c in phase.collectives:
            seen.setdefault((c.op, c.size, c.element, c.root), c._replace(repeats=1))
    return tuple(Phase(f"{c.op} of {c.size:,} bytes alone", (c,)) for c in seen.values())


def compare(
    expected: Sequence[Phase], answers: Sequence[Mapping[str, Any]], run: int = 0
) -> list[Compared]:
    """Compare phases with what each rank answered (`live.rank.run`) of a run."""
    n = len(answers)
    link = Link("", "", "", 1.0, 0.0)
    cluster = Cluster(n, n, link, link)
    rows = []
    for at, phase in enumerate(expected):
        for rank, answer in enumerate(answers):
            seen = answer["runs"][run][at]
            backend = answer["environment"]["backend"]
            algorithm = ALGORITHMS["gloo" if backend == "gloo" else "ring"]
            predicted = phase_rank(algorithm, phase, cluster, rank)
            if seen["wire"] is None:  # NCCL has no sockets of this process to look at
                ran = [Collective(op, size, "", el) for op, size, el, *_ in seen["recorded"]]
                measured = phase_rank(algorithm, Phase("", tuple(ran)), cluster, rank)
                sent, received, wire = measured.sent, measured.received, None
            else:
                # What headers and notices take, by the messages predicted, comes off.
                extra = gloo.wire(predicted)
                wire = (seen["wire"][0], seen["wire"][1])
                sent = wire[0] - extra[0] + predicted.sent
                received = wire[1] - extra[1] + predicted.received
            differs = difference(phase, seen["listed"], seen["recorded"], backend)
            rows.append(
                Compared(
                    *(phase.name, rank, predicted, sent, received, wire),
                    len(seen["listed"]),
                    differs,
                )
            )
    return rows


def difference(
    phase: Phase,
    listed: Sequence[Sequence[Any]],
    recorded: Sequence[Sequence[Any]],
    backend: str = "gloo",
) -> str:
    """Name the first collective that torch ran and was not predicted, or the other way, or "".

    `listed` are (op, bytes, bytes of an element, root) from the dispatcher; `recorded` those of
    the flight recorder, which has no roots, and in which gloo's reduce-scatter is an all-reduce.
    """
    expected = [(c.op, c.size, c.root) for c in phase.collectives for _ in range(c.repeats)]
    whats = [c.what for c in phase.collectives for _ in range(c.repeats)]
    ran = [(op, size, root) for op, size, _, root in listed]
    differ = _first_difference(expected, ran)
    if differ is not None:
        at, predicted, real = differ
        text = f"{_text(predicted)} ({whats[at]})" if predicted else "nothing"
        return f"{phase.name}, collective {at + 1}: predicted {text}, torch ran {_text(real)}"
    names = {"reduce_scatter": "all_reduce"} if backend == "gloo" else {}
    mapped = [(names.get(op, op), size) for op, size, _ in ran]
    # Of a gather and a scatter only the root has the whole; the recorder has what a rank holds.
    kept = [
        (op, mapped[i][1] if op in ("gather", "scatter") and i < len(mapped) else size)
        for i, (op, size, *_) in enumerate(recorded)
    ]
    differ = _first_difference(mapped, kept)
    if differ is None:
        return ""
    at, seen, entry = differ
    return (
        f"{phase.name}, collective {at + 1}: the dispatcher saw {_text(seen)}, "
        f"the flight recorder {_text(entry)}"
    )


def _first_difference(
    one: Sequence[tuple[Any, ...]], other: Sequence[tuple[Any, ...]]
) -> tuple[int, tuple[Any, ...] | None, tuple[Any, ...] | None] | None:
    """Return where two sequences first differ, and both items; None past the end of one."""
    pairs = enumerate(zip_longest(one, other))
    return next(((at, a, b) for at, (a, b) in pairs if a != b), None)


def _text(collective: tuple[Any, ...] | None) -> str:
    if collective is None:
        return "nothing"
    op, _, *roots = collective
    root = f" from rank {roots[0]}" if op == "broadcast" and roots and roots[0] else ""
    return f"{collective[0]} of {collective[1]:,} bytes{root}"
