"""Parameters, their shapes, and MACs equal torchvision's models to the last digit.

The reference is torchvision's own code, run on the meta device under torch's FlopCounterMode.
"""

from __future__ import annotations

import math
import random

import pytest
from torchvision import models
from torchvision.models.efficientnet import EfficientNet, _efficientnet_conf
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from effcalc.scaling.scale import scale
from tests.torch_reference import network_shapes, on_meta, params, shapes


def check(at, model, macs):
    assert at.params == params(model)
    assert at.macs == macs
    assert network_shapes(at.network) == shapes(model)


@pytest.mark.parametrize("variant", [f"b{i}" for i in range(8)])
def test_efficientnet_released(variant):
    at = scale("efficientnet-b0", variant=variant)
    model, macs = on_meta(getattr(models, f"efficientnet_{variant}"), at.scaling.image_size)
    check(at, model, macs)


def _round8(channels: float) -> int:
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _random_scalings(seed: int, count: int):
    rng = random.Random(seed)
    for _ in range(count):
        d, w = rng.uniform(0.1, 3.0), rng.uniform(0.1, 2.5)
        yield round(d, 3), round(w, 3), rng.randint(32, 320)


@pytest.mark.parametrize(("depth", "width", "pixels"), list(_random_scalings(1, 50)))
def test_efficientnet_at_random_scalings(depth, width, pixels):
    setting, _ = _efficientnet_conf("efficientnet_b0", width_mult=width, depth_mult=depth)

    def make():
        # torchvision's own default head is 4 · round8(320 · w), not the authors' round8(1280 · w).
        return EfficientNet(setting, dropout=0.2, last_channel=_round8(1280 * width))

    model, macs = on_meta(make, (pixels, pixels))
    check(scale("efficientnet-b0", depth=depth, width=width, image_size=pixels), model, macs)


def test_efficientnet_on_a_rectangular_image():
    model, macs = on_meta(models.efficientnet_b0, (200, 333))
    check(scale("efficientnet-b0", image_size=(200, 333)), model, macs)


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 2.0])
def test_mobilenet_v2_with_width_multiplier(width):
    model, macs = on_meta(lambda: models.mobilenet_v2(width_mult=width), (224, 224))
    check(scale("mobilenet-v2", width=width), model, macs)


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.3, 1.7])
def test_mnasnet_b1_with_width_multiplier(width):
    model, macs = on_meta(lambda: models.MNASNet(width), (224, 224))
    check(scale("mnasnet-b1", width=width), model, macs)


_RESNETS = {
    "resnet-18": (BasicBlock, (2, 2, 2, 2)),
    "resnet-34": (BasicBlock, (3, 4, 6, 3)),
    "resnet-50": (Bottleneck, (3, 4, 6, 3)),
    "resnet-101": (Bottleneck, (3, 4, 23, 3)),
    "resnet-152": (Bottleneck, (3, 8, 36, 3)),
}


@pytest.mark.parametrize("name", _RESNETS)
@pytest.mark.parametrize("depth", [1.0, 0.37, 1.83])
def test_resnet_at_depths(name, depth):
    block, repeats = _RESNETS[name]
    calls = [math.ceil(n * depth) for n in repeats]
    model, macs = on_meta(lambda: ResNet(block, calls), (224, 224))
    check(scale(name, depth=depth), model, macs)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("squeezenet-1.0", models.squeezenet1_0),
        ("squeezenet-1.1", models.squeezenet1_1),
        ("alexnet-torchvision", models.alexnet),
    ],
)
@pytest.mark.parametrize("pixels", [224, 97, 256])
def test_one_size_networks(name, make, pixels):
    model, macs = on_meta(make, (pixels, pixels))
    check(scale(name, image_size=pixels), model, macs)


@pytest.mark.parametrize("classes", [10, 21843])
def test_classes_and_input_channels(classes):
    model, macs = on_meta(lambda: models.squeezenet1_1(num_classes=classes), (224, 224))
    check(scale("squeezenet-1.1", classes=classes), model, macs)
    at = scale("squeezenet-1.1", classes=classes, in_channels=1)
    # The first convolution is 64 filters of 3x3: 2 input channels fewer are 2 · 9 · 64 weights.
    assert at.params == params(model) - 2 * 9 * 64
