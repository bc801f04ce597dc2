"""Independent references: models of torchvision and timm, counted by torch's own counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from effcalc.network.network import Network


def on_meta(make: Callable[[], nn.Module], image_size: tuple[int, int]) -> tuple[nn.Module, int]:
    """Build a model on the meta device and return it with its conv and linear MACs."""
    with torch.device("meta"):
        model = make().eval()
        image = torch.empty(1, 3, *image_size)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(image)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return model, flops // 2  # torch counts 2 FLOPs for a multiply-accumulate


def params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def shapes(model: nn.Module) -> Counter[tuple[int, ...]]:
    return Counter(tuple(p.shape) for p in model.parameters())


def network_shapes(network: Network) -> Counter[tuple[int, ...]]:
    counted: Counter[tuple[int, ...]] = Counter()
    for layer in network.calls:
        for p in layer.params:
            if not p.buffer:
                counted[p.shape] += layer.count
    return counted


def buffer_shapes(model: nn.Module) -> Counter[tuple[int, ...]]:
    return Counter(tuple(b.shape) for b in model.buffers())
