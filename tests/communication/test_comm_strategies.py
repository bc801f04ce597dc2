"""What strategies send, in which order, and what of it shows: by hand, by torch, by brute force."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import effcalc
from effcalc.base.errors import InputError
from effcalc.base.units import dtype_bytes
from effcalc.communication import buckets, gloo
from effcalc.communication.collectives import ALGORITHMS, collective_rank
from effcalc.communication.core import Cluster, Collective, RankTraffic
from effcalc.communication.model import Model, training_model, units
from effcalc.communication.overlap import exposed
from effcalc.communication.pipeline import crossing, cut
from effcalc.communication.predict import Cases, compute_seconds, predictions
from effcalc.communication.strategies import STRATEGIES, Setup
from effcalc.hardware.files import Device, Link

LINK = Link("l", "l", "of the test", 1e9, 0.0)


def model(name: str, **scaling) -> Model:
    return training_model(effcalc.scale(name, **scaling).network)


SQUEEZENET = model("squeezenet-1.1")
RESNET = model("resnet-18")


def predict(of, strategy, n, setup=None, algorithm="ring", compute=None):
    lists = [n], [STRATEGIES[strategy]], [ALGORITHMS[algorithm]], [setup or Setup()], [compute]
    [prediction] = predictions(of, Cases(*lists, (LINK, LINK)))
    return prediction


# --- buckets -----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(["float32", "float64"]), st.integers(1, 400)), min_size=1),
    st.lists(st.integers(1, 1000), min_size=1, max_size=3),
)
@settings(deadline=None)
def test_buckets_are_torchs(tensors, limits):
    """torch's own assignment, over the same tensors in the same order."""
    torch = pytest.importorskip("torch")
    import torch.distributed as dist

    made = [torch.empty(n, dtype=getattr(torch, dtype)) for dtype, n in tensors]
    theirs, _ = dist._compute_bucket_assignment_by_size(made, limits)
    mine = buckets.assigned([(d, n * dtype_bytes(d)) for d, n in tensors], limits)
    assert sorted(mine) == sorted(theirs)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        # What DDP's own logging says of a real run, torch 2.14.1 (rebuilt_bucket_sizes).
        ("squeezenet-1.1", [2048000, 2893984]),
        ("resnet-50", [8196000, 31502336, 26255360, 26550272, 9724160]),
        ("efficientnet-b0", [5124000, 16030192]),
        ("alexnet", [16388000, 67125248, 26129920]),  # at half the pixels, for a smaller fc6
    ],
)
def test_rebuilt_buckets_are_those_that_ddp_logs(name, sizes):
    of = model(name, resolution=0.5 if name == "alexnet" else 1)
    assert [sum(4 * p.numel for p in b.params) for b in buckets.rebuilt(of)] == sizes


def test_the_first_bucket_holds_the_last_layer_and_is_ready_first():
    """SqueezeNet's conv10 has 512·1000 weights, 2 MB, over the first bucket's 1 MiB."""
    first, second = buckets.rebuilt(SQUEEZENET)
    assert [p.key for p in first.params] == ["conv10.conv.weight"]
    assert second.params[0].key == "conv10.conv.bias"
    assert 0 < first.ready < second.ready == pytest.approx(1)


# --- strategies --------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "mean"), [(2, 4_943_136), (4, 7_416_432), (8, 8_656_536)])
def test_ddp_of_squeezenet_sends_what_was_measured(n, mean):
    """The mean on the sockets of real ranks, headers included, in a steady step."""
    made = predict(SQUEEZENET, "ddp", n, algorithm="gloo")
    wires = [gloo.wire(made.phase_rank(made.plan.steady, r))[0] for r in range(n)]
    assert Fraction(sum(wires), n) == mean
    # 2(n − 1)/n of 1,235,496 floats is the payload.
    assert made.steady.sent == 2 * (n - 1) * 4 * 1_235_496


def test_the_constructor_of_ddp_on_rank_0_sends_log2_n_copies():
    """⌈log2 5⌉ = 3 times parameters, buffers and shapes, and 4 times 8 bytes of their number."""
    made = predict(RESNET, "ddp", 5)
    size = sum(4 * p.numel for p in RESNET.params)
    held = sum(dtype_bytes(p.dtype) * p.numel for p in RESNET.buffers)
    shapes = sum(16 * len(p.shape) for p in RESNET.params)
    sent = made.phase_rank(made.plan.phases[0], 0).sent
    assert sent == 3 * (size + held + shapes) + 4 * 8


