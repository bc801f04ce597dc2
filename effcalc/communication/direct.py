"""Messages between two: a send, and all workers with a parameter server.

The server is one more rank, number n. What all workers send to it, or get from it, passes its
link one after another: n·S bytes (Iandola et al. 2016, FireCaffe, on parameter servers).
"""

from __future__ import annotations

from effcalc.communication.core import Collective, CollectiveCost, Leg, RankTraffic


def rank(c: Collective, n: int, rank: int) -> RankTraffic:
    """Traffic of one rank for `send`, `push` (S bytes of each worker) or `pull`."""
    if c.op == "send":
        out, into = rank == c.root, rank == c.peer
        return RankTraffic(c.size * out, c.size * into, int(out), int(into))
    pull = RankTraffic(n * c.size, 0, n, 0) if rank == n else RankTraffic(0, c.size, 0, 1)
    return pull if c.op == "pull" else pull.backwards()


def cost(c: Collective, n: int, tier: int) -> CollectiveCost:
    """Cost for the workers; what the server sends and receives is its own."""
    if c.op == "send":
        return CollectiveCost(c.size, c.size, 1, (Leg(tier, 1, c.size),))
    leg = (Leg(tier, 1, n * c.size),)
    return (
        CollectiveCost(n * c.size, 0, n, leg)
        if c.op == "push"
        else CollectiveCost(0, n * c.size, 0, leg)
    )
