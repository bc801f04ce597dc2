"""What a profiler recorded, and what its time is divided into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

STEP, LAYER, LOSS, BACKWARD, OPTIMIZER = (
    f"effcalc::{name}" for name in ("step", "layer", "loss", "backward", "optimizer")
)
"""Names of the ranges that a profiled run opens; a module's is LAYER + "::" + its path."""

Kind = Literal["range", "op", "launch", "device"]
Phase = Literal["forward", "backward", ""]


class Event(NamedTuple):
    """One recorded event; times are in nanoseconds.

    `id` of an operator and of a launch is what device events refer to: `op` is the operator that
    a device event was launched by, `id` the launch itself. `sequence` is an autograd node's
    number, -1 elsewhere.
    """

    name: str
    kind: Kind
    start: int
    end: int
    thread: int = 0
    id: int = 0
    op: int = 0
    sequence: int = -1


class Mark(NamedTuple):
    """From autograd's sequence number `sequence` on, nodes of the graph belong to `owner`."""

    sequence: int
    owner: Owner


class Owner(NamedTuple):
    """Whose time it is: a layer by its path, or one of the other rows.

    `after` is the layer that ran last inside this one, where time passes between two of them.
    """

    kind: Literal[
        "layer", "loss", "optimizer", "communication", "autograd", "outside", "launch", "idle"
    ]
    path: str = ""
    after: str = ""


class TimeKey(NamedTuple):
    """The key of a piece of time: `kernel` is "" for time between operators (Python, dispatch)."""

    owner: Owner
    phase: Phase
    kernel: str


@dataclass(frozen=True)
class ProfiledRun:
    """One profiled run: its time in ns, and by part the time in it and the number of calls.

    `time` is the host's from start to end, or from the first kernel's start to the last one's end
    on a device; `parts` sum to it. `host` is the host's time either way.
    """

    time: int
    host: int
    parts: Mapping[TimeKey, int]
    calls: Mapping[TimeKey, int] = field(default_factory=dict)


OUTSIDE = Owner("outside")
COMMUNICATION = Owner("communication")
