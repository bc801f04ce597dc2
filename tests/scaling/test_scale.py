"""Scaling rules, figures, breakdowns and budgets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effcalc.base.errors import InputError
from effcalc.network.archfile import load
from effcalc.network.catalog import built_in_names
from effcalc.network.liveness import activations
from effcalc.network.network import unroll
from effcalc.scaling.figures import PER, breakdown, figures
from effcalc.scaling.scale import (
    by_phi,
    by_ratios,
    nearest_variant,
    ratio,
    scale,
    scaled,
    variant_macs,
)
from effcalc.scaling.solve import STEPS, solve

NAMES = built_in_names()
RELEASED = [name for name in NAMES if load(name)[0].variants]
ratios = st.floats(0.2, 3.0)  # with 67 pixels or more, the least that AlexNet's pools leave one of


@settings(deadline=None)
@given(name=st.sampled_from(RELEASED), d=ratios, w=ratios, r=ratios)
def test_the_nearest_variant_is_the_nearest_of_all(name, d, w, r):
    # A few variants are laid down, by bisection; laying down all of them says the same.
    at = scale(name, depth=d, width=w, resolution=r)
    macs = variant_macs(at.arch)
    nearest = nearest_variant(macs, at.macs)
    assert at.nearest == (nearest, ratio(at.macs, macs[nearest]))


def test_phi_is_equation_3():
    at = scale(phi=3)
    # 1.2³ = 1.728, 1.1³ = 1.331, 1.15³ = 1.520875; 224 · 1.520875 = 340.7 → 341 pixels.
    assert at.scaling.depth == pytest.approx(1.728)
    assert at.scaling.width == pytest.approx(1.331)
    assert at.scaling.image_size == (341, 341)
    assert (at.params, at.macs) == (16_350_296, 3_250_916_456)
    assert at.flops == 2 * at.macs
    # (1.2 · 1.1² · 1.15²)³ = 1.92027³
    assert at.scaling.theory == pytest.approx(1.92027**3)
    assert at.growth == at.macs / 385_814_752
    # 4 bytes a parameter, and 2 · 7/8 of that sent by each of 8 workers.
    assert at.weight_bytes == 4 * at.params
    assert at.gradient_bytes == 4 * at.params * 7 // 4
    assert at.nearest == ("b4", at.macs / 4_393_771_024)
    assert not at.is_released


def test_phi_zero_is_the_base():
    at, base = scale(phi=0), scale()
    assert at.network == base.network
    assert at.growth == 1
    assert at.is_released
    assert at.nearest == ("b0", 1.0)


def test_negative_phi_shrinks():
    assert scale(phi=-1.5).macs < scale().macs


def test_repeats_do_not_gain_a_block_from_the_last_bit():
    # √2² is 2.0000000000000004: a stage of 3 must become 6 blocks, not 7.
    depth = math.sqrt(2) ** 2
    assert depth > 2
    assert scale(depth=depth).params == scale(depth=2.0).params


def test_released_names_are_variants():
    assert scale("efficientnet-b3").params == scale(variant="b3").params == 12_233_232
    assert scale("EfficientNet-B3").is_released


def test_buffers_are_apart():
    at = scale("resnet-18")
    # 20 batch norms over 4,800 channels: mean and variance, and one int64 counter each.
    assert at.figures.weights.buffers == 2 * 4800 + 20
    assert at.buffer_bytes == 2 * 4800 * 4 + 20 * 8
    assert at.weight_bytes == 4 * 11_689_512


def test_no_head():
    at = scale("resnet-18", head=False)
    assert at.params == 11_689_512 - 513 * 1000
    assert at.network.outputs[0].shape == (1, 512, 7, 7)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), ratios, ratios, st.integers(67, 300), st.sampled_from(sorted(PER)))
def test_rows_sum_to_the_total(name, depth, width, pixels, per):
    at = scale(name, depth=depth, width=width, image_size=pixels)
    parts = breakdown(at.network, PER[per])
    whole = figures(at.network)
    assert [sum(p.cost[i] for p in parts) for i in range(7)] == list(whole.cost)
    assert [sum(p.weights[i] for p in parts) for i in range(6)] == list(whole.weights)
    assert sum(p.activation_bytes for p in parts) == whole.activation_bytes
    assert len({p.name for p in parts}) == len(parts)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(NAMES), st.floats(0.2, 2.0), ratios, st.integers(67, 300))
def test_repeated_blocks_are_those_written_out(name, depth, width, pixels):
    knobs = {"n": 4} if name.startswith(("resnet-1001", "resnet-164")) else {}
    at = scale(name, depth=depth, width=width, image_size=pixels, knobs=knobs)
    written_out = unroll(at.network)
    assert all(call.count == 1 for call in written_out.calls)
    assert figures(written_out) == figures(at.network)
    # A real graph: every operand was made before, every value is made once.
    known = {t.id for t in written_out.inputs}
    for call in written_out.calls:
        assert {t.id for t in call.inputs} <= known
        made = {t.id for t in call.outputs}
        assert not made & known
        known |= made
    names = [call.name for call in written_out.calls]
    assert len(set(names)) == len(names)


def test_activation_memory_by_hand():
    # SqueezeNet 1.1 at 224: conv1 makes 64 · 111 · 111 floats, in-place ReLU no more; pool1 reads
    # them and makes 64 · 55 · 55 floats and as many int64 indices. With the image that is the peak.
    memory = activations(scale("squeezenet-1.1").network)
    image, conv1, pool = 3 * 224 * 224 * 4, 64 * 111 * 111 * 4, 64 * 55 * 55
    assert memory.peak == image + conv1 + pool * (4 + 8)


def test_activation_outputs_by_hand():
    # AlexNet (torchvision) at 224: five convolutions, three pools with indices, one adaptive
    # pool, three linear layers; ReLU in place, flatten and dropout views.
    floats = 64 * 55**2 + 192 * 27**2 + (384 + 256 + 256) * 13**2
    pools = 64 * 27**2 + 192 * 13**2 + 256 * 6**2
    expected = 4 * floats + 12 * pools + 4 * (256 * 36 + 4096 + 4096 + 1000)
    assert scale("alexnet-torchvision").activation_bytes == expected


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 4.0), st.floats(0.0, 4.0))
def test_cost_grows_with_phi(a, b):
    low, high = scale(phi=min(a, b)), scale(phi=max(a, b))
    assert low.macs <= high.macs
    assert low.params <= high.params


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"phi": math.nan}, "`phi` must be a finite number"),
        ({"phi": math.inf}, "`phi` must be a finite number"),
        ({"phi": 1e6}, "`phi` 1e\\+06 is too large"),
        ({"phi": -1e6}, "`phi` -1e\\+06 is too small"),
        ({"phi": 1, "alpha": 0.9}, "`alpha` must be a finite number of at least 1, not 0.9"),
        ({"phi": 1, "gamma": math.nan}, "`gamma` must be"),
        ({"depth": 0}, "`depth` must be a finite number above zero, not 0"),
        ({"width": -1}, "`width` must be"),
        ({"width": math.inf}, "`width` must be"),
        ({"resolution": -2}, "`resolution` must be"),
        ({"resolution": 1e-9}, "gives an image of 0 x 0 pixels"),
        ({"image_size": 0}, "at least 1 is needed"),
        ({"phi": 1, "depth": 2}, "one of the three"),
        ({"resolution": 1.5, "image_size": 300}, "say the same thing"),
        ({"variant": "b33"}, "did you mean 'b3'"),
        ({"phi": -44}, "`phi` -44 gives an image of 0 x 0 pixels"),
    ],
)
def test_what_cannot_be(kwargs, message):
    with pytest.raises(InputError, match=message):
        scale("efficientnet-b0", **kwargs)


def test_an_image_too_small_for_a_pool():
    with pytest.raises(InputError, match="too small"):
        scale("alexnet", image_size=30)


def test_any_size():
    at = scale(width=1000)
    # 1280 · 1000 channels into 1000 classes, with bias, are the classifier.
    assert breakdown(at.network, PER["stage"])[-1].weights.params == 1_280_000 * 1000 + 1000
    assert scale(width=1e200).params > 10**400
    assert scale(depth=1e300).params > 10**300


@pytest.mark.parametrize("name", ["efficientnet-b0", "resnet-18", "squeezenet-1.1", "mobilenet-v2"])
@pytest.mark.parametrize(
    ("figure", "factor"),
    [("macs", 2.7), ("params", 1.9), ("weight_bytes", 0.6), ("peak_activation_bytes", 1.8)],
)
def test_the_largest_that_fits(name, figure, factor):
    arch, _ = load(name)
    limit = int(getattr(scale(name), figure) * factor)
    compound, depth, width, resolution = solve(arch, {figure: limit}, (1.2, 1.1, 1.15), 8)
    height, width_px = arch.image_size
    one_more = (
        (compound, lambda v: by_phi(arch, round(v + 1 / STEPS, 3))),
        (depth, lambda v: by_ratios(arch, round(v + 1 / STEPS, 3))),
        (width, lambda v: by_ratios(arch, width=round(v + 1 / STEPS, 3))),
        (
            resolution,
            lambda v: by_ratios(
                arch, image_size=(round(v * height) + 1, round((v + 1 / height) * width_px))
            ),
        ),
    )
    assert any(fit.scaled for fit, _ in one_more)
    for fit, more in one_more:
        if fit.scaled is not None:
            assert getattr(fit.scaled, figure) <= limit
            assert getattr(scaled(arch, more(fit.value)), figure) > limit


def test_budget_of_the_paper():
    # B3's budget, 1.8 GMACs: equation 2 has a compound, a deep, a wide and a sharp answer.
    arch, _ = load("efficientnet-b0")
    fits = solve(arch, {"macs": 1_800_000_000}, (1.2, 1.1, 1.15), 8)
    assert [fit.kind for fit in fits] == [
        "compound (φ)",
        "depth only",
        "width only",
        "resolution only",
    ]
    assert all(1_700_000_000 < fit.scaled.macs <= 1_800_000_000 for fit in fits)


def test_resolution_does_not_change_parameters():
    arch, _ = load("efficientnet-b0")
    *_, resolution = solve(arch, {"params": 10_000_000}, (1.2, 1.1, 1.15), 8)
    assert resolution.unlimited
    *_, resolution = solve(arch, {"params": 5_000_000}, (1.2, 1.1, 1.15), 8)
    assert resolution.scaled is None
    assert not resolution.unlimited


def test_nothing_fits():
    arch, _ = load("efficientnet-b0")
    with pytest.raises(InputError, match="no scaling of efficientnet-b0 fits parameters of 100"):
        solve(arch, {"params": 100}, (1.2, 1.1, 1.15), 8)
