"""Parts of a step that the backward pass recomputes, where there is checkpointing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from effcalc.footprint.autograd import Node
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tape import Memory
from effcalc.network.network import OperatorCall


@dataclass(frozen=True, slots=True)
class Region:
    """Calls that the backward pass recomputes as a whole (`recomputed`), or all calls.

    `entry` holds what they read from outside, kept until their backward is done.
    """

    segments: tuple[tuple[int, tuple[int, ...]], ...]  # repeats, layers of one block
    recomputed: bool = False
    keepers: tuple[int, ...] = ()  # those of which anything is kept
    entry: dict[int, Memory] = field(default_factory=dict)

    @property
    def repeats(self) -> int:
        """How often the whole region repeats."""
        return self.segments[0][0] if self.recomputed and len(self.segments) == 1 else 1

    @property
    def places(self) -> list[int]:
        """Numbers of the layers."""
        return [i for _, places in self.segments for i in places]


def _unit(call: OperatorCall) -> str:
    """What is gathered and sharded at once: a block; of a traced network two parts of the name."""
    return call.block or ".".join(call.name.split(".")[:2])


def regions(
    calls: Sequence[OperatorCall], nodes: Sequence[Node], step: StepSettings
) -> list[Region]:
    """Cut a step's calls into what the backward pass recomputes as a whole, or take all."""
    checkpointed = step.train and step.checkpoint != "none"
    per = attrgetter(step.checkpoint) if checkpointed else lambda call: ""
    result = []
    for name, run in groupby(range(len(calls)), lambda i: per(calls[i])):
        blocks = groupby(run, lambda i: (_unit(calls[i]), calls[i].count))
        segments = tuple((key[1], tuple(places)) for key, places in blocks)
        # A part of one layer is that layer's module, which is never recomputed.
        leaf = not name or calls[segments[0][1][0]].name == name
        keepers = tuple(
            i for _, places in segments for i in places if checkpointed and nodes[i].keeps
        )
        result.append(Region(segments, not leaf, keepers))
    return result
