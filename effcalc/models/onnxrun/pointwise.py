"""Element-wise operators of ONNX, reductions, and what is derived from them."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch.nn import functional

from effcalc.models.onnxrun.node import Call, Maker, Node

Tensor = torch.Tensor


def _plain(call: Call) -> Maker:
    """An operator that is torch's without any attribute."""
    return lambda node: call


def _folded(call: Call) -> Maker:
    """An operator of any number of inputs."""
    return lambda node: lambda *x: functools.reduce(call, x)


def _with(call: Call, **attributes: float) -> Maker:
    """An operator with attributes of the given defaults, positional in torch."""

    def make(node: Node) -> Call:
        values = [node.attr(k, v) for k, v in attributes.items()]
        return lambda x: call(x, *values)

    return make


def _binary(call: Call) -> Maker:
    """An operator of two operands, which broadcast as numpy's do (from opset 7)."""

    def make(node: Node) -> Call:
        node.refuse("broadcast", 0)
        return call

    return make


def _div(node: Node) -> Call:
    if node.dtype(0).is_floating_point:
        return torch.div
    return lambda a, b: torch.div(a, b, rounding_mode="trunc")


def _mod(node: Node) -> Call:
    return torch.fmod if node.attr("fmod", 0) else torch.remainder


def _shift(node: Node) -> Call:
    left = node.attr("direction") == "LEFT"
    return torch.bitwise_left_shift if left else torch.bitwise_right_shift


def _hard_sigmoid(node: Node) -> Call:
    alpha, beta = node.attr("alpha", 0.2), node.attr("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return functional.hardsigmoid
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


def _selu(node: Node) -> Call:
    alpha, gamma = node.attr("alpha", 1.67326319217681884765625), node.attr("gamma", 1.0507)
    if math.isclose(alpha, 1.6732632, rel_tol=1e-6) and math.isclose(gamma, 1.0507, rel_tol=1e-4):
        return torch.selu
    return lambda x: gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def _shrink(node: Node) -> Call:
    bias, at = node.attr("bias", 0.0), node.attr("lambd", 0.5)
    zero = torch.zeros_like
    return lambda x: torch.where(x < -at, x + bias, torch.where(x > at, x - bias, zero(x)))


def _swish(node: Node) -> Call:
    alpha = node.attr("alpha", 1.0)
    return functional.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x)


def _gelu(node: Node) -> Call:
    return functools.partial(functional.gelu, approximate=node.attr("approximate", "none"))


def _prelu(node: Node) -> Call:
    if node.opset < 7:  # one for each channel, or one
        return lambda x, slope: functional.prelu(x, slope.reshape(-1))

    def call(x: Tensor, slope: Tensor) -> Tensor:
        channels = slope.dim() == x.dim() - 1 and slope.numel() == slope.shape[0] == x.shape[1]
        if slope.numel() == 1 or channels:
            return functional.prelu(x, slope.reshape(-1))
        return torch.where(x < 0, slope * x, x)

    return call


def _clip(node: Node) -> Call:
    low, high = node.value(1, "min"), node.value(2, "max")
    if low is None and high is None:
        return lambda x: x
    if (low, high) == (0, 6):
        return functional.relu6
    return lambda x: torch.clamp(x, low, high)


def _is_inf(node: Node) -> Call:
    negative, positive = node.attr("detect_negative", 1), node.attr("detect_positive", 1)
    if not (negative or positive):
        return lambda x: torch.zeros_like(x, dtype=torch.bool)
    if negative and positive:
        return torch.isinf
    return torch.isposinf if positive else torch.isneginf


def _softmax(call: Call) -> Maker:
    def make(node: Node) -> Call:
        if node.opset >= 13:
            axis = node.axis(-1)
            return lambda x: call(x, dim=axis)
        axis = node.axis(1)  # older: over everything from the axis on
        return lambda x: call(x.flatten(axis), dim=-1).reshape(x.shape)

    return make


def _hardmax(x: Tensor, dim: int) -> Tensor:
    return torch.zeros_like(x).scatter(dim, x.argmax(dim, keepdim=True), 1)


def _reduce(call: Call) -> Maker:
    """A reduction over `axes`, an attribute or the second input, or over all."""

    def make(node: Node) -> Call:
        axes, keep = node.value(1, "axes", []), bool(node.attr("keepdims", 1))
        if node.attr("noop_with_empty_axes", 0) and not axes:
            return lambda x: call(x.unsqueeze(-1), [-1], False)  # each element by itself
        dims = [node.place(a, node.rank) for a in axes] or list(range(node.rank))
        return (lambda x: call(x, dims, keep)) if node.rank else lambda x: x

    return make


