"""Collectives whose messages leave no choice: broadcast, reduce, send, and a parameter server.

A broadcast is a binomial tree (Thakur, Rabenseifner & Gropp 2005, section 4.2): in round i the
ranks below 2^i, counted from the root, have the data and send it 2^i further. A reduce is a
broadcast backwards.

A parameter server is one more rank, number n. What all workers send to it, or get from it, passes
its link one after another: n·S bytes (Iandola et al. 2016, FireCaffe, on parameter servers).
"""

from __future__ import annotations

from effcalc.communication.core import Collective, CollectiveCost, Leg, RankTraffic


def rounds(n: int) -> int:
    """⌈log2 n⌉."""
    return (n - 1).bit_length()


def tree_rank(size: int, n: int, rank: int, root: int) -> RankTraffic:
    """Traffic of one rank of a broadcast: it sends to v + 2^i for each 2^i over v."""
    v = (rank - root) % n
    below = sum(1 for i in range(v.bit_length(), rounds(n)) if v + (1 << i) < n)
    return RankTraffic(below * size, size if v else 0, below, int(v > 0))


def tree_cost(size: int, n: int, tier: int) -> CollectiveCost:
    """n − 1 messages of all, ⌈log2 n⌉ of them one after another."""
    leg = Leg(tier, rounds(n), rounds(n) * size)
    return CollectiveCost((n - 1) * size, (n - 1) * size, n - 1, (leg,))


def rank(c: Collective, n: int, rank: int) -> RankTraffic:
    """Traffic of one rank; of a `push` (S bytes of each worker) and a `pull` the server's too."""
    match c.op:
        case "broadcast":
            return tree_rank(c.size, n, rank, c.root)
        case "reduce":
            return tree_rank(c.size, n, rank, c.root).backwards()
        case "send":
            out, into = rank == c.root, rank == c.peer
            return RankTraffic(c.size * out, c.size * into, int(out), int(into))
    pull = RankTraffic(n * c.size, 0, n, 0) if rank == n else RankTraffic(0, c.size, 0, 1)
    return pull if c.op == "pull" else pull.backwards()


def cost(c: Collective, n: int, tier: int) -> CollectiveCost:
    """Cost for the workers; what a server sends and receives is its own."""
    if c.op in ("broadcast", "reduce"):
        return tree_cost(c.size, n, tier)
    if c.op == "send":
        return CollectiveCost(c.size, c.size, 1, (Leg(tier, 1, c.size),))
    whole, leg = n * c.size, (Leg(tier, 1, n * c.size),)
    if c.op == "push":
        return CollectiveCost(whole, 0, n, leg)
    return CollectiveCost(0, whole, 0, leg)
