"""What torch's gloo backend sends, to the byte: the algorithms of gloo as measured.

Measured on torch 2.14.1 by the kernel's own counters (`effcalc comm --verify`); where gloo does
other than the textbook says, docs/communication.md tells.

- all_reduce: a ring of segments. S is cut into max(⌈S / 1 MiB⌉, 2n) segments, their number
  rounded up to a multiple of n and their length to whole elements, so the last ones may be
  short or empty; a block is the segments of one rank. Rank r does not send block r in the
  reduce-scatter, nor block r − 1 in the all-gather, and sends to r − 1.
- reduce_scatter: an all_reduce of the whole vector, of which each rank keeps its part.
- reduce: the ring's reduce-scatter, and then each rank sends its block to the root.
- all_gather: a ring in which each part goes as two messages.
- broadcast: a binomial tree. gather, scatter, all_to_all, send: one message for each pair.
- barrier: ⌈log2 n⌉ rounds of empty messages.

Each message has a header of 48 bytes. Before it go a notice that it is there (48 bytes, from the
sender) and one that it is wanted (48 bytes, from the receiver).
"""

from __future__ import annotations

from effcalc.comm import direct, tree
from effcalc.comm.core import Cluster, Collective, Cost, Leg, Traffic

HEADER = 48
SEGMENT = 1 << 20


def wire(traffic: Traffic) -> tuple[int, int]:
    """Bytes sent and received on the sockets: payload, headers and notices."""
    sent = 2 * traffic.messages_sent + traffic.messages_received
    received = 2 * traffic.messages_received + traffic.messages_sent
    return traffic.sent + HEADER * sent, traffic.received + HEADER * received


class Ring:
    """How a vector of `size` bytes is cut into segments and blocks for n ranks."""

    __slots__ = ("block", "length", "n", "segments", "size")

    def __init__(self, size: int, n: int, element: int) -> None:
        """Cut; `length` is a segment's bytes, `block` a full block's, `segments` the non-empty."""
        most = element * max(1, SEGMENT // element)
        count = _round_up(max(-(-size // most), 2 * n), n)
        self.size, self.n = size, n
        self.length = max(_round_up(-(-size // count), element), 1)
        self.block = count // n * self.length
        self.segments = -(-size // self.length)

    def own(self, rank: int) -> tuple[int, int]:
        """Bytes and non-empty segments of a rank's block."""
        size = min(max(self.size - rank % self.n * self.block, 0), self.block)
        return size, -(-size // self.length)

    def half(self, rank: int) -> Traffic:
        """Traffic of a rank that sends every block but its own on, and so do the others."""
        sent, messages = self.own(rank)
        received, arrivals = self.own(rank + 1)
        return Traffic(
            self.size - sent,
            self.size - received,
            self.segments - messages,
            self.segments - arrivals,
        )


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _equal(c: Collective, n: int) -> int:
    """Bytes of one of n parts that torch wants alike: whole elements, the last one padded."""
    return _round_up(-(-c.size // n), c.element)


def rank(c: Collective, cluster: Cluster, rank: int) -> Traffic:
    """Payload and messages of one rank."""
    n = cluster.workers
    match c.op:
        case "all_reduce" | "reduce_scatter":
            ring = Ring(c.size, n, c.element)
            return ring.half(rank).plus(ring.half(rank - 1))
        case "reduce":
            ring = Ring(c.size, n, c.element)
            return ring.half(rank).plus(_gathered(ring, rank, c.root))
        case "all_gather":
            size, messages = (n - 1) * _equal(c, n), 2 * (n - 1) if c.size else 0
            return Traffic(size, size, messages, messages)
        case "broadcast":
            return tree.rank(c.size, n, rank, c.root)
        case "barrier":
            return Traffic(0, 0, tree.rounds(n), tree.rounds(n))
        case "all_to_all":
            size = (n - 1) * _equal(c, n)
            return Traffic(size, size, n - 1, n - 1)
        case "gather" | "scatter":
            part = _equal(c, n)
            root = rank == c.root
            down = Traffic((n - 1) * part, 0, n - 1, 0) if root else Traffic(0, part, 0, 1)
            return down if c.op == "scatter" else down.backwards()
    return direct.rank(c, n, rank)


def _gathered(ring: Ring, rank: int, root: int) -> Traffic:
    """Each block that is not empty goes to the root in one message."""
    size, segments = ring.own(rank)
    if rank != root:
        return Traffic(size, 0, int(segments > 0), 0)
    filled = -(-ring.size // ring.block)
    return Traffic(0, ring.size - size, 0, filled - int(segments > 0))


def cost(c: Collective, cluster: Cluster) -> Cost:
    """Payload and messages of all ranks; the critical path has every message of a rank."""
    n, tier = cluster.workers, cluster.flat
    match c.op:
        case "all_reduce" | "reduce_scatter" | "reduce":
            ring = Ring(c.size, n, c.element)
            halves = 1 if c.op == "reduce" else 2
            sent, messages = halves * (n - 1) * c.size, halves * (n - 1) * ring.segments
            path = halves * (n - 1) * c.size / n
            legs: tuple[Leg, ...] = (Leg(tier, -(-messages // n), path),)
            if c.op == "reduce":
                last = _gathered(ring, c.root, c.root)
                sent, messages = sent + last.received, messages + last.messages_received
                legs += (Leg(tier, last.messages_received, last.received),)
            return Cost(sent, sent, messages, legs)
        case "all_gather" | "all_to_all":
            each = (2 if c.op == "all_gather" else 1) * (n - 1)
            each = each if c.size or c.op == "all_to_all" else 0
            sent = n * (n - 1) * _equal(c, n)
            return Cost(sent, sent, n * each, (Leg(tier, each, sent / n),))
        case "broadcast":
            return tree.cost(c.size, n, tier)
        case "barrier":
            return Cost(0, 0, n * tree.rounds(n), (Leg(tier, tree.rounds(n), 0),))
        case "gather" | "scatter":
            sent = (n - 1) * _equal(c, n)
            return Cost(sent, sent, n - 1, (Leg(tier, n - 1, sent),))
    return direct.cost(c, n, tier)
