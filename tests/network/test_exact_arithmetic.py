"""Networks that torchvision does not have, against timm and against arithmetic written out."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import timm

from effcalc.base.errors import InputError
from effcalc.scaling.figures import breakdown, by_layer
from effcalc.scaling.scale import scale
from tests.torch_reference import network_shapes, on_meta, params, shapes


@pytest.mark.parametrize(
    ("name", "timm_name"), [("mobilenet-v1", "mobilenetv1_100"), ("mnasnet-a1", "semnasnet_100")]
)
@pytest.mark.parametrize("pixels", [224, 160])
def test_against_timm(name, timm_name, pixels):
    model, macs = on_meta(lambda: timm.create_model(timm_name), (pixels, pixels))
    at = scale(name, image_size=pixels)
    assert (at.params, at.macs) == (params(model), macs)
    assert network_shapes(at.network) == shapes(model)


@pytest.mark.parametrize(("width", "timm_name"), [(1.25, "mobilenetv1_125")])
def test_mobilenet_v1_width_against_timm(width, timm_name):
    model, macs = on_meta(lambda: timm.create_model(timm_name), (224, 224))
    at = scale("mobilenet-v1", width=width)
    assert (at.params, at.macs) == (params(model), macs)


def conv(out, inp, kernel, groups=1, bias=True):
    return out * (inp // groups) * kernel * kernel + (out if bias else 0)


def test_original_alexnet():
    # Krizhevsky 2012: conv2, conv4 and conv5 are split over two GPUs, so they see half the maps.
    expected = (
        conv(96, 3, 11)  # 34,944
        + conv(256, 96, 5, groups=2)  # 307,456
        + conv(384, 256, 3)  # 885,120
        + conv(384, 384, 3, groups=2)  # 663,936
        + conv(256, 384, 3, groups=2)  # 442,624
        + (256 * 6 * 6 + 1) * 4096  # 37,752,832
        + (4096 + 1) * 4096  # 16,781,312
        + (4096 + 1) * 1000  # 4,097,000
    )
    at = scale("alexnet")
    assert at.params == expected == 60_965_224
    # 227 px: (227 - 11) / 4 + 1 = 55, pooled to 27 and 13.
    assert at.macs == (
        55 * 55 * 96 * 3 * 121
        + 27 * 27 * 256 * 48 * 25
        + 13 * 13 * (384 * 256 + 384 * 192 + 256 * 192) * 9
        + 9216 * 4096
        + 4096 * 4096
        + 4096 * 1000
    )


def test_alexnet_linear_layer_follows_the_image():
    # 259 px: 63, 31, 15 and 7 pixels: the first linear layer has 256 · 7 · 7 inputs.
    grown = scale("alexnet", image_size=259)
    assert grown.params - scale("alexnet").params == 256 * (49 - 36) * 4096


def resnet_1001(units: int, classes: int) -> int:
    total = 16 * 3 * 9  # stem, no bias
    width_in = 16
    for width in (16, 32, 64):
        out = 4 * width
        for unit in range(units):
            first = width_in if unit == 0 else out
            norms = 2 * (first + width + width)  # scale and shift
            convs = first * width + width * width * 9 + width * out
            projection = first * out if unit == 0 else 0
            total += norms + convs + projection
        width_in = out
    return total + 2 * 256 + 256 * classes + classes  # last norm, classifier


def test_resnet_1001():
    assert scale("resnet-1001").params == resnet_1001(111, 10) == 10_327_706
    assert scale("resnet-1001", classes=100).params == resnet_1001(111, 100) == 10_350_836
    assert scale("resnet-164").params == resnet_1001(18, 10) == 1_703_258
    assert scale("resnet-1001", knobs={"n": 5}).params == resnet_1001(5, 10)


def squeezenet(
    *, first=(96, 7), base_e=128, incr_e=128, pct=0.5, freq=2, sr=0.125, bypass="none"
) -> int:
    """Iandola et al. 2016, section 5.1: e_i = base_e + incr_e · ⌊i / freq⌋, s = SR · e_i."""
    channels, kernel = first
    total, inp = conv(channels, 3, kernel), channels
    for i in range(8):
        e = base_e + incr_e * (i // freq)
        three, s = int(e * pct + 0.5), int(e * sr + 0.5)
        one = e - three
        total += conv(s, inp, 1) + conv(one, s, 1) + conv(three, s, 3)
        if bypass == "complex" and inp != e:
            total += conv(e, inp, 1)
        inp = e
    return total + conv(1000, inp, 1)


@pytest.mark.parametrize("sr", [0.125, 0.25, 0.5, 0.75, 1.0])
def test_squeeze_ratio_sweep(sr):
    assert scale("squeezenet-1.0", knobs={"sr": sr}).params == squeezenet(sr=sr)


@pytest.mark.parametrize("pct", [0.01, 0.125, 0.25, 0.5, 0.75, 0.99])
def test_share_of_3x3_filters_sweep(pct):
    at = scale("squeezenet-1.0", knobs={"pct_3x3": pct, "sr": 0.5})
    assert at.params == squeezenet(pct=pct, sr=0.5)


@pytest.mark.parametrize(("freq", "incr_e", "base_e"), [(1, 64, 128), (3, 128, 64), (8, 0, 256)])
def test_other_metaparameters(freq, incr_e, base_e):
    knobs = {"freq": freq, "incr_e": incr_e, "base_e": base_e}
    at = scale("squeezenet-1.0", knobs=knobs)
    assert at.params == squeezenet(freq=freq, incr_e=incr_e, base_e=base_e)


def test_squeezenet_sizes_as_the_paper_prints_them():
    # "4.8 MB" is 4.76 MiB: the paper's MB are 2^20 bytes.
    assert scale("squeezenet-1.0").weight_bytes == 4 * 1_248_424
    assert round(scale("squeezenet-1.0").weight_bytes / 2**20, 1) == 4.8


def test_simple_bypass_adds_sums_and_no_parameters():
    plain, simple = scale("squeezenet-1.0"), scale("squeezenet-1.0-simple-bypass")
    assert (plain.params, plain.macs) == (simple.params, simple.macs)
    sums = [call for call in simple.network.calls if call.op == "add"]
    # Around fire3, 5, 7 and 9: the modules whose input is as wide as their output.
    assert sum(call.count for call in sums) == 4
    # 54 · 54 · 128 + 27 · 27 · 256 + 27 · 27 · 384 + 13 · 13 · 512 = 926,336 results more.
    more = simple.figures.cost.elementwise - plain.figures.cost.elementwise
    assert more == 54 * 54 * 128 + 27 * 27 * (256 + 384) + 13 * 13 * 512


def test_complex_bypass():
    at = scale("squeezenet-1.0-complex-bypass")
    assert at.params == squeezenet(bypass="complex")
    assert at.params == scale("squeezenet-1.0", knobs={"bypass": "complex"}).params
    # fire2 96→128, fire4 128→256, fire6 256→384, fire8 384→512, each with bias.
    convs = 96 * 128 + 128 * 256 + 256 * 384 + 384 * 512 + 128 + 256 + 384 + 512
    assert at.params == 1_248_424 + convs


def test_all_or_none_of_the_filters_3x3():
    only = scale("squeezenet-1.0", knobs={"pct_3x3": 1.0})
    assert not any("expand1x1" in call.name or call.op == "cat" for call in only.network.calls)
    none = scale("squeezenet-1.0", knobs={"pct_3x3": 0})
    assert not any("expand3x3" in call.name for call in none.network.calls)


def test_width_keeps_groups_whole():
    # 0.3 · 256 = 76.8 → 80, of which each of conv2's two groups has 40.
    at = scale("alexnet", width=0.3)
    weight = next(call for call in at.network.calls if call.name == "conv2.conv").params[0]
    assert weight.shape == (80, 32 // 2, 5, 5)


def test_deep_compound_scaling_is_exact():
    at = scale("efficientnet-b0", phi=60)
    # In rational arithmetic: 224 · 1.15^60 = 982,016.0… pixels, 32 · 1.1^60 = 9,743.4… channels.
    side = round(224 * Fraction(115, 100) ** 60)
    channels = round(32 * Fraction(11, 10) ** 60 / 8) * 8
    assert at.scaling.image_size == (side, side) == (982_016, 982_016)
    stem = at.network.calls[0]
    assert stem.outputs[0].shape == (1, channels, side // 2, side // 2)
    assert by_layer_macs(at)["stem.conv"] == channels * (side // 2) ** 2 * 27
    # The last stage has one block and so repeats ceil(1.2^60) times.
    last = [call for call in at.network.calls if call.name == "stage8.1.add"]
    assert [call.count for call in last] == [math.ceil(Fraction(12, 10) ** 60) - 1]
    assert isinstance(at.macs, int)


def by_layer_macs(at):
    return {part.name: part.cost.macs for part in breakdown(at.network, by_layer)}


def test_unknown_knob_is_named():
    with pytest.raises(InputError, match="no knob is named 'sq'"):
        scale("squeezenet-1.0", knobs={"sq": 1})