def test_zero_sends_what_the_paper_says():
    """ZeRO, section 7: stages 1 and 2 as much as data parallel, stage 3 one and a half times."""
    sent = {s: predict(SQUEEZENET, s, 8).steady.sent for s in ("ddp", "zero-1", "zero-2", "zero-3")}
    assert sent["zero-1"] == sent["zero-2"] == sent["ddp"]
    assert sent["zero-3"] == 1.5 * sent["ddp"]
    # With two micro-batches stages 2 and 3 reduce-scatter twice, and stage 3 gathers four times.
    twice = Setup(accumulate=2)
    sent = {s: predict(SQUEEZENET, s, 8, twice).steady.sent / sent["ddp"] for s in sent}
    assert sent == {"ddp": 1, "zero-1": 1, "zero-2": 1.5, "zero-3": 3}


def test_fully_shard_pads_rows_and_gathers_again():
    """conv10 has 1000 rows of 512 and 1000 of 1: on 3 ranks 1002 rows, 4·1002·513 bytes."""
    made = predict(SQUEEZENET, "fully-shard", 3)
    sizes = {c.what: c.size for c in made.plan.steady.collectives}
    assert sizes["conv10, forward"] == sizes["conv10, gradients"] == 4 * 1002 * 513
    assert sizes["conv10, backward"] == sizes["conv10, forward"]
    kept = predict(SQUEEZENET, "fully-shard", 3, Setup(reshard=False))
    assert "conv10, backward" not in {c.what for c in kept.plan.steady.collectives}
    # A gather and a reduce-scatter are an all-reduce, of the padded rows.
    assert kept.steady.sent == pytest.approx(made.steady.sent / 1.5)


@pytest.mark.parametrize("unit", ["stage", "block", "all"])
def test_units_hold_every_parameter_once(unit):
    found = units(RESNET, unit)
    keys = [p.key for u in found for p in u.params]
    assert sorted(keys) == sorted(p.key for p in RESNET.params)
    assert sum(u.share for u in found) == pytest.approx(1)


def test_a_server_moves_what_its_workers_do():
    made = predict(SQUEEZENET, "parameter-server", 5)
    size = 4 * 1_235_496
    ranks = [made.phase_rank(made.plan.steady, r) for r in range(6)]
    assert ranks[:5] == [RankTraffic(size, size, 1, 1)] * 5
    assert ranks[5] == RankTraffic(5 * size, 5 * size, 5, 5)
    # Its link has both directions' bytes of five workers, one after the other.
    assert made.seconds == pytest.approx(10 * size / 1e9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_halves_the_bytes_and_not_the_buckets(dtype):
    full, half = predict(RESNET, "ddp", 4), predict(RESNET, "ddp", 4, Setup(dtype))
    buffers = sum(c.size for c in full.plan.steady.collectives if c.op == "broadcast")
    assert 2 * (half.steady.sent - 3 * buffers) == full.steady.sent - 3 * buffers
    assert len(half.plan.steady.collectives) == len(full.plan.steady.collectives)


@given(st.sampled_from(sorted(STRATEGIES)), st.integers(2, 9), st.sampled_from(sorted(ALGORITHMS)))
@settings(deadline=None, max_examples=40)
def test_ranks_of_a_strategy_sum_to_its_total(strategy, n, algorithm):
    made = predict(SQUEEZENET, strategy, n, Setup(batch=2), algorithm)
    ranks = [made.phase_rank(made.plan.steady, r) for r in range(n)]
    assert sum(r.sent for r in ranks) == made.steady.sent
    assert sum(r.received for r in ranks) == made.steady.received


# --- overlap -----------------------------------------------------------------------------------


def test_exposed_time_by_hand():
    """A step of 12 s. The first bucket is ready at 6 s and takes 4; the second is ready at 9 s,
    waits for the link until 10 s, takes 5, and ends 3 s after the backward pass."""
    two = (Collective("all_reduce", 1, ready=0.5), Collective("all_reduce", 1, ready=0.75))
    assert exposed(two, [4.0, 5.0], 12.0) == 3.0
    assert exposed(two, [4.0, 1.0], 12.0) == 0.0
    # A broadcast that compute waits for shifts all that follows by its 2 s.
    before = (Collective("broadcast", 1, needed=0.0), *two)
    assert exposed(before, [2.0, 4.0, 5.0], 12.0) == 5.0
    # A gather wanted half-way that is asked for at 3 s and takes 5 stalls 2 s; the next bucket
    # is ready at 9 + 2 s, and 4 s of it come after the end at 14 s... 11 + 7 = 18 s.
    gather = Collective("all_gather", 1, ready=0.25, needed=0.5)
    assert exposed((gather, two[1]), [5.0, 7.0], 12.0) == 2.0 + 4.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 9)), max_size=8), st.floats(0.1, 20))
def test_what_shows_is_at_least_what_cannot_hide_and_at_most_all(parts, compute):
    ordered = sorted(parts)
    collectives = tuple(Collective("all_reduce", 1, ready=ready) for ready, _ in ordered)
    times = [spent for _, spent in ordered]
    shown = exposed(collectives, times, compute)
    first = ordered[0][0] if ordered else 1.0
    room = (1 - first) * compute
    assert max(sum(times) - room, 0) - 1e-9 <= shown <= sum(times) + 1e-9


