"""What torch's gloo backend sends, to the byte: the algorithms of gloo as measured.

Measured on torch 2.14.1 by the kernel's own counters (`effcalc comm --verify`).
docs/communication.md lists where gloo differs from the textbook.

- all_reduce: a ring of segments. S is cut into max(⌈S / 1 MiB⌉, 2n) segments, their number
  rounded up to a multiple of n and their length to whole elements, so the last ones may be
  short or empty; a block is the segments of one rank. Rank r does not send block r in the
  reduce-scatter, nor block r − 1 in the all-gather, and sends to r − 1.
- reduce_scatter: an all_reduce of the whole vector, of which each rank keeps its part.
- reduce: a ring's reduce-scatter of segments of at most 1 MiB, and then each rank sends its block
  to the root. Over 2n MiB a block has more than two segments, and rank r sends all of its block
  but the last two on as well, needlessly.
- all_gather: a ring in which each part goes as two messages.
- broadcast: a binomial tree. gather, scatter, all_to_all, send: one message for each pair.
- barrier: ⌈log2 n⌉ rounds of empty messages.

Each message has a header of 48 bytes. Before it go a notice that it is there (48 bytes, from the
sender) and one that it is wanted (48 bytes, from the receiver).
"""

from __future__ import annotations

from effcalc.communication import direct
from effcalc.communication.core import Cluster, Collective, CollectiveCost, Leg, RankTraffic

HEADER = 48
SEGMENT = 1 << 20


def wire(traffic: RankTraffic) -> tuple[int, int]:
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

    def half(self, rank: int) -> RankTraffic:
        """Traffic of a rank that sends every block but its own on, and so do the others."""
        sent, messages = self.own(rank)
        received, arrivals = self.own(rank + 1)
        return RankTraffic(
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


def rank(c: Collective, cluster: Cluster, rank: int) -> RankTraffic:
    """Payload and messages of one rank."""
    n = cluster.workers
    match c.op:
        case "all_reduce" | "reduce_scatter":
            ring = Ring(c.size, n, c.element)
            return ring.half(rank) + ring.half(rank - 1)
        case "reduce":
            return Reduce(c.size, n, c.element).rank(rank, c.root)
        case "all_gather":
            size, messages = (n - 1) * _equal(c, n), 2 * (n - 1) if c.size else 0
            return RankTraffic(size, size, messages, messages)
        case "barrier":
            return RankTraffic(0, 0, direct.rounds(n), direct.rounds(n))
        case "all_to_all":
            size = (n - 1) * _equal(c, n)
            return RankTraffic(size, size, n - 1, n - 1)
        case "gather" | "scatter":
            part = _equal(c, n)
            root = rank == c.root
            down = RankTraffic((n - 1) * part, 0, n - 1, 0) if root else RankTraffic(0, part, 0, 1)
            return down if c.op == "scatter" else down.backwards()
    return direct.rank(c, n, rank)


class Reduce:
    """How a vector is cut for a reduce, of which each rank keeps back two segments."""

    __slots__ = ("block", "length", "n", "segments", "size")

    def __init__(self, size: int, n: int, element: int) -> None:
        """Cut into segments of at most 1 MiB, at least 2n of them."""
        most = element * max(1, SEGMENT // element)
        self.size, self.n = size, n
        self.length = max(min(_round_up(-(-size // (2 * n)), element), most), 1)
        self.segments = -(-size // self.length)
        self.block = _round_up(max(self.segments, 2 * n), n) // n * self.length

    def within(self, first: int, last: int) -> tuple[int, int]:
        """Bytes and non-empty segments from one place to another."""
        size = max(min(last, self.size) - first, 0)
        return size, -(-size // self.length)

    def own(self, rank: int) -> tuple[int, int]:
        """Bytes and segments of a rank's block."""
        return self.within(rank * self.block, (rank + 1) * self.block)

    def kept(self, rank: int) -> tuple[int, int]:
        """Bytes and segments of the last two segments of a rank's block."""
        end = (rank % self.n + 1) * self.block
        return self.within(end - 2 * self.length, end)

    def rank(self, rank: int, root: int) -> RankTraffic:
        """Traffic of a rank: the ring, and its block to the root in one message."""
        kept, fewer = self.kept(rank)
        others, missing = self.kept(rank + 1)
        ring = RankTraffic(
            self.size - kept,
            self.size - others,
            self.segments - fewer,
            self.segments - missing,
        )
        size, segments = self.own(rank)
        if rank != root:
            return ring + RankTraffic(size, 0, int(segments > 0), 0)
        filled = -(-self.size // self.block)
        return ring + RankTraffic(0, self.size - size, 0, filled - int(segments > 0))

    def cost(self, root: int, tier: int) -> CollectiveCost:
        """All ranks: those before the last block that is not empty keep two whole segments."""
        whole = self.size // self.block
        rest, few = self.kept(whole) if whole < self.n else (0, 0)
        sent = self.n * self.size - whole * 2 * self.length - rest
        messages = self.n * self.segments - whole * 2 - few
        own, segments = self.own(root)
        gathered = -(-self.size // self.block) - int(segments > 0)
        ring = Leg(tier, -(-messages // self.n), sent / self.n)
        last = Leg(tier, gathered, self.size - own)
        return CollectiveCost(
            sent + self.size - own, sent + self.size - own, messages + gathered, (ring, last)
        )


def cost(c: Collective, cluster: Cluster) -> CollectiveCost:
    """Payload and messages of all ranks; the critical path has every message of a rank."""
    n, tier = cluster.workers, cluster.flat
    match c.op:
        case "all_reduce" | "reduce_scatter":
            sent = 2 * (n - 1) * c.size
            messages = 2 * (n - 1) * Ring(c.size, n, c.element).segments
            return CollectiveCost(sent, sent, messages, (Leg(tier, -(-messages // n), sent / n),))
        case "reduce":
            return Reduce(c.size, n, c.element).cost(c.root, tier)
        case "all_gather" | "all_to_all":
            each = (2 if c.op == "all_gather" else 1) * (n - 1)
            each = each if c.size or c.op == "all_to_all" else 0
            sent = n * (n - 1) * _equal(c, n)
            return CollectiveCost(sent, sent, n * each, (Leg(tier, each, sent / n),))
        case "barrier":
            return CollectiveCost(0, 0, n * direct.rounds(n), (Leg(tier, direct.rounds(n), 0),))
        case "gather" | "scatter":
            sent = (n - 1) * _equal(c, n)
            return CollectiveCost(sent, sent, n - 1, (Leg(tier, n - 1, sent),))
    return direct.cost(c, n, tier)
