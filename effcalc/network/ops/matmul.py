"""Convolutions and matrix products: the operators whose multiply-accumulates are counted.

A product's multiply-accumulates are one for each pair that is multiplied and summed; a bias that
the operator adds is not counted. Backward operators cost as many as each gradient's own product.
"""

from __future__ import annotations

import math

from effcalc.network.network import OperatorCall
from effcalc.network.ops.autocast import float32, low
from effcalc.network.ops.core import OnnxCall, OnnxNode, Op, TorchModule, aten, register
from effcalc.network.ops.saving import keeps


def _products(x: tuple[int, ...], weight: tuple[int, ...], out: int, transposed: bool) -> int:
    """Products of a convolution: (O, C/groups, *kernel) a result, or (O/groups, *kernel) an input.

    A transposed convolution is counted by input positions: each input element meets the whole
    kernel of its group once, wherever its results land.
    """
    return (math.prod(x) if transposed else out) * math.prod(weight[1:])


def conv_macs(call: OperatorCall) -> int:
    """Any rank, stride, dilation and groups; zeros of the padding are multiplied too.

    Shapes: x (N, C, *spatial), weight (O, C/groups, *kernel), out (N, O, *out spatial);
    transposed: weight (C, O/groups, *kernel).
    """
    x, weight = call.operands[:2]
    transposed = bool(call.attrs.get("transposed"))
    return _products(x.shape, weight.shape, call.outputs[0].numel, transposed)


def conv_transpose_macs(call: OperatorCall) -> int:
    """`conv_macs` of the operators that are always transposed."""
    x, weight = call.operands[:2]
    return _products(x.shape, weight.shape, 0, True)


def conv_backward_macs(call: OperatorCall) -> int:
    """One product like the forward's for each gradient asked for: the input's, the weight's.

    Operands: gradient of the output, x, weight. `output_mask` says which gradients are computed
    (frozen weights need none); the bias's is a sum.
    """
    grad, x, weight = call.operands[:3]
    transposed = bool(call.attrs.get("transposed"))
    each = _products(x.shape, weight.shape, grad.numel, transposed)
    return each * int(sum(call.attrs["output_mask"][:2]))


def conv_tbc_macs(call: OperatorCall) -> int:
    """Time-first 1-d convolution. Shapes: x (T, B, C), weight (kernel, C, O), out (T', B, O)."""
    kernel, channels, _ = call.operands[1].shape
    return call.outputs[0].numel * kernel * channels


def linear_macs(call: OperatorCall) -> int:
    """Outputs x input features. Shapes: x (..., in), weight (out, in), out (..., out)."""
    *_, features = call.operands[0].shape
    return call.outputs[0].numel * features


def product_macs(call: OperatorCall) -> int:
    """Outputs x inner size. Shapes: a (..., m, k), b (..., k, n); a vector has no m or n."""
    *_, inner = call.operands[0].shape
    return call.outputs[0].numel * inner


def added_product_macs(call: OperatorCall) -> int:
    """Outputs x inner size, the first operand being what is added to the product."""
    *_, inner = call.operands[1].shape
    return call.outputs[0].numel * inner


def addbmm_macs(call: OperatorCall) -> int:
    """Products of a batch, summed over it. Shapes: a (b, m, k), b (b, k, n), out (m, n)."""
    *_, n = call.operands[2].shape
    return call.operands[1].numel * n


def dot_macs(call: OperatorCall) -> int:
    """One for each element of a vector."""
    return call.operands[0].numel


def outer_macs(call: OperatorCall) -> int:
    """One for each result: an outer product is (m, 1) x (1, n)."""
    return call.outputs[0].numel


def grouped_mm_macs(call: OperatorCall) -> int:
    """Products of groups of rows. Shapes: a (m, k), b (g, k, n); of two matrices: k in groups."""
    a, b = call.operands[:2]
    *_, inner = a.shape
    *_, n = b.shape
    if len(a.shape) == len(b.shape) == 2:
        return a.numel * n
    return call.outputs[0].numel * inner