@pytest.mark.parametrize("strategy", ["ddp", "zero-3", "fully-shard", "parameter-server"])
def test_efficiency_is_compute_over_the_step(strategy):
    made = predict(SQUEEZENET, strategy, 8, compute=0.01)
    assert made.step.efficiency == pytest.approx(0.01 / (0.01 + made.step.exposed))
    assert 0 < made.step.exposed <= made.seconds
    # With all the time in the world only what compute must wait for shows.
    slow = predict(SQUEEZENET, strategy, 8, compute=100.0)
    assert slow.step.efficiency > 0.999


def test_compute_from_a_peak():
    """ResNet-18: 1,814,073,344 MACs, 2 FLOPs each, three passes, 4 images, half of 1 TFLOP/s."""
    chip = Device("chip", "Chip", "of the test", {"fp32": 1e12})
    assert RESNET.forward_macs() == 1_814_073_344
    seconds = 1_814_073_344 * 2 * 3 * 4 / 0.5e12
    assert compute_seconds(RESNET, chip, 0.5, "float32", 4) == pytest.approx(seconds)
    with pytest.raises(InputError, match="chip has no bf16 peak; it has: fp32"):
        compute_seconds(RESNET, chip, 0.5, "bfloat16", 4)


# --- pipeline ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "m"), [(2, 1), (2, 8), (4, 16), (5, 3)])
def test_the_bubble_is_gpipes(p, m):
    made = predict(SQUEEZENET, "pipeline", p, Setup(batch=8, micro_batches=m), compute=1.0)
    assert made.step.bubble == (p - 1) / (m + p - 1)
    # m + p − 1 rounds of the slowest stage, which has its share of p workers' images.
    share = max(s.macs for s in made.plan.stages) / SQUEEZENET.forward_macs()
    assert made.step.compute == pytest.approx((m + p - 1) * share * p / m)
    assert made.step.compute >= 1 / (1 - made.step.bubble)


def test_micro_batches_are_all_the_images():
    """3 workers of 5 images in 4 micro-batches: three of 4 and one of 3, there and back."""
    made = predict(SQUEEZENET, "pipeline", 3, Setup(batch=5, micro_batches=4))
    there = [c for c in made.plan.steady.collectives if (c.root, c.peer) == (0, 1)]
    per_image = made.plan.stages[0].cut_bytes
    assert sorted((c.size, c.repeats) for c in there) == [(3 * per_image, 1), (4 * per_image, 3)]
    both = sum(s.cut_bytes for s in made.plan.stages) * 15 * 2
    assert made.steady.sent == both


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_cuts_are_the_best_there_are(p):
    """Every way to cut a small network: none has a smaller largest stage, nor then fewer bytes."""
    small = model("squeezenet-1.1", image_size=64, classes=10)
    small = Model(
        "small",
        small.params,
        small.buffers,
        small.ready,
        small.layers[:26],
        small.macs[:26],
        small.inputs,
    )
    bytes_at = crossing(small, "float32")

    def key(ends):
        edges = [0, *ends, 26]
        most = max(sum(small.macs[a:b]) for a, b in pairwise(edges))
        return most, sum(bytes_at[e] for e in ends)

    best = min(map(key, combinations(range(1, 26), p - 1)))
    stages = cut(small, p, "float32")
    assert sum(s.layers for s in stages) == 26
    assert (max(s.macs for s in stages), sum(s.cut_bytes for s in stages[:-1])) == best


def test_what_crosses_a_cut_is_what_later_layers_read():
    """In a residual block both the block's input and the branch are alive."""
    bytes_at = crossing(RESNET, "float32")
    names = [layer.name for layer in RESNET.layers]
    at = names.index("conv2.0.conv2.conv")
    assert bytes_at[at] == 2 * 4 * 64 * 56 * 56
    assert crossing(RESNET, "float16")[at] == bytes_at[at] // 2
    assert bytes_at[-1] == 0


def test_a_stage_for_each_layer_and_no_more():
    count = len(SQUEEZENET.layers)
    assert [s.layers for s in cut(SQUEEZENET, count, "float32")] == [1] * count
    with pytest.raises(InputError, match="stages are more than the"):
        cut(SQUEEZENET, count + 1, "float32")


def test_a_tree_of_512_takes_18_steps():
    """⌈log2 512⌉ = 9 there and back, whatever the bytes."""
    tree = ALGORITHMS["tree"].cost(Collective("all_reduce", 1), Cluster(512, 512, LINK, LINK))
    assert sum(leg.steps for leg in tree.legs) == 2 * log2(512)
    root = collective_rank(
        ALGORITHMS["tree"], Collective("all_reduce", 7), Cluster(512, 512, LINK, LINK), 0
    )
    assert root == RankTraffic(63, 63, 9, 9)
