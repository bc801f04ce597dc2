"""The values that collectives, strategies and predictions speak in.

S is the size of a collective in bytes: of the whole vector that an all-reduce, reduce-scatter,
broadcast or reduce works on, of what every rank holds after an all-gather, of all that a gather,
a scatter or an all-to-all moves to or from one rank, of the message of a send.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from effcalc.hardware.files import Link

INNER, OUTER = 0, 1
"""Tiers: links within a node, and between nodes."""


class Collective(NamedTuple):
    """One collective of S = `size` bytes, `repeats` times over.

    `ready` and `needed` place it in a step's compute, as shares of it: its data is there after
    the first, and what follows the second waits for it. `root` is the source of a broadcast or
    a send and the target of a reduce, `peer` the target of a send.
    """

    op: str
    size: int
    what: str = ""
    element: int = 4  # bytes of one element
    repeats: int = 1
    root: int = 0
    peer: int = 0
    ready: float = 0.0
    needed: float = 1.0


class Phase(NamedTuple):
    """What happens once, or at each step; the last phase of a plan is the steady step."""

    name: str
    collectives: tuple[Collective, ...]


@dataclass(frozen=True, slots=True)
class RankTraffic:
    """Payload bytes and messages of one rank; `+` adds two, `* n` is the same n times."""

    sent: int = 0
    received: int = 0
    messages_sent: int = 0
    messages_received: int = 0

    def __add__(self, other: RankTraffic) -> RankTraffic:
        return RankTraffic(
            self.sent + other.sent,
            self.received + other.received,
            self.messages_sent + other.messages_sent,
            self.messages_received + other.messages_received,
        )

    def __mul__(self, count: int) -> RankTraffic:
        return RankTraffic(
            self.sent * count,
            self.received * count,
            self.messages_sent * count,
            self.messages_received * count,
        )

    def backwards(self) -> RankTraffic:
        """The same the other way: a reduce is a broadcast backwards."""
        return RankTraffic(self.received, self.sent, self.messages_received, self.messages_sent)


class Leg(NamedTuple):
    """A stretch of a collective's critical path: messages one after another, and their bytes."""

    tier: int
    steps: int
    size: float


@dataclass(frozen=True, slots=True)
class CollectiveCost:
    """One collective: bytes and messages of all ranks together, and its critical path.

    As much is received as is sent, but for a parameter server, which is not one of the ranks.
    `+` is one collective after another, with one leg for each tier; `* n` the same n times.
    """

    sent: int = 0
    received: int = 0
    messages: int = 0
    legs: tuple[Leg, ...] = ()

    def __add__(self, other: CollectiveCost) -> CollectiveCost:
        legs: dict[int, Leg] = {}
        for leg in (*self.legs, *other.legs):
            before = legs.get(leg.tier, Leg(leg.tier, 0, 0))
            legs[leg.tier] = Leg(leg.tier, before.steps + leg.steps, before.size + leg.size)
        return CollectiveCost(
            self.sent + other.sent,
            self.received + other.received,
            self.messages + other.messages,
            tuple(legs.values()),
        )

    def __mul__(self, count: int) -> CollectiveCost:
        legs = tuple(Leg(leg.tier, leg.steps * count, leg.size * count) for leg in self.legs)
        return CollectiveCost(self.sent * count, self.received * count, self.messages * count, legs)


@dataclass(frozen=True, slots=True)
class Cluster:
    """`workers` ranks, `per_node` to a node, and the links of both tiers.

    Ranks are numbered node by node. With one node, or one link for all, the tiers are alike.
    """

    workers: int
    per_node: int
    inner: Link
    outer: Link

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return -(-self.workers // self.per_node)

    @property
    def flat(self) -> int:
        """The tier whose link bounds an algorithm that does not look at nodes."""
        return OUTER if self.workers > self.per_node else INNER

    def seconds(self, cost: CollectiveCost) -> float:
        """Time of a critical path: α for each message, and its bytes over β.

        The α-β model of Thakur, Rabenseifner & Gropp 2005, section 3; the arithmetic of a
        reduction, their γ, is left out.
        """
        spent = 0.0
        for leg in cost.legs:
            link = self.outer if leg.tier == OUTER else self.inner
            spent += leg.steps * link.latency_s + leg.size / link.bytes_per_second
        return spent