def trilinear_macs(call: OperatorCall) -> int:
    """One for each term of a bilinear form's sum over i, j of x1[i] W[o, i, j] x2[j].

    Operands are padded to a common rank at `expand1`, `expand2`, `expand3`; the full shape is
    theirs broadcast together. Shapes in `nn.Bilinear`: x1 (n, i), W (o, i, j), x2 (n, j).
    """
    shapes = []
    for t, key in zip(call.operands, ("expand1", "expand2", "expand3"), strict=True):
        shape = list(t.shape)
        for axis in sorted(call.attrs[key]):
            shape.insert(axis, 1)
        shapes.append(shape)
    return math.prod(max(sides) for sides in zip(*shapes, strict=True))


def einsum_macs(call: OperatorCall) -> int:
    """Of two operands: the product of the sizes of all letters. `equation` is "bij,bjk->bik"."""
    letters = call.attrs["equation"].partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for names, t in zip(letters, call.operands, strict=True):
        sizes.update(zip(names, t.shape, strict=True))
    return math.prod(sizes.values())


def cdist_macs(call: OperatorCall) -> int:
    """One for each coordinate of each pair. Shapes: x1 (..., n, d), x2 (..., m, d)."""
    *_, d = call.operands[0].shape
    return call.outputs[0].numel * d


def cdist_backward_macs(call: OperatorCall) -> int:
    """Each pair's coordinates once. Operands: gradient (..., n, m), x1 (..., n, d), ..."""
    *_, d = call.operands[1].shape
    return call.operands[0].numel * d


def pdist_macs(call: OperatorCall) -> int:
    """One for each coordinate of each of n (n - 1) / 2 pairs. Shape: x (n, d)."""
    n, d = call.operands[0].shape
    return n * (n - 1) // 2 * d


def _conv_module(call: OperatorCall) -> TorchModule:
    out, per_group, *kernel = call.operands[1].shape
    groups = call.attrs["groups"]
    return TorchModule(
        f"torch.nn:Conv{len(kernel)}d",
        {
            "in_channels": per_group * groups,
            "out_channels": out,
            "kernel_size": tuple(kernel),
            "stride": call.attrs["stride"],
            "padding": call.attrs["padding"],
            "dilation": call.attrs["dilation"],
            "groups": groups,
            "bias": len(call.operands) > 2,
        },
    )


def _linear_module(call: OperatorCall) -> TorchModule:
    out, features = call.operands[1].shape
    return TorchModule(
        "torch.nn:Linear",
        {"in_features": features, "out_features": out, "bias": len(call.operands) > 2},
    )


def _product_from_onnx(node: OnnxNode) -> OnnxCall:
    """Gemm is A·B + C with either transposed, MatMul A·B; by a weight either is `linear`."""
    a, b, *rest = node.operands
    if node.type == "MatMul":
        if b.param and len(b.shape) == 2:
            return OnnxCall("linear", (a, b))
        return OnnxCall("mm" if len(a.shape) == len(b.shape) == 2 else "bmm", (a, b))
    if node.attrs.get("transA"):
        a = a._replace(shape=a.shape[::-1])
    if node.attrs.get("transB"):
        return OnnxCall("linear", (a, b, *rest))
    return OnnxCall("addmm" if rest else "mm", (*rest, a, b))


def _einsum_from_onnx(node: OnnxNode) -> OnnxCall:
    equation = node.attrs["equation"].replace(" ", "")
    if len(node.operands) != 2 or "." in equation:
        raise ValueError(equation)
    return OnnxCall("einsum", node.operands, attrs={"equation": equation})


