"""Sizes of stored networks: formulas against enumeration, simulation and the papers."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effcalc.base.errors import InputError
from effcalc.deployment.huffman import entropy, mean_length
from effcalc.deployment.positions import distances, expected_padding
from effcalc.deployment.sizes import (
    Storage,
    codebook,
    int_storage,
    kept_of,
    parse_compression,
    pieces,
    pruned,
    stored,
    stored_tensor,
)
from effcalc.scaling.scale import scale

COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=80).filter(any)


# --- Huffman ------------------------------------------------------------------------------------


@given(COUNTS)
def test_huffman_is_within_a_bit_of_the_entropy(counts):
    # Shannon: H <= mean length < H + 1 for an optimal code; a single symbol takes its one bit.
    shares = [count / sum(counts) for count in counts]
    assert entropy(counts) - 1e-9 <= mean_length(shares) <= entropy(counts) + 1 + 1e-9


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5))
@settings(deadline=None)
def test_no_lengths_of_a_prefix_code_are_better(counts):
    """Every assignment of lengths that satisfies Kraft's inequality, tried."""
    best = min(
        sum(c * n for c, n in zip(counts, lengths, strict=True))
        for lengths in itertools.product(range(1, 5), repeat=len(counts))
        if sum(Fraction(1, 2**n) for n in lengths) <= 1
    )
    assert mean_length(counts) == best


# --- relative indices ---------------------------------------------------------------------------


def walk(kept: list[bool], reach: int) -> int:
    """Count padding as an encoder inserts it: a zero whenever `reach` positions hold no weight.

    Only where a kept weight follows: zeros at the end of a tensor need none.
    """
    padding = pending = since = 0
    for bit in kept:
        since += 1
        if bit:
            padding += pending
            pending = since = 0
        elif since == reach:
            pending += 1
            since = 0
    return padding


def test_the_papers_own_example():
    # Han et al. 2016, figure 2: 3 bits, weights at 1, 4 and 15; the distance 11 is a zero at 8
    # and then 3.
    assert walk([i in (1, 4, 15) for i in range(16)], 8) == 1
    # A distance of exactly 8 needs none, 9 one, 16 one, 17 two.
    assert [walk([i == d - 1 for i in range(d)], 8) for d in (8, 9, 16, 17)] == [0, 1, 1, 2]


@pytest.mark.parametrize(("n", "kept", "bits"), [(9, 2, 1), (12, 3, 1), (13, 1, 2), (14, 5, 2)])
def test_expected_padding_is_the_mean_over_every_pattern(n, kept, bits):
    """All 2^n patterns, each with its probability p^m (1 − p)^(n − m)."""
    p = Fraction(kept, n)
    mean = sum(
        p ** sum(pattern) * (1 - p) ** (n - sum(pattern)) * walk(list(pattern), 1 << bits)
        for pattern in itertools.product((False, True), repeat=n)
    )
    assert float(expected_padding(n, kept, bits)) == pytest.approx(float(mean), rel=1e-12)


@pytest.mark.parametrize(("density", "bits"), [(0.33, 4), (0.1, 4), (0.05, 5), (0.01, 8)])
def test_expected_padding_is_what_random_positions_need(density, bits):
    rng = random.Random(1)
    n, runs = 20_000, 20
    kept = kept_of(n, density)
    drawn = [set(rng.sample(range(n), kept)) for _ in range(runs)]
    found = [walk([i in places for i in range(n)], 1 << bits) for places in drawn]
    mean = sum(found) / runs
    spread = math.sqrt(sum((f - mean) ** 2 for f in found) / (runs - 1) / runs)
    # Exactly `kept` are drawn where the formula keeps each with a probability: a difference of
    # order one, beside four standard errors.
    assert abs(float(expected_padding(n, kept, bits)) - mean) < 4 * spread + 2


@given(st.floats(0.001, 0.999), st.integers(1, 8))
def test_distances_are_a_distribution_with_padding_last(density, bits):
    shares = distances(density, bits)
    assert len(shares) == 2**bits
    assert sum(shares) == pytest.approx(1)


def test_padding_of_a_large_tensor_is_its_closed_form():
    # n·p·x/(1 − x), x = 0.67^16: with a thousand weights more, the ends stop mattering.
    x = 0.67**16
    for n in (10**9, 10**18, 10**30):
        expected = n * 0.33 * x / (1 - x)
        assert float(expected_padding(n, kept_of(n, 0.33), 4)) == pytest.approx(expected, rel=1e-6)


# --- whole networks -----------------------------------------------------------------------------


