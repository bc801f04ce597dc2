"""Bytes of every collective: against a run of the algorithm itself, and against the kernel."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effcalc.base.errors import InputError
from effcalc.base.ring import ring_all_reduce
from effcalc.communication import gloo
from effcalc.communication.collectives import (
    ALGORITHMS,
    collective_cost,
    collective_rank,
    find_algorithm,
)
from effcalc.communication.core import Cluster, Collective, RankTraffic
from effcalc.hardware.files import Link

LINK = Link("l", "l", "of the test", 1e9, 1e-6)
SLOW = Link("s", "s", "of the test", 1e8, 1e-5)


def cluster(n: int, per_node: int | None = None) -> Cluster:
    return Cluster(n, per_node or n, LINK, SLOW if per_node else LINK)


class Wire:
    """Ranks that hold vectors of numbers and send them to each other, counted in elements."""

    def __init__(self, vectors):
        self.at = {rank: list(v) for rank, v in vectors.items()}
        self.sent, self.received, self.messages = Counter(), Counter(), Counter()

    def round(self, sends, add):
        """Send slices (source, target, first, last) at the same time; `add` them, or replace."""
        data = [(b, lo, hi, self.at[a][lo:hi]) for a, b, lo, hi in sends]
        for a, b, lo, hi in sends:
            self.sent[a] += hi - lo
            self.received[b] += hi - lo
            self.messages[a] += 1
        for b, lo, hi, values in data:
            mine = self.at[b][lo:hi]
            self.at[b][lo:hi] = (
                [x + y for x, y in zip(mine, values, strict=True)] if add else values
            )


def bounds(size: int, n: int) -> list[int]:
    """Where n parts of `size` elements begin; the first ones are longer."""
    edges = [0]
    for i in range(n):
        edges.append(edges[-1] + size // n + (i < size % n))
    return edges


def run_ring(wire: Wire, ranks: list[int], lo: int, hi: int, scatter=True, gather=True):
    n, edges = len(ranks), [lo + e for e in bounds(hi - lo, len(ranks))]

    def around(shift, add):
        for step in range(n - 1):
            sends = []
            for i, rank in enumerate(ranks):
                part = (i + shift - step) % n
                sends.append((rank, ranks[(i + 1) % n], edges[part], edges[part + 1]))
            wire.round(sends, add)

    if scatter:
        around(0, add=True)  # rank i ends with part i + 1
    if gather:
        around(1, add=False)
    return edges


def run_tree(wire: Wire, n: int):
    size = len(wire.at[0])
    rounds = [
        [(v, v + 2**i, 0, size) for v in range(2**i) if v + 2**i < n]
        for i in range((n - 1).bit_length())
    ]
    for sends in reversed(rounds):
        wire.round([(b, a, lo, hi) for a, b, lo, hi in sends], add=True)
    for sends in rounds:
        wire.round(sends, add=False)


def run_halving(wire: Wire, n: int, size: int):
    core = 1 << (n.bit_length() - 1)
    extra = n - core
    evens = [(2 * i, 2 * i + 1) for i in range(extra)]
    wire.round([(a, b, 0, size) for a, b in evens], add=True)
    ranks = [b for _, b in evens] + list(range(2 * extra, n))
    edges = bounds(size, core)
    distances = [1 << i for i in reversed(range(core.bit_length() - 1))]
    for d in distances:
        sends = []
        for i, rank in enumerate(ranks):
            theirs = (i ^ d) // d * d  # the block of the partner's half
            sends.append((rank, ranks[i ^ d], edges[theirs], edges[theirs + d]))
        wire.round(sends, add=True)
    for d in reversed(distances):
        sends = []
        for i, rank in enumerate(ranks):
            mine = i // d * d
            sends.append((rank, ranks[i ^ d], edges[mine], edges[mine + d]))
        wire.round(sends, add=False)
    wire.round([(b, a, 0, size) for a, b in evens], add=False)


def run_hierarchical(wire: Wire, g: int, k: int, size: int):
    nodes = [[node * g + place for place in range(g)] for node in range(k)]
    if g == 1 or k == 1:
        run_ring(wire, list(range(g * k)), 0, size)
        return
    for ranks in nodes:
        edges = run_ring(wire, ranks, 0, size, gather=False)
    for place in range(g):
        part = (place + 1) % g
        across = [ranks[place] for ranks in nodes]
        run_ring(wire, across, edges[part], edges[part + 1])
    for ranks in nodes:
        run_ring(wire, ranks, 0, size, scatter=False)


@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(0, 40), st.sampled_from(sorted(ALGORITHMS))
)
def test_all_reduce_is_what_running_the_algorithm_sends(g, k, size, name):
    """Each rank starts with its own vector, all end with the sum, and bytes are counted."""
    n = g * k
    if n == 1 or name == "gloo":
        return
    wire = Wire({r: [r * 1000 + i for i in range(size)] for r in range(n)})
    match name:
        case "ring":
            run_ring(wire, list(range(n)), 0, size)
        case "tree":
            run_tree(wire, n)
        case "halving-doubling":
            run_halving(wire, n, size)
        case "hierarchical":
            run_hierarchical(wire, g, k, size)
    whole = [sum(r * 1000 + i for r in range(n)) for i in range(size)]
    assert all(vector == whole for vector in wire.at.values())
    for rank in range(n):
        got = collective_rank(ALGORITHMS[name], Collective("all_reduce", size), cluster(n, g), rank)
        assert (got.sent, got.received) == (wire.sent[rank], wire.received[rank])
        assert got.messages_sent == wire.messages[rank]


@given(
    st.sampled_from(sorted(ALGORITHMS)),
    st.sampled_from(["all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce"]),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 10**7),
    st.integers(0, 35),
)
def test_ranks_sum_to_the_whole(name, op, g, k, elements, root):
    """What all ranks send is what all receive, and both are the closed form."""
    n = g * k
    if n == 1:
        return
    size = elements * 4 * (n if op == "all_gather" else 1)
    c = Collective(op, size, root=root % n)
    ranks = [collective_rank(ALGORITHMS[name], c, cluster(n, g), r) for r in range(n)]
    cost = collective_cost(ALGORITHMS[name], c, cluster(n, g))
    assert sum(r.sent for r in ranks) == sum(r.received for r in ranks) == cost.sent
    assert sum(r.messages_sent for r in ranks) == cost.messages
    assert sum(r.messages_received for r in ranks) == cost.messages


@given(st.integers(2, 600), st.integers(0, 10**9))
def test_the_mean_of_a_ring_is_the_textbooks(n, size):
    for name in ("ring", "gloo", "hierarchical"):
        cost = collective_cost(ALGORITHMS[name], Collective("all_reduce", size), cluster(n))
        assert Fraction(cost.sent, n) == ring_all_reduce(size, n)


# What the kernel counted on the sockets of each rank, (sent, received), torch 2.14.1: payload
# and 48 bytes for each message, each notice of one, and each request for one.
MEASURED = [
    # 3 floats on 2 ranks: 4 segments of one float, blocks of 2 and 1. Rank 0 keeps back block 0
    # once and block 1 once: 2·12 − 12 = 12 bytes in 3 messages, 3·96, and 3 requests, 3·48.
    ("all_reduce", 2, 12, [(444, 444), (444, 444)]),
    ("all_reduce", 3, 4, [(148, 148), (196, 248), (248, 196)]),
    ("all_reduce", 3, 4000, [(6488, 6480), (6480, 6488), (6488, 6488)]),
    (
        *("all_reduce", 4, 4000012),
        [(6001756, 6001736), (6001736, 6001736), (6001736, 6001756), (6001756, 6001756)],
    ),
    ("all_reduce", 2, 0, [(0, 0), (0, 0)]),
    ("reduce_scatter", 3, 36, [(1012, 952), (952, 1012), (1060, 1060)]),
    ("reduce", 4, 12, [(244, 348), (444, 444), (444, 444), (348, 244)]),
    (
        *("reduce", 4, 4000012),
        [(3001012, 6001160), (4000972, 3000916), (4000972, 3000936), (4000972, 3000916)],
    ),
    ("all_gather", 3, 12, [(584, 584)] * 3),
    ("all_gather", 3, 0, [(0, 0)] * 3),
    ("broadcast", 4, 4000, [(8192, 96), (4144, 4144), (48, 4096), (48, 4096)]),
    ("broadcast", 3, 0, [(192, 96), (48, 96), (48, 96)]),
    ("all_to_all", 4, 48, [(468, 468)] * 4),
    ("gather", 3, 36, [(96, 216), (108, 48), (108, 48)]),
    ("scatter", 3, 36, [(216, 96), (48, 108), (48, 108)]),
    ("barrier", 4, 0, [(288, 288)] * 4),
]


@pytest.mark.parametrize(("op", "n", "size", "measured"), MEASURED)
def test_gloo_is_what_the_kernel_counted(op, n, size, measured):
    ranks = [gloo.rank(Collective(op, size), cluster(n), r) for r in range(n)]
    assert [gloo.wire(r) for r in ranks] == measured


def test_gloo_sends_twice_for_a_reduce_scatter_and_a_half_more_for_a_reduce():
    """On 2 ranks a textbook reduce-scatter of S sends S/2 a rank, and a reduce S in all."""
    size, two = 4_000_000, cluster(2)
    scatter = Collective("reduce_scatter", size)
    assert gloo.cost(scatter, two).sent == 2 * ALGORITHMS["ring"].cost(scatter, two).sent
    reduce = Collective("reduce", size)
    assert gloo.cost(reduce, two).sent == 1.5 * ALGORITHMS["tree"].cost(reduce, two).sent


def test_time_is_alpha_for_each_message_and_bytes_over_beta():
    """8 ranks, S = 8 MB, α = 1 µs, β = 1 GB/s."""
    c = Collective("all_reduce", 8_000_000)

    def seconds(name, at):
        return at.seconds(collective_cost(ALGORITHMS[name], c, at))

    flat = cluster(8)
    # Ring: 14 steps, 14/8 · 8 MB. Tree: 2·3 steps of all 8 MB. Halving: 6 steps, 14/8 · 8 MB.
    assert seconds("ring", flat) == pytest.approx(14e-6 + 14e-3)
    assert seconds("tree", flat) == pytest.approx(6e-6 + 48e-3)
    assert seconds("halving-doubling", flat) == pytest.approx(6e-6 + 14e-3)
    # Two nodes of 4, between them α = 10 µs, β = 0.1 GB/s. Inside 2·3 steps of 2 MB; between
    # them 2 steps of half of a quarter: 2 · 1 MB / 0.1 GB/s = 20 ms. A flat ring has 14 MB to
    # push through the slow link.
    nodes = cluster(8, 4)
    assert seconds("hierarchical", nodes) == pytest.approx(6e-6 + 12e-3 + 20e-6 + 20e-3)
    assert seconds("ring", nodes) == pytest.approx(140e-6 + 140e-3)


def test_a_lone_worker_sends_nothing():
    for algorithm in ALGORITHMS.values():
        for op in ("all_reduce", "broadcast", "push"):
            assert collective_rank(algorithm, Collective(op, 99), cluster(1), 0) == RankTraffic()
            assert collective_cost(algorithm, Collective(op, 99), cluster(1)).sent == 0


def test_an_unknown_algorithm_is_told_with_those_there_are():
    with pytest.raises(InputError, match="did you mean 'ring'"):
        find_algorithm("rign")
