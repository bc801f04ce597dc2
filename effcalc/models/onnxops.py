"""Which of effcalc's operators each operator of ONNX is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from effcalc.network.network import Shape, Tensor


class Mapped(NamedTuple):
    """A node as effcalc's operator sees it."""

    op: str
    operands: tuple[Tensor, ...]
    memory: Literal["new", "view"] = "new"
    attrs: Mapping[str, Any] = {}


Mapper = Callable[[tuple[Tensor, ...], Mapping[str, Any], list[Shape]], Mapped]


def map_node(
    op: str, operands: tuple[Tensor, ...], attrs: Mapping[str, Any], shapes: list[Shape]
) -> Mapped | None:
    """Return a node as one of effcalc's operators, or None where there is none."""
    if op in _VIEWS:
        return Mapped("view", operands[:1], "view")
    if op in _SAME:
        return Mapped(_SAME[op], operands)
    if op in _MAPPERS:
        try:
            return _MAPPERS[op](operands, attrs, shapes)
        except (IndexError, KeyError, ValueError):
            return None
    return None


def _gemm(x: tuple[Tensor, ...], attrs: Mapping[str, Any], shapes: list[Shape]) -> Mapped:
    """A·B + C, either of A and B transposed: `linear` where B is a transposed weight."""
    a, b, *rest = x
    if attrs.get("transA"):
        a = a._replace(shape=a.shape[::-1])
    if attrs.get("transB"):
        return Mapped("linear", (a, b, *rest))
    return Mapped("addmm" if rest else "mm", (*rest, a, b))


def _matmul(x: tuple[Tensor, ...], attrs: Mapping[str, Any], shapes: list[Shape]) -> Mapped:
    a, b = x
    if b.param and len(b.shape) == 2:
        return Mapped("linear", (a, b))
    return Mapped("mm" if len(a.shape) == len(b.shape) == 2 else "bmm", x)


def _recurrent(mode: int) -> Mapper:
    """X (T, N, I), W (directions, gates·h, I), R (directions, gates·h, h), as torch's fused one."""

    def mapped(x: tuple[Tensor, ...], attrs: Mapping[str, Any], shapes: list[Shape]) -> Mapped:
        data, w, r, *rest = x
        matrices = [t._replace(shape=t.shape[1:]) for t in (w, r)]
        each = tuple(
            t._replace(param=f"{t.param}[{i}]") for i in range(w.shape[0]) for t in matrices
        )
        flat = tuple(t._replace(shape=(math.prod(t.shape),)) for t in rest)
        size = int(attrs["hidden_size"])
        return Mapped("recurrent", (data, *each, *flat), attrs={"mode": mode, "hidden_size": size})

    return mapped


def _einsum(x: tuple[Tensor, ...], attrs: Mapping[str, Any], shapes: list[Shape]) -> Mapped:
    equation = attrs["equation"].replace(" ", "")
    if len(x) != 2 or "." in equation:
        raise ValueError(equation)
    return Mapped("einsum", x, attrs={"equation": equation})


def _attention(x: tuple[Tensor, ...], attrs: Mapping[str, Any], shapes: list[Shape]) -> Mapped:
    if any(len(t.shape) != 4 for t in x[:3]):
        raise ValueError("attention over packed heads")
    return Mapped("attention", x, attrs={"is_causal": bool(attrs.get("is_causal", 0))})


_VIEWS = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"))

_SAME = {
    "Conv": "conv",
    "ConvTranspose": "conv_transpose",
    "BatchNormalization": "batch_norm",
    "LayerNormalization": "layer_norm",
    "GroupNormalization": "group_norm",
    "InstanceNormalization": "group_norm",
    "RMSNormalization": "rms_norm",
    "SimplifiedLayerNormalization": "rms_norm",
    "LRN": "batch_norm",
    "LpNormalization": "norm",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Clip": "clamp",
    "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish",
    "LeakyRelu": "leaky_relu",
    "PRelu": "prelu",
    "Swish": "silu",
    "ThresholdedRelu": "threshold",
    "Not": "logical_not",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "BitShift": "bitwise_left_shift",
    "BitwiseAnd": "bitwise_and",
    "BitwiseNot": "bitwise_not",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Equal": "eq",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "Less": "lt",
    "LessOrEqual": "le",
    "Min": "minimum",
    "Max": "maximum",
    "Sum": "add",
    "Mod": "remainder",
    "GlobalAveragePool": "mean",
    "GlobalMaxPool": "amax",
    "AveragePool": "avg_pool",
    "LpPool": "avg_pool",
    "MaxPool": "max_pool",
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "ReduceMax": "amax",
    "ReduceMin": "amin",
    "ReduceProd": "prod",
    "ReduceL1": "norm",
    "ReduceL2": "norm",
    "ReduceLogSumExp": "logsumexp",
    "ReduceSumSquare": "norm",
    "Resize": "upsample",
    "Upsample": "upsample",
    "GridSample": "grid_sampler_2d",
    "ArgMax": "argmax",
    "ArgMin": "argmin",
    "TopK": "topk",
    "CumSum": "cumsum",
    "Concat": "cat",
    "Transpose": "view_copy",
    "Slice": "view_copy",
    "Split": "view_copy",
    "Expand": "view_copy",
    "Cast": "to_copy",
    "CastLike": "to_copy",
    "Pad": "pad",
    "Tile": "repeat",
    "Trilu": "tril",
    "Gather": "gather",
    "GatherElements": "gather",
    "GatherND": "gather",
    "ScatterND": "scatter",
    "ScatterElements": "scatter",
    "DepthToSpace": "pixel_shuffle",
    "SpaceToDepth": "pixel_shuffle",
    "NonZero": "nonzero",
    "ConstantOfShape": "fill",
    "Range": "fill",
    "OneHot": "fill",
    "EyeLike": "fill",
    "Shape": "query",
    "Size": "query",
    **{
        name: name.lower()
        for name in (
            *("Relu", "Sigmoid", "Tanh", "Erf", "Gelu", "Elu", "Celu", "Selu", "Softplus", "Mish"),
            *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Log", "Neg", "Abs", "Reciprocal"),
            *("Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan", "Where", "IsNaN", "IsInf"),
            *("Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"),
        )
    },
}

_MAPPERS: dict[str, Mapper] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "RNN": _recurrent(1),
    "LSTM": _recurrent(2),
    "GRU": _recurrent(3),
    "Einsum": _einsum,
    "Attention": _attention,
}