def _prod(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for dim in sorted(dims, reverse=True):
        x = torch.prod(x, dim, keep, dtype=x.dtype)
    return x


def _norm(order: int) -> Call:
    return lambda x, dims, keep: torch.linalg.vector_norm(x, order, dims, keep)


def _arg(call: Call) -> Maker:
    def make(node: Node) -> Call:
        node.refuse("select_last_index", 0)
        axis, keep = node.axis(), bool(node.attr("keepdims", 1))
        return lambda x: call(x, axis, keepdim=keep)

    return make


def _top_k(node: Node) -> Call:
    k, axis = node.number(1, "k"), node.axis(-1)
    largest, ordered = bool(node.attr("largest", 1)), bool(node.attr("sorted", 1))
    return lambda x: tuple(torch.topk(x, k, axis, largest, ordered))


def _cum_sum(node: Node) -> Call:
    axis = node.place(node.number(1), node.rank)
    back, exclusive = node.attr("reverse", 0), node.attr("exclusive", 0)

    def call(x: Tensor) -> Tensor:
        y = x.flip(axis) if back else x
        total = torch.cumsum(y, axis, dtype=x.dtype)
        total = total - y if exclusive else total
        return total.flip(axis) if back else total

    return call


def _cast(node: Node) -> Call:
    dtype: Any = node.dtype(1) if node.op == "CastLike" else node.attr("to")
    node.attr("saturate")  # of float8 alone
    if node.op == "CastLike" and dtype.itemsize > 1:
        return lambda x, like: x.to(like.dtype)
    node.taken.add(1)
    if dtype.itemsize == 1 and dtype.is_floating_point:
        node.refuse("saturate", 1)
        most = torch.finfo(dtype).max
        return lambda x: x.clamp(-most, most).to(dtype)
    return lambda x: x.to(dtype)


POINTWISE: dict[str, Maker] = {
    **{
        name: _plain(getattr(torch, torch_name or name.lower()))
        for name, torch_name in {
            **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Erf", "Sqrt", "Exp", "Log", "Neg"), ""),
            **dict.fromkeys(("Abs", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "IsNaN"), ""),
            **dict.fromkeys(("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh"), ""),
            **dict.fromkeys(("Asinh", "Acosh", "Atanh", "Where"), ""),
            "Not": "logical_not",
            "BitwiseNot": "bitwise_not",
        }.items()
    },
    **{
        name: _binary(getattr(torch, torch_name))
        for name, torch_name in {
            "Add": "add",
            "Sub": "sub",
            "Mul": "mul",
            "Equal": "eq",
            "Greater": "gt",
            "GreaterOrEqual": "ge",
            "Less": "lt",
            "LessOrEqual": "le",
            "And": "logical_and",
            "Or": "logical_or",
            "Xor": "logical_xor",
            "BitwiseAnd": "bitwise_and",
            "BitwiseOr": "bitwise_or",
            "BitwiseXor": "bitwise_xor",
        }.items()
    },
    "Div": _div,
    "Mod": _mod,
    "BitShift": _shift,
    "Pow": _plain(lambda a, b: torch.pow(a, b).to(a.dtype)),
    "Min": _folded(torch.minimum),
    "Max": _folded(torch.maximum),
    "Sum": _folded(torch.add),
    "Mean": _plain(lambda *x: functools.reduce(torch.add, x) / len(x)),
    "Softplus": _plain(functional.softplus),
    "Softsign": _plain(functional.softsign),
    "Mish": _plain(functional.mish),
    "HardSwish": _plain(functional.hardswish),
    "LeakyRelu": _with(functional.leaky_relu, alpha=0.01),
    "Elu": _with(functional.elu, alpha=1.0),
    "Celu": _with(torch.celu, alpha=1.0),
    "ThresholdedRelu": _with(lambda x, alpha: functional.threshold(x, alpha, 0.0), alpha=1.0),
    "HardSigmoid": _hard_sigmoid,
    "Selu": _selu,
    "Shrink": _shrink,
    "Swish": _swish,
    "Gelu": _gelu,
    "PRelu": _prelu,
    "Clip": _clip,
    "IsInf": _is_inf,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Hardmax": _softmax(_hardmax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(lambda x, dims, keep: torch.sum(x, dims, keep, dtype=x.dtype)),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceProd": _reduce(_prod),
    "ReduceL1": _reduce(_norm(1)),
    "ReduceL2": _reduce(_norm(2)),
    "ReduceLogSum": _reduce(lambda x, dims, keep: torch.log(torch.sum(x, dims, keep))),
    "ReduceLogSumExp": _reduce(torch.logsumexp),
    "ReduceSumSquare": _reduce(lambda x, dims, keep: torch.sum(x * x, dims, keep)),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "TopK": _top_k,
    "CumSum": _cum_sum,
    "Cast": _cast,
    "CastLike": _cast,
}
"""How torch computes each, by ONNX's name."""
