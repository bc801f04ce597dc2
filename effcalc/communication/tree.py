"""A binomial tree: broadcast from a root, or backwards a reduce to it.

Thakur, Rabenseifner & Gropp 2005, section 4.2. In round i the ranks below 2^i that have the data
send it 2^i further; ranks count from the root.
"""

from __future__ import annotations

from effcalc.communication.core import CollectiveCost, Leg, RankTraffic


def rounds(n: int) -> int:
    """⌈log2 n⌉."""
    return (n - 1).bit_length()


def rank(size: int, n: int, rank: int, root: int) -> RankTraffic:
    """Traffic of one rank of a broadcast: it sends to v + 2^i for each 2^i over v."""
    v = (rank - root) % n
    below = sum(1 for i in range(v.bit_length(), rounds(n)) if v + (1 << i) < n)
    return RankTraffic(below * size, size if v else 0, below, int(v > 0))


def cost(size: int, n: int, tier: int) -> CollectiveCost:
    """n − 1 messages of all, ⌈log2 n⌉ of them one after another."""
    leg = Leg(tier, rounds(n), rounds(n) * size)
    return CollectiveCost((n - 1) * size, (n - 1) * size, n - 1, (leg,))