def size(name: str, storage: Storage, **options: object) -> int:
    return stored(pieces(scale(name, **options).network), storage).total


def test_float32_is_every_parameter_and_running_statistic():
    at = scale("efficientnet-b0")
    # Each of the 49 norms also has a step counter of 8 bytes, which inference does not need.
    assert size("efficientnet-b0", Storage()) == at.weight_bytes + at.buffer_bytes - 49 * 8
    assert size("squeezenet-1.0", Storage()) == 4 * 1_248_424
    assert size("squeezenet-1.0", Storage("float", 16)) == 2 * 1_248_424


def test_squeezenet_by_hand():
    # 1,248,424 parameters, 3,976 of them biases (as many as output channels), 26 convolutions.
    weights, biases = 1_244_448, 3_976
    int8 = stored(pieces(scale("squeezenet-1.0").network), int_storage(8))
    assert int8 == (weights, 0, 4 * biases, 4 * biases, 0)
    assert size("squeezenet-1.0", int_storage(4)) == weights // 2 + 8 * biases
    assert size("squeezenet-1.0", codebook(6)) == weights * 6 // 8 + 26 * 64 * 4 + 4 * biases


@pytest.mark.parametrize(
    ("text", "printed", "computed"),
    [
        ("density=0.33,bits=8,huffman=no", 660_000, 659_579),
        ("density=0.33,bits=6,huffman=no", 470_000, 536_767),
    ],
)
def test_squeezenet_with_deep_compression(text, printed, computed):
    """The paper's table 2, from 0.33·1,244,448 = 410,668 weights and 678 of padding.

    8 bits: 411,346 · (8 + 4) / 8 + 26 · 256 · 4 + 15,904 = 659,547, and 32 bytes by which the
    parts of the 26 tensors are rounded up: the paper's 0.66 MB. With 6 bits 0.54 MB; the paper
    prints 0.47.
    """
    assert size("squeezenet-1.0", parse_compression(text)) == computed
    assert (abs(computed - printed) < 5_000) == (printed == 660_000)


def test_squeezenet_6_bits_with_huffman_coded_indices():
    # Indices of 2.81 bits instead of 4: 411,346 · (6 + 2.81)/8 + codebooks and biases.
    storage = parse_compression("density=0.33,bits=6,huffman=yes")
    coded = stored(pieces(scale("squeezenet-1.0").network), storage)
    assert coded.indices * 8 / 411_346 == pytest.approx(2.81, abs=0.005)
    assert mean_length(distances(0.33, 4)) == pytest.approx(2.81, abs=0.005)
    assert coded.total == 476_511


def test_repeated_blocks_count_each():
    deep = scale("efficientnet-b0", depth=3.0)
    alone = sum(stored_tensor(p.shape, codebook(4)).total * p.times for p in pieces(deep.network))
    assert stored(pieces(deep.network), codebook(4)).total == alone
    elements = sum(p.numel * p.times for p in pieces(deep.network))
    assert elements * 4 == size("efficientnet-b0", Storage(), depth=3.0)


@given(
    st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 7)),
    st.sampled_from([Storage(), int_storage(8), int_storage(4), codebook(8), codebook(2)]),
    st.floats(0.01, 1),
    st.booleans(),
)
def test_no_storage_is_larger_than_float32(shape, storage, density, huffman):
    if storage.kind != "int":
        storage = pruned(storage, density, 4)
    if storage.kind == "codebook" and huffman:
        storage = Storage("codebook", storage.bits, storage.density, 4, True)
    found = stored_tensor(shape, storage)
    assert min(found) >= 0
    assert found.total <= 4 * math.prod(shape)


def test_a_network_of_any_size_has_a_size():
    huge = stored_tensor((10**200, 10**200), parse_compression("density=0.33,bits=6,huffman=yes"))
    assert huge.total > 10**399


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("density=0.33", "bits are missing"),
        ("bits=9", "9 bits are not"),
        ("bits=0", "0 bits are not"),
        ("bits=6,density=0", "density: 0 is not a share"),
        ("bits=6,density=1.5", "density: 1.5 is not a share"),
        ("bits=6,index_bits=20", "20 bits are not"),
        ("bits=6,bits=5", "'bits=5' is not one of"),
        ("bits=6,densty=0.3", r"did you mean 'density'\?"),
        ("bits=6,huffman=maybe", "huffman is yes or no, not 'maybe'"),
        ("bits", "write density=0.33,bits=6"),
    ],
)
def test_a_compression_that_cannot_be_read(text, why):
    with pytest.raises(InputError, match=why):
        parse_compression(text)
