"""Small modules on which counters disagree, and a child in which one counter counts them all."""

from __future__ import annotations

import importlib

import torch
import torch.nn.functional as F
from torch import nn

from effcalc.base import process

SEQUENCE = (3, 4, 5)  # batch, steps, features


class Function(nn.Module):
    """A module whose forward is a function of it and its inputs."""

    def __init__(self, function, **children):
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.ones(1))  # calflops wants a parameter
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, *inputs):
        return self.function(self, *inputs)


class Wide(nn.Conv2d):
    """A subclass, which a lookup by exact type does not find."""


def shared():
    layer = nn.Linear(4, 4)
    return nn.Sequential(nn.Sequential(layer), nn.Sequential(layer))


def attention(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


MODULES = {
    "conv_and_linear": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)),
        [(2, 3, 8, 8)],
    ),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), [(2, 4, 5, 5)]),
    "transposed_square": (lambda: nn.ConvTranspose2d(4, 4, 3, stride=2), [(1, 4, 5, 5)]),
    "grouped_1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2), [(2, 4, 15)]),
    "conv_3d": (lambda: nn.Conv3d(2, 3, (1, 3, 2), stride=(1, 2, 3)), [(1, 2, 4, 7, 8)]),
    "tokens": (lambda: nn.Linear(8, 6), [(2, 7, 8)]),
    "subclass": (lambda: Wide(3, 4, 3), [(1, 3, 6, 6)]),
    "registered_twice": (shared, [(3, 4)]),
    "functional_linear": (
        lambda: Function(lambda m, x: F.linear(x, m.layer.weight), layer=nn.Linear(8, 6)),
        [(3, 8)],
    ),
    "functional_conv": (
        lambda: Function(lambda m, x: F.conv2d(x, m.layer.weight), layer=nn.Conv2d(3, 5, 3)),
        [(1, 3, 6, 6)],
    ),
    "operator_product": (lambda: Function(lambda m, x, y: x @ y), [(2, 3, 4), (2, 4, 5)]),
    "matmul": (lambda: Function(lambda m, x, y: torch.matmul(x, y)), [(2, 3, 4), (2, 4, 5)]),
    "mm": (lambda: Function(lambda m, x, y: torch.mm(x, y)), [(3, 4), (4, 5)]),
    "bmm": (lambda: Function(lambda m, x, y: torch.bmm(x, y)), [(2, 3, 4), (2, 4, 5)]),
    "addmm": (lambda: Function(lambda m, b, x, y: torch.addmm(b, x, y)), [(5,), (3, 4), (4, 5)]),
    "baddbmm": (
        lambda: Function(lambda m, b, x, y: torch.baddbmm(b, x, y)),
        [(2, 3, 5), (2, 3, 4), (2, 4, 5)],
    ),
    "mv": (lambda: Function(lambda m, x, y: torch.mv(x, y)), [(3, 4), (4,)]),
    "attention_by_hand": (lambda: Function(lambda m, *x: attention(*x)), [(2, 2, 6, 4)] * 3),
    "attention_fused": (
        lambda: Function(lambda m, *x: F.scaled_dot_product_attention(*x)),
        [(2, 2, 6, 4)] * 3,
    ),
    "multi_head": (
        lambda: Function(
            lambda m, x: m.heads(x, x, x, need_weights=False)[0],
            heads=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        [(2, 6, 8)],
    ),
    "multi_head_with_weights": (
        lambda: Function(
            lambda m, x: m.heads(x, x, x)[0], heads=nn.MultiheadAttention(8, 2, batch_first=True)
        ),
        [(2, 6, 8)],
    ),
    "lstm": (lambda: nn.LSTM(5, 7, 2, bidirectional=True, batch_first=True), [SEQUENCE]),
    "gru": (lambda: nn.GRU(5, 7, batch_first=True), [SEQUENCE]),
    "rnn": (lambda: nn.RNN(5, 7, bias=False, batch_first=True), [SEQUENCE]),
    "lstm_cell": (lambda: nn.LSTMCell(5, 7), [(3, 5)]),
    "gru_cell": (lambda: nn.GRUCell(5, 7), [(3, 5)]),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)]),
    "activations": (
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.ReLU6()),
            *(nn.LeakyReLU(), nn.PReLU(), nn.ELU(), nn.GELU(), nn.SiLU(), nn.Hardswish()),
            *(nn.Sigmoid(), nn.Tanh(), nn.Softmax(dim=1), nn.MaxPool2d(2), nn.AvgPool2d(2)),
            nn.AdaptiveAvgPool2d(1),
        ),
        [(2, 3, 8, 8)],
    ),
    "norms": (
        lambda: nn.Sequential(
            *(nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)),
            *(nn.InstanceNorm2d(4, affine=True), nn.LayerNorm(6), nn.BatchNorm2d(4)),
        ),
        [(2, 4, 6, 6)],
    ),
    "bilinear_upsample": (
        lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 2, 1)),
        [(2, 3, 4, 4)],
    ),
    "nearest_upsample": (
        lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 1)),
        [(2, 3, 4, 4)],
    ),
}


def made(name, device):
    """Return a module in eval mode, and its inputs."""
    torch.manual_seed(0)
    make, shapes = MODULES[name]
    return make().eval().to(device), tuple(torch.rand(shape, device=device) for shape in shapes)


def answer(request):
    """Count every module with one counter; what it raises is its answer for that module."""
    module = importlib.import_module(request["module"])
    peer = next(p for p in module.PEERS if p.name == request["peer"])
    found = {}
    for name in MODULES:
        model, inputs = made(name, "cpu" if peer.real else "meta")
        try:
            figures = peer.count(model, inputs, {})
            found[name] = [float(figures.macs), dict(figures.unassigned)]
        except Exception as error:
            found[name] = repr(error)
    return found


if __name__ == "__main__":
    process.serve(answer)