register(
    Op(
        "conv",
        (
            *("aten::convolution", "aten::_convolution", "aten::convolution_overrideable"),
            *("aten::cudnn_convolution", "aten::cudnn_convolution_relu"),
            *("aten::cudnn_convolution_add_relu", "aten::mkldnn_convolution"),
            *("aten::miopen_convolution", "aten::miopen_depthwise_convolution"),
            *("aten::_conv_depthwise2d", "aten::conv_depthwise3d", "aten::_mps_convolution"),
            *("aten::slow_conv_dilated2d", "aten::slow_conv_dilated3d"),
            *("aten::slow_conv3d_forward", "aten::_slow_conv2d_forward"),
            "aten::_nnpack_spatial_convolution",
        ),
        macs=conv_macs,
        build=_conv_module,
        saves=keeps(0, 1),
        autocast=low,
        onnx=("Conv",),
    ),
    Op(
        "conv_transpose",
        (
            *("aten::cudnn_convolution_transpose", "aten::miopen_convolution_transpose"),
            *("aten::slow_conv_transpose2d", "aten::slow_conv_transpose3d"),
            "aten::_mps_convolution_transpose",
        ),
        macs=conv_transpose_macs,
        saves=keeps(0, 1),
        autocast=low,
        onnx=("ConvTranspose",),
    ),
    Op(
        "conv_backward",
        ("aten::convolution_backward", "aten::convolution_backward_overrideable"),
        macs=conv_backward_macs,
    ),
    Op("conv_tbc", ("aten::conv_tbc",), macs=conv_tbc_macs, autocast=low),
    # A matrix product with a transposed weight, which is how torch runs F.linear, is "linear".
    Op(
        "linear",
        aten("linear mkldnn_linear"),
        macs=linear_macs,
        build=_linear_module,
        saves=keeps(0, 1),
        autocast=low,
        onnx=("Gemm", "MatMul"),
        from_onnx=_product_from_onnx,
    ),
    Op(
        "mm",
        (
            *("aten::mm", "aten::_int_mm", "aten::_scaled_mm", "aten::_scaled_mm_v2"),
            *("aten::_weight_int8pack_mm", "aten::_weight_int4pack_mm"),
            *(
                "aten::_weight_int4pack_mm_for_cpu",
                "aten::_weight_int4pack_mm_with_scales_and_zeros",
            ),
        ),
        macs=product_macs,
        saves=keeps(0, 1),
        autocast=low,
    ),
    Op("bmm", ("aten::bmm",), macs=product_macs, saves=keeps(0, 1), autocast=low),
    Op("mv", ("aten::mv",), macs=product_macs, saves=keeps(0, 1), autocast=low),
    Op(
        "addmm",
        ("aten::addmm", "aten::addmm_", "aten::_addmm_activation"),
        macs=added_product_macs,
        saves=keeps(1, 2),
        autocast=low,
    ),
    *(
        Op(name, aten(f"{name} {name}_"), macs=macs, saves=keeps(1, 2), autocast=low)
        for name, macs in (
            ("baddbmm", added_product_macs),
            ("addmv", added_product_macs),
            ("addbmm", addbmm_macs),
        )
    ),
    Op("addr", aten("addr addr_"), macs=outer_macs, saves=keeps(1, 2)),
    # torch multiplies an (m, 1) by an (n,); the tracer tells it from other products by that.
    Op("outer", macs=outer_macs, saves=keeps(0, 1)),
    Op("dot", ("aten::dot", "aten::vdot"), macs=dot_macs, saves=keeps(0, 1)),
    Op(
        "grouped_mm",
        ("aten::_grouped_mm", "aten::_scaled_grouped_mm", "aten::_scaled_grouped_mm_v2"),
        macs=grouped_mm_macs,
    ),
    # torch runs an einsum as matrix products; an ONNX file holds it as it is.
    Op("einsum", macs=einsum_macs, autocast=low, onnx=("Einsum",), from_onnx=_einsum_from_onnx),
    Op("bilinear", ("aten::_trilinear",), macs=trilinear_macs),
    Op("cdist", aten("_cdist_forward _euclidean_dist"), macs=cdist_macs, autocast=float32),
    Op("cdist_backward", ("aten::_cdist_backward",), macs=cdist_backward_macs),
    Op("pdist", ("aten::_pdist_forward",), macs=pdist_macs),
    Op("pdist_backward", ("aten::_pdist_backward",), macs=cdist_backward_macs),
)
