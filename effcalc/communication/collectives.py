"""Collective algorithms as textbooks have them: bytes of each rank, messages, critical path.

n is the number of ranks and S the bytes of a collective (see `core.py`). Where n does not divide S,
the first S mod n parts are a byte longer, so the ranks differ by a byte or two and their sum is
exact. To add an algorithm: two functions and a record in `ALGORITHMS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from effcalc.base.errors import named
from effcalc.communication import direct, gloo
from effcalc.communication.core import (
    INNER,
    OUTER,
    Cluster,
    Collective,
    CollectiveCost,
    Leg,
    Phase,
    RankTraffic,
)


class Algorithm(NamedTuple):
    """How collectives are done: the cost of one for all ranks, and the traffic of one rank."""

    name: str
    help: str
    source: str
    cost: Callable[[Collective, Cluster], CollectiveCost]
    rank: Callable[[Collective, Cluster, int], RankTraffic]


# --- parts of a vector --------------------------------------------------------------------------


def _part(size: int, n: int, index: int) -> int:
    """Bytes of part `index` (any whole number, modulo n) of n parts."""
    return size // n + (index % n < size % n)


def _parts(size: int, n: int, first: int, count: int) -> int:
    """Bytes of `count` parts from number `first` on, which do not pass the end."""
    longer = min(max(size % n - first, 0), count)
    return count * (size // n) + longer


# --- ring --------------------------------------------------------------------------------------


def _ring_half_rank(size: int, n: int, rank: int, skip: int) -> RankTraffic:
    """n − 1 steps around a ring: all parts but one are sent on, all but the one before come."""
    return RankTraffic(
        size - _part(size, n, rank + skip), size - _part(size, n, rank + skip - 1), n - 1, n - 1
    )


def _ring_rank(c: Collective, n: int, rank: int) -> RankTraffic:
    match c.op:
        case "all_reduce":
            first, second = (_ring_half_rank(c.size, n, rank, skip) for skip in (1, 2))
            return first + second
        case "reduce_scatter":
            return _ring_half_rank(c.size, n, rank, 1)
        case "all_gather":
            return _ring_half_rank(c.size, n, rank, 2)
    return direct.rank(c, n, rank)


def _ring_cost(c: Collective, n: int, tier: int) -> CollectiveCost:
    if c.op not in ("all_reduce", "reduce_scatter", "all_gather"):
        return direct.cost(c, n, tier)
    rounds = (2 if c.op == "all_reduce" else 1) * (n - 1)
    sent = rounds * c.size
    return CollectiveCost(sent, sent, rounds * n, (Leg(tier, rounds, rounds * c.size / n),))


def ring_rank(c: Collective, cluster: Cluster, rank: int) -> RankTraffic:
    """Traffic of a rank where parts go around a ring (Patarasuk & Yuan 2009, section 3)."""
    return _ring_rank(c, cluster.workers, rank)


def ring_cost(c: Collective, cluster: Cluster) -> CollectiveCost:
    """2(n − 1) steps of S/n bytes for an all-reduce, half of that for either half."""
    return _ring_cost(c, cluster.workers, cluster.flat)


# --- tree --------------------------------------------------------------------------------------


def tree_rank(c: Collective, cluster: Cluster, rank: int) -> RankTraffic:
    """Traffic of a rank where an all-reduce is a binomial reduce and a binomial broadcast."""
    if c.op != "all_reduce":
        return ring_rank(c, cluster, rank)
    down = direct.tree_rank(c.size, cluster.workers, rank, 0)
    return down + down.backwards()


def tree_cost(c: Collective, cluster: Cluster) -> CollectiveCost:
    """2⌈log2 n⌉ steps of S bytes; halves of an all-reduce go by ring (Thakur 2005, 4.5)."""
    if c.op != "all_reduce":
        return ring_cost(c, cluster)
    return direct.tree_cost(c.size, cluster.workers, cluster.flat) * 2


# --- recursive halving and doubling ------------------------------------------------------------


def _halving_rank(size: int, n: int, rank: int) -> RankTraffic:
    """A reduce-scatter by halving on n = 2^k ranks: each round sends the half not kept."""
    rounds = n.bit_length() - 1
    kept = sum(
        _parts(size, n, rank >> i << i, 1 << i) for i in range(rounds)
    )  # the blocks of 2^i parts that this rank's is in
    return RankTraffic(size - _part(size, n, rank), kept, rounds, rounds)


def halving_rank(c: Collective, cluster: Cluster, rank: int) -> RankTraffic:
    """Traffic of a rank with recursive halving and doubling (Thakur 2005, 4.1, 4.4 and 4.5).

    Ranks beyond a power of two hand their vector to a neighbour first, and get the result back.
    """
    n = cluster.workers
    core = 1 << (n.bit_length() - 1)
    extra = n - core
    if c.op == "all_reduce":
        whole = RankTraffic(c.size, c.size, 1, 1)
        if rank < 2 * extra and rank % 2 == 0:
            return whole
        half = _halving_rank(c.size, core, rank // 2 if rank < 2 * extra else rank - extra)
        both = half + half.backwards()
        return both + whole if rank < 2 * extra else both
    if c.op in ("reduce_scatter", "all_gather") and not extra:
        half = _halving_rank(c.size, n, rank)
        return half if c.op == "reduce_scatter" else half.backwards()
    return ring_rank(c, cluster, rank)


def halving_cost(c: Collective, cluster: Cluster) -> CollectiveCost:
    """2 log2 n steps and 2(n − 1)/n · S bytes for an all-reduce, n a power of two.

    Otherwise two steps and 2S more, and the halves of an all-reduce go by ring.
    """
    n, tier = cluster.workers, cluster.flat
    core = 1 << (n.bit_length() - 1)
    extra, rounds = n - core, n.bit_length() - 1
    if c.op == "all_reduce":
        sent = (2 * (core - 1) + 2 * extra) * c.size
        path = 2 * (core - 1) * c.size / core + (2 * c.size if extra else 0)
        leg = Leg(tier, 2 * rounds + (2 if extra else 0), path)
        return CollectiveCost(sent, sent, 2 * core * rounds + 2 * extra, (leg,))
    if c.op in ("reduce_scatter", "all_gather") and not extra:
        sent = (n - 1) * c.size
        return CollectiveCost(sent, sent, n * rounds, (Leg(tier, rounds, (n - 1) * c.size / n),))
    return ring_cost(c, cluster)


# --- hierarchical ------------------------------------------------------------------------------


def hierarchical_rank(c: Collective, cluster: Cluster, rank: int) -> RankTraffic:
    """Traffic of a rank where rings run within nodes, and between ranks of equal place in them.

    An all-reduce is a reduce-scatter in the node, an all-reduce of each part between nodes, and
    an all-gather in the node.
    """
    g, k = cluster.per_node, cluster.nodes
    if k == 1 or g == 1 or c.op in ("send", "push", "pull"):
        return ring_rank(c, cluster, rank)
    node, place = divmod(rank, g)
    match c.op:
        case "all_reduce" | "reduce_scatter" | "all_gather":
            part = _part(c.size, g, place + 1)  # what the reduce-scatter leaves with this rank
            across = _ring_rank(c._replace(size=part), k, node)
            down = _ring_half_rank(c.size, g, place, 1)
            up = _ring_half_rank(c.size, g, place, 2)
            if c.op == "all_reduce":
                return across + down + up
            return across + (down if c.op == "reduce_scatter" else up)
    source, at = divmod(c.root, g)
    across = direct.tree_rank(c.size, k, node, source) if place == at else RankTraffic()
    down = across + direct.tree_rank(c.size, g, place, at)
    return down if c.op == "broadcast" else down.backwards()


def hierarchical_cost(c: Collective, cluster: Cluster) -> CollectiveCost:
    """g ranks a node, k nodes: 2(g − 1)/g · S bytes inside, 2(k − 1)/k · S/g between nodes."""
    g, k = cluster.per_node, cluster.nodes
    if k == 1 or g == 1 or c.op in ("send", "push", "pull"):
        return ring_cost(c, cluster)
    inside, across = _ring_cost(c, g, INNER), _ring_cost(c, k, OUTER)
    sent = k * inside.sent + across.sent
    if c.op in ("broadcast", "reduce"):
        return CollectiveCost(
            sent, sent, k * inside.messages + across.messages, (*inside.legs, *across.legs)
        )
    # Each of the g ranks of a node takes part in a ring between nodes, with its part of S.
    legs = tuple(Leg(leg.tier, leg.steps, leg.size / g) for leg in across.legs)
    messages = k * inside.messages + g * across.messages
    return CollectiveCost(sent, sent, messages, (*inside.legs, *legs))


# --- all of them -------------------------------------------------------------------------------

ALGORITHMS = {
    a.name: a
    for a in (
        Algorithm(
            "ring",
            "parts around a ring: least bytes, most steps",
            "Patarasuk & Yuan 2009, section 3",
            ring_cost,
            ring_rank,
        ),
        Algorithm(
            "tree",
            "a binomial reduce and broadcast: fewest steps, most bytes",
            "Thakur, Rabenseifner & Gropp 2005, sections 4.2 and 4.5",
            tree_cost,
            tree_rank,
        ),
        Algorithm(
            "halving-doubling",
            "recursive halving and doubling: least bytes, few steps",
            "Thakur, Rabenseifner & Gropp 2005, sections 4.1, 4.4 and 4.5",
            halving_cost,
            halving_rank,
        ),
        Algorithm(
            "hierarchical",
            "rings within nodes, and rings between them",
            "Patarasuk & Yuan 2009 within each tier; see docs/communication.md",
            hierarchical_cost,
            hierarchical_rank,
        ),
        Algorithm(
            "gloo",
            "torch's CPU backend as it really sends",
            "measured on torch 2.14.1 with `verify`; see docs/communication.md",
            gloo.cost,
            gloo.rank,
        ),
    )
}


def find_algorithm(name: str, option: str = "`algorithm`") -> Algorithm:
    """Return an algorithm by name; raises `InputError`."""
    return named(name, ALGORITHMS, "algorithm", option)


def collective_cost(algorithm: Algorithm, c: Collective, cluster: Cluster) -> CollectiveCost:
    """Cost of a collective with its repeats; a single worker sends nothing."""
    if cluster.workers == 1:
        return CollectiveCost()
    return algorithm.cost(c, cluster) * c.repeats


def collective_rank(
    algorithm: Algorithm, c: Collective, cluster: Cluster, rank: int
) -> RankTraffic:
    """Traffic of one rank for a collective with its repeats; see `collective_cost`."""
    if cluster.workers == 1:
        return RankTraffic()
    return algorithm.rank(c, cluster, rank) * c.repeats


def phase_rank(algorithm: Algorithm, phase: Phase, cluster: Cluster, rank: int) -> RankTraffic:
    """Traffic of one rank for all collectives of a phase."""
    traffic = (collective_rank(algorithm, c, cluster, rank) for c in phase.collectives)
    return sum(traffic, RankTraffic())


def phase_cost(algorithm: Algorithm, phase: Phase, cluster: Cluster) -> CollectiveCost:
    """Cost of all collectives of a phase, one after another."""
    costs = (collective_cost(algorithm, c, cluster) for c in phase.collectives)
    return sum(costs, CollectiveCost())
