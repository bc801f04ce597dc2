"""Small modules with multiply-accumulates and parameters worked out by hand.

Nothing here imports effcalc: other counters are run on the same modules. The arithmetic is in
the comment beside each figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Case:
    """A module, its inputs, and the right answers."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    macs: int
    params: int
    kwargs: Callable[[], dict[str, Any]] = field(default=dict)
    flops_other: int = 0
    elementwise: int | None = None
    real_macs: int | None = None  # on real CPU tensors, where another kernel computes less


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.ones(shape, dtype=dtype),)


def function(run: Callable[..., Any], **shapes: tuple[int, ...]) -> Callable[[], nn.Module]:
    """Make a module that calls `run(x..., **its parameters)`."""

    class Function(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, shape in shapes.items():
                self.register_parameter(name, nn.Parameter(torch.ones(shape)))

        def forward(self, *args: Tensor) -> Any:
            return run(*args, **{name: getattr(self, name) for name in shapes})

    return Function


class Residual(nn.Module):
    """One Linear called twice, and registered under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.first(x)) + x


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.spare = nn.Linear(100, 100)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class Listed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([torch.ones(4, 5), torch.ones(5, 2)])

    def forward(self, x: Tensor) -> Tensor:
        for w in self.weights:
            x = x @ w
        return x


class Tied(nn.Module):
    """A language model's embedding and its head share a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens))


class Subclassed(nn.Conv2d):
    """Not nn.Conv2d by exact type; standardises its weight as weight-standardised networks do."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.block, x, use_reentrant=False)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return (x @ weight) ** 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, weight = ctx.saved_tensors
        return (2 * grad * (x @ weight)) @ weight.T, None


class RunningMean(nn.Module):
    """Writes into a buffer as it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.mul_(0.9).add_(x.mean(0), alpha=0.1)
        self.steps += 1
        return self.fc(x - self.seen)


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 2)

    def forward(self, *, image: Tensor, scale: Tensor | None = None) -> dict[str, Any]:
        out = self.fc(image)
        return {"logits": out if scale is None else out * scale, "parts": (out, [image])}


class Attention(nn.Module):
    """Attention as vision transformers write it."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 36)
        self.proj = nn.Linear(12, 12)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        n, length, d = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, 3, 4).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(x.transpose(1, 2).reshape(n, length, d))


class Grouped(nn.Module):
    """8 query heads share 2 key heads."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention, on its own path for evaluation or not (it wants weights)."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=self.weights)[0]


class Cells(nn.Module):
    """An LSTM, written as a loop over an LSTMCell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[1], 5)
        for step in x:
            h, c = self.cell(step, (h, c))
        return h


class Conditional(nn.Module):
    """Its control flow depends on shapes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Linear(4, 4), nn.Linear(4, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.small(x) if x.shape[0] < 10 else self.large(x)


def first(module: nn.Module) -> nn.Module:
    """Return the first result of a module alone."""

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)[0]

    return First()


