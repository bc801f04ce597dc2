"""Convolutions, matrix products, pools, norms, attention and recurrent layers of ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from effcalc.models.onnxrun.node import Call, Maker, Node, Unsupported

Tensor = torch.Tensor


_AVG_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def _auto_pad(node: Node) -> str:
    node.refuse("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    return str(node.attr("auto_pad", "NOTSET"))


def _begins_ends(node: Node, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial dimension of a convolution or a pool."""
    rank = len(kernel)
    auto, pads = _auto_pad(node), list(node.attr("pads", [0] * 2 * rank))
    if auto in ("NOTSET", "VALID"):
        pads = pads if auto == "NOTSET" else [0] * 2 * rank
        return pads[:rank], pads[rank:]
    strides, dilations = node.attr("strides", [1] * rank), node.attr("dilations", [1] * rank)
    before, after = [], []
    for side, k, s, d in zip(node.shape(0)[2:], kernel, strides, dilations, strict=True):
        total = max((math.ceil(side / s) - 1) * s + d * (k - 1) + 1 - side, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before, after


def _pools_pad_so(before: list[int], after: list[int], kernel: Sequence[int]) -> bool:
    """Whether torch's pools pad by themselves: alike on both sides, half a window at most."""
    return before == after and all(2 * p <= k for p, k in zip(before, kernel, strict=True))


def _padder(before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Call:
    """Return what pads the last dimensions."""
    flat = [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair]
    return lambda x: functional.pad(x, flat, value=value)


def _conv(node: Node) -> Call:
    kernel = node.shape(1)[2:]
    rank = len(kernel)
    conv: Call = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    before, after = _begins_ends(node, kernel)
    strides, dilations = node.attr("strides", [1] * rank), node.attr("dilations", [1] * rank)
    groups = node.attr("group", 1)
    if before == after:
        return lambda x, w, b=None: conv(x, w, b, strides, before, dilations, groups)
    pad = _padder(before, after)
    return lambda x, w, b=None: conv(pad(x), w, b, strides, 0, dilations, groups)


def _conv_transpose(node: Node) -> Call:
    kernel = node.shape(1)[2:]
    rank = len(kernel)
    conv: Call = (
        functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d
    )[rank - 1]  # fmt: skip
    strides, dilations = node.attr("strides", [1] * rank), node.attr("dilations", [1] * rank)
    extra, groups = list(node.attr("output_padding", [0] * rank)), node.attr("group", 1)
    pads = list(node.attr("pads", [0] * 2 * rank))
    auto = _auto_pad(node)
    wanted = node.attr("output_shape")
    if wanted is not None or auto.startswith("SAME"):
        for i in range(rank):
            side, full = node.shape(0)[2 + i], dilations[i] * (kernel[i] - 1) + 1 + extra[i]
            target = wanted[i] if wanted is not None else side * strides[i]
            total = strides[i] * (side - 1) + full - target
            small = max(total, 0) // 2
            first = small if auto == "SAME_UPPER" else max(total, 0) - small
            pads[i], pads[rank + i] = first, total - first
    before, after = pads[:rank], pads[rank:]
    if before == after and min(before) >= 0:
        return lambda x, w, b=None: conv(x, w, b, strides, before, extra, groups, dilations)
    crop = _padder([-p for p in before], [-p for p in after])
    return lambda x, w, b=None: crop(conv(x, w, b, strides, 0, extra, groups, dilations))


def _max_pool(node: Node) -> Call:
    if node.used > 1:
        raise Unsupported("indices of a MaxPool are not supported")
    kernel = node.attr("kernel_shape")
    rank = len(kernel)
    pool: Call = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    before, after = _begins_ends(node, kernel)
    strides, dilations = node.attr("strides", [1] * rank), node.attr("dilations", [1] * rank)
    ceil = bool(node.attr("ceil_mode", 0))
    if _pools_pad_so(before, after, kernel):
        return lambda x: pool(x, kernel, strides, before, dilations, ceil)
    node.refuse("ceil_mode", 0)  # a window may not begin in the padding, which is made here
    floating = node.dtype(0).is_floating_point
    pad = _padder(before, after, -math.inf if floating else torch.iinfo(node.dtype(0)).min)
    return lambda x: pool(pad(x), kernel, strides, 0, dilations, ceil)


def _avg_pool(node: Node) -> Call:
    kernel = node.attr("kernel_shape")
    rank = len(kernel)
    node.refuse("dilations", [1] * rank)
    pool: Call = _AVG_POOLS[rank - 1]
    before, after = _begins_ends(node, kernel)
    strides, ceil = node.attr("strides", [1] * rank), bool(node.attr("ceil_mode", 0))
    counts_pad = bool(node.attr("count_include_pad", 0))
    if _pools_pad_so(before, after, kernel):
        return lambda x: pool(x, kernel, strides, before, ceil, counts_pad)
    node.refuse("ceil_mode", 0)
    pad = _padder(before, after)
    if counts_pad:
        return lambda x: pool(pad(x), kernel, strides, 0, ceil)

    def call(x: Tensor) -> Tensor:
        there = pool(pad(torch.ones_like(x)), kernel, strides, 0, ceil)
        return pool(pad(x), kernel, strides, 0, ceil) / there  # type: ignore[no-any-return]

    return call


def _over_space(call: Call) -> Maker:
    def make(node: Node) -> Call:
        space = list(range(2, node.rank))
        return (lambda x: call(x, space, True)) if space else lambda x: x

    return make


def _lp_pool(node: Node) -> Call:
    kernel = node.attr("kernel_shape")
    rank, order = len(kernel), node.attr("p", 2)
    node.refuse("dilations", [1] * rank)
    before, after = _begins_ends(node, kernel)
    node.refuse("ceil_mode", 0)
    strides = node.attr("strides", [1] * rank)
    pool: Call = _AVG_POOLS[rank - 1]
    pad = _padder(before, after)
    size = math.prod(kernel)
    return lambda x: (pool(pad(x.abs() ** order), kernel, strides, 0) * size) ** (1 / order)


def _gemm(node: Node) -> Call:
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    ta, tb = bool(node.attr("transA", 0)), bool(node.attr("transB", 0))
    bias_is_row = not node.has(2) or len(node.shape(2)) == 1
    if (alpha, beta, ta, tb) == (1, 1, False, True) and bias_is_row:
        return functional.linear

    def call(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, b = a.T if ta else a, b.T if tb else b
        if c is None:
            return alpha * (a @ b) if alpha != 1 else a @ b
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return call


def _batch_norm(node: Node) -> Call:
    node.refuse("training_mode", 0)
    node.refuse("spatial", 1)
    if node.opset < 7:
        node.refuse("is_test", 0, 1)
        if not node.attr("is_test", 0):
            raise Unsupported("it trains: is_test is not 1")
    eps = node.attr("epsilon", 1e-5)
    return lambda x, scale, bias, mean, var: functional.batch_norm(
        x, mean, var, scale, bias, False, 0.0, eps
    )


def _layer_norm(node: Node) -> Call:
    shape, eps = list(node.shape(0)[node.axis(-1) :]), node.attr("epsilon", 1e-5)
    if node.used > 1:
        return lambda x, w, b=None: torch.native_layer_norm(x, shape, w, b, eps)
    return lambda x, w, b=None: functional.layer_norm(x, shape, w, b, eps)


def _rms_norm(node: Node) -> Call:
    shape, eps = list(node.shape(0)[node.axis(-1) :]), node.attr("epsilon", 1e-5)
    return lambda x, w: functional.rms_norm(x, shape, w, eps)


def _group_norm(node: Node) -> Call:
    groups, eps = node.attr("num_groups"), node.attr("epsilon", 1e-5)
    each = node.shape(0)[1] // node.shape(1)[0]  # before opset 21 one weight a group
    if each == 1:
        return lambda x, w, b: functional.group_norm(x, groups, w, b, eps)
    return lambda x, w, b: functional.group_norm(
        x, groups, w.repeat_interleave(each), b.repeat_interleave(each), eps
    )


def _instance_norm(node: Node) -> Call:
    eps = node.attr("epsilon", 1e-5)
    return lambda x, w, b: functional.instance_norm(x, None, None, w, b, eps=eps)


def _local_response_norm(node: Node) -> Call:
    size, alpha = node.attr("size"), node.attr("alpha", 1e-4)
    if size % 2 == 0:
        raise Unsupported(f"size={size}: torch pads an even window on its other side")
    beta, bias = node.attr("beta", 0.75), node.attr("bias", 1.0)
    return lambda x: functional.local_response_norm(x, size, alpha, beta, bias)


def _lp_norm(node: Node) -> Call:
    axis, order = node.axis(-1), node.attr("p", 2)
    return lambda x: functional.normalize(x, order, axis)


def _mean_variance_norm(node: Node) -> Call:
    axes = list(node.attr("axes", [0, 2, 3]))

    def call(x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (x - mean) / (var.sqrt() + 1e-9)

    return call


def _einsum(node: Node) -> Call:
    equation = node.attr("equation")
    return lambda *x: torch.einsum(equation, *x)


def _attention(node: Node) -> Call:
    if node.rank != 4 or node.used > 1 or len(node.inputs) > 4:
        raise Unsupported("Attention over packed heads, or with a cache, is not supported")
    node.refuse("softcap", 0.0)
    causal, scale = bool(node.attr("is_causal", 0)), node.attr("scale")
    shared = node.shape(0)[1] != node.shape(1)[1]
    if causal and (node.has(3) or node.shape(0)[2] != node.shape(1)[2]):
        raise Unsupported("causal Attention with a mask or another length is not supported")
    return lambda q, k, v, mask=None: functional.scaled_dot_product_attention(
        q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=shared
    )


def _grid_sample(node: Node) -> Call:
    if node.rank != 4:
        raise Unsupported(f"GridSample of {node.rank} dimensions is not supported")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(
        node.attr("mode", "linear"), node.attr("mode", "linear")
    )
    padding, corners = node.attr("padding_mode", "zeros"), bool(node.attr("align_corners", 0))
    return lambda x, grid: functional.grid_sample(x, grid, mode, padding, corners)


# ONNX orders the gates of an LSTM i, o, f, c and those of a GRU z, r, h; torch i, f, c, o and
# r, z, n.
_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_RUN: dict[str, Any] = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN": torch.rnn_tanh}


def _recurrent(node: Node) -> Call:
    """X (T, N, I), W (directions, gates·h, I), R and B likewise, as torch's fused layer."""
    kind, size = node.op, node.attr("hidden_size")
    node.refuse("layout", 0)
    node.refuse("input_forget", 0)
    node.refuse("direction", "forward", "bidirectional")
    directions = node.shape(1)[0]
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
    node.refuse("activations", usual[kind] * directions)
    if kind == "GRU" and not node.attr("linear_before_reset", 0):
        raise Unsupported("a GRU that resets before its product is not torch's")
    if node.has(4) or node.has(7) or node.attr("clip") is not None:
        raise Unsupported("sequence lengths, peepholes and clipping are not supported")
    order = _GATES[kind]

    def arranged(t: Tensor) -> Tensor:  # (directions, gates·h, …), the gates as torch has them
        return torch.cat([t.narrow(1, g * size, size) for g in order], 1)

    def halves(t: Tensor) -> Tensor:  # (directions, 2·gates·h): of the input, of the state
        return torch.cat([arranged(half) for half in t.chunk(2, 1)], 1)

    # Weights of the file are put in torch's order once, others at each run.
    orders = {1: arranged, 2: arranged, 3: halves}
    given = [i for i in (1, 2, 3, 5, 6) if node.has(i)]
    for i in (1, 2, 3):
        if node.has(i) and node.inputs[i] in node.known:
            node.laid_out[i] = orders.pop(i)(node.known[node.inputs[i]])

    def call(x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        found = dict(zip(given, more, strict=True))
        w, r, *b = (orders[i](found[i]) if i in orders else found[i] for i in given if i < 4)
        flat: list[Tensor] = []
        for d in range(directions):
            flat += [w[d], r[d], *(half for biases in b for half in biases[d].chunk(2))]
        zeros = x.new_zeros(directions, x.shape[1], size)
        h = found.get(5, zeros)
        start = (h, found.get(6, zeros)) if kind == "LSTM" else h
        training = torch.is_grad_enabled()  # or cuDNN keeps nothing for the backward pass
        y, *states = _RUN[kind](x, start, flat, bool(b), 1, 0.0, training, directions == 2, False)
        return (y.unflatten(-1, (-1, size)).transpose(1, 2), *states)

    return call


LAYERS: dict[str, Maker] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": lambda node: torch.matmul,
    "Einsum": _einsum,
    "Attention": _attention,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "MaxPool": _max_pool,
    "AveragePool": _avg_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": _over_space(torch.mean),
    "GlobalMaxPool": _over_space(torch.amax),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "SimplifiedLayerNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "MeanVarianceNormalization": _mean_variance_norm,
    "LRN": _local_response_norm,
    "LpNormalization": _lp_norm,
    "GridSample": _grid_sample,
}
"""How torch computes each, by ONNX's name."""