CASES = (
    # --- convolutions: outputs x weights of one output
    Case("conv1d", lambda: nn.Conv1d(2, 3, 5), ones(1, 2, 10), 3 * 6 * 2 * 5, 3 * 2 * 5 + 3),
    Case(
        "conv2d asymmetric stride",
        lambda: nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 0), bias=False),
        ones(2, 3, 9, 11),  # (9 + 2 - 3) // 2 + 1 = 5 rows, 11 - 5 + 1 = 7 columns
        2 * 8 * 5 * 7 * 3 * 15,
        8 * 3 * 15,
    ),
    Case(
        "conv2d grouped, dilated",
        lambda: nn.Conv2d(4, 6, 3, dilation=2, groups=2),
        ones(1, 4, 8, 8),  # 8 - 2·2 = 4 a side
        6 * 4 * 4 * 2 * 9,
        6 * 2 * 9 + 6,
    ),
    Case(
        "conv2d depthwise",
        lambda: nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False),
        ones(1, 16, 7, 7),
        16 * 49 * 9,
        16 * 9,
    ),
    Case("conv3d", lambda: nn.Conv3d(1, 2, 2), ones(1, 1, 3, 3, 3), 2 * 8 * 8, 2 * 8 + 2),
    Case(
        "conv transposed",  # by input positions: each meets its group's whole kernel
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1),
        ones(1, 4, 5, 5),
        4 * 25 * 3 * 9,
        4 * 3 * 9 + 6,
    ),
    Case(
        "conv functional",
        function(lambda x, w: F.conv2d(x, w, padding="same"), w=(2, 3, 3, 3)),
        ones(1, 3, 4, 4),
        2 * 16 * 27,
        54,
    ),
    Case("conv subclass", lambda: Subclassed(3, 4, 3), ones(1, 3, 5, 5), 4 * 9 * 27, 108 + 4),
    # --- linear layers and matrix products: outputs x inner size
    Case("linear", lambda: nn.Linear(7, 5), ones(2, 7), 2 * 7 * 5, 40),
    Case("linear over tokens", lambda: nn.Linear(7, 5), ones(2, 197, 7), 2 * 197 * 7 * 5, 40),
    Case(
        "linear functional",
        function(lambda x, w: F.linear(x, w), w=(5, 7)),
        ones(3, 2, 7),
        6 * 7 * 5,
        35,
    ),
    Case(
        "linear in bf16",
        lambda: nn.Linear(7, 5, dtype=torch.bfloat16),
        ones(2, 7, dtype=torch.bfloat16),
        70,
        40,
    ),
    Case("matmul batched", function(lambda x: x @ x.mT), ones(3, 4, 5), 3 * 4 * 4 * 5, 0),
    Case("matmul of vectors", function(lambda x: x @ x), ones(9), 9, 0),
    Case("matrix by vector", function(lambda x, v: x @ v, v=(6,)), ones(4, 6), 24, 6),
    Case(
        "addmm, addmv, baddbmm, addbmm",
        function(
            lambda a, m, v: (
                torch.addmm(m, m, m),  # 4·4·4 = 64
                torch.addmv(v, m, v),  # 4·4 = 16
                torch.baddbmm(a, a, a),  # 2·4·4·4 = 128
                torch.addbmm(m, a, a),  # 128, summed over the batch
            ),
            m=(4, 4),
            v=(4,),
        ),
        ones(2, 4, 4),
        64 + 16 + 128 + 128,
        20,
    ),
    Case(
        "dot, outer, addr",
        function(lambda v: (torch.dot(v, v), torch.outer(v, v), torch.addr(v, v, v))),
        ones(5),
        5 + 25 + 25,
        0,
    ),
    Case(
        "einsum",  # b 2, i 3, j 4, k 5: every letter once
        function(lambda x, w: torch.einsum("bij,jk->bik", x, w), w=(4, 5)),
        ones(2, 3, 4),
        2 * 3 * 4 * 5,
        20,
    ),
    Case("cdist", function(lambda x: torch.cdist(x, x)), ones(2, 6, 3), 2 * 6 * 6 * 3, 0),
    Case("bilinear", lambda: function_of_two(nn.Bilinear(3, 4, 5)), ones(2, 3), 2 * 5 * 3 * 4, 65),
    Case("parameter list", Listed, ones(3, 4), 3 * 4 * 5 + 3 * 5 * 2, 30),
    # --- which module, how often
    Case("called twice, registered twice", Residual, ones(2, 6), 2 * 2 * 36, 42),
    Case(
        "registered at two places",  # two calls of 3·4·4
        lambda: (lambda fc: nn.Sequential(nn.Sequential(fc), nn.Sequential(fc)))(nn.Linear(4, 4)),
        ones(3, 4),
        2 * 48,
        20,
    ),
    Case("unused module", Unused, ones(1, 4), 12, 15 + 10_100),
    Case("tied weights", Tied, ones(2, 7, dtype=torch.int64), 2 * 7 * 8 * 50, 400),
    Case("branch by shape", Conditional, ones(3, 4), 3 * 16, 20 + 4 * 64 + 64),
    Case("in-place buffer", RunningMean, ones(5, 3), 5 * 9, 12),
    Case(
        "keyword inputs",
        Keywords,
        tuple,
        3 * 5 * 2,
        12,
        kwargs=lambda: {"image": torch.ones(3, 5), "scale": torch.ones(2)},
    ),
    Case("checkpointing", Checkpointed, ones(3, 4), 3 * 4 * 16 * 2, 4 * 16 * 2 + 20),
    Case(
        "custom autograd function",
        function(lambda x, w: Square.apply(x, w), w=(4, 3)),
        ones(2, 4),
        24,
        12,
    ),
    # --- attention: 2 products of L·L·D, and projections of D·D for each token
    Case("attention", Attention, ones(2, 6, 12), 2 * (6 * 12 * 48 + 2 * 36 * 12), 36 * 13 + 156),
    Case(
        "attention, causal",  # the math backend computes all pairs; under 512 keys CPU's too
        lambda: Attention(causal=True),
        ones(2, 6, 12),
        2 * (6 * 12 * 48 + 2 * 36 * 12),
        36 * 13 + 156,
    ),
    Case(
        "attention, causal, long",
        # CPU's kernel: blocks of 256 queries (from 768 on) see whole blocks of 512 keys: of 1024
        # queries the first 512 see 512 keys, the rest 1024.
        lambda: Attention(causal=True),
        ones(1, 1024, 12),
        1024 * 12 * 48 + 2 * 1024 * 1024 * 12,
        36 * 13 + 156,
        real_macs=1024 * 12 * 48 + 2 * (512 * 512 + 512 * 1024) * 12,
    ),
    Case(
        "attention, grouped queries",
        Grouped,  # N 1, 8 heads, 5 queries, 7 keys, 4 features
        lambda: (torch.ones(1, 8, 5, 4), torch.ones(1, 2, 7, 4), torch.ones(1, 2, 7, 4)),
        2 * 8 * 5 * 7 * 4,
        0,
    ),
    Case(
        "nn.MultiheadAttention",
        lambda: SelfAttention(weights=False),
        ones(2, 5, 8),
        2 * (5 * 4 * 64 + 2 * 25 * 8),
        4 * 72,
    ),
    Case(
        "nn.MultiheadAttention with weights",
        lambda: SelfAttention(weights=True),
        ones(2, 5, 8),
        2 * (5 * 4 * 64 + 2 * 25 * 8),
        4 * 72,
    ),
    Case(
        "nn.TransformerEncoderLayer",
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        ones(2, 5, 8),
        2 * (5 * (4 * 64 + 2 * 128) + 2 * 25 * 8),
        4 * 72 + (8 * 16 + 16) + (16 * 8 + 8) + 2 * 16,
    ),
    # --- recurrent: steps x weight matrices
    Case(
        "LSTM",  # two layers, both ways: 4h·(in + h); the second layer reads 2h = 10
        lambda: first(nn.LSTM(3, 5, 2, bidirectional=True)),
        ones(5, 2, 3),
        5 * 2 * (2 * 20 * (3 + 5) + 2 * 20 * (10 + 5)),
        2 * (20 * 8 + 40) + 2 * (20 * 15 + 40),
        elementwise=5 * 2 * 4 * 13 * 5,  # 4 cells with 13 results a unit
    ),
    Case(
        "GRU",
        lambda: first(nn.GRU(3, 4, batch_first=True)),
        ones(2, 5, 3),
        10 * 12 * (3 + 4),
        12 * 7 + 24,
        elementwise=10 * 10 * 4,
    ),
    Case(
        "RNN",
        lambda: first(nn.RNN(3, 4)),
        ones(5, 2, 3),
        10 * 4 * (3 + 4),
        4 * 7 + 8,
        elementwise=10 * 2 * 4,
    ),
    Case("LSTMCell in a loop", Cells, ones(5, 2, 3), 10 * 20 * (3 + 5), 20 * 8 + 40),
    # --- no product at all
    Case(
        "embedding bag",
        lambda: nn.EmbeddingBag(10, 4),
        ones(2, 3, dtype=torch.int64),
        0,
        40,
        elementwise=8,
    ),
    Case("batch norm", lambda: nn.BatchNorm2d(3), ones(2, 3, 4, 4), 0, 6, elementwise=96),
    Case(
        "upsample, pool, softmax",
        lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(4), nn.Softmax(-1)),
        ones(1, 1, 4, 4),
        0,
        0,
        elementwise=64 + 4 + 4,
    ),
    Case(
        "FFT",  # 3 transforms of 16 real numbers: 2.5 · 16 · 4 each; 3 of 16 complex: 5 · 16 · 4
        function(lambda x: (torch.fft.rfft(x), torch.fft.fft(torch.complex(x, x)))),
        ones(3, 16),
        0,
        0,
        flops_other=3 * 160 + 3 * 320,
    ),
    Case(
        "FFT over two axes, and back",  # N = 4·8 = 32, real: 2.5 · 32 · 5 each way, 2 images
        function(lambda x: torch.fft.irfft2(torch.fft.rfft2(x))),
        ones(2, 4, 8),
        0,
        0,
        flops_other=2 * round(2 * 2.5 * 32 * math.log2(32)),
    ),
)


def function_of_two(module: nn.Module) -> nn.Module:
    """Call a module of two inputs, the second made from the first."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, x.new_ones(x.shape[0], 4))

    return Two()
