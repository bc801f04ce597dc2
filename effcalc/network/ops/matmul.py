"""Convolutions and matrix products: the operators whose multiply-accumulates are counted.

A product's multiply-accumulates are one for each pair that is multiplied and summed; a bias that
the operator adds is not counted. Backward operators cost as many as each gradient's own product.
"""

from __future__ import annotations

import math

from effcalc.network.network import Layer
from effcalc.network.ops.core import Module, Op, aten, register
from effcalc.network.ops.saving import keeps


def _products(x: tuple[int, ...], weight: tuple[int, ...], out: int, transposed: bool) -> int:
    """Products of a convolution: (O, C/groups, *kernel) a result, or (O/groups, *kernel) an input.

    A transposed convolution is counted by input positions: each input element meets the whole
    kernel of its group once, wherever its results land.
    """
    return (math.prod(x) if transposed else out) * math.prod(weight[1:])


def conv_macs(layer: Layer) -> int:
    """Any rank, stride, dilation and groups; zeros of the padding are multiplied too.

    Shapes: x (N, C, *spatial), weight (O, C/groups, *kernel), out (N, O, *out spatial);
    transposed: weight (C, O/groups, *kernel).
    """
    x, weight = layer.operands[:2]
    transposed = bool(layer.attrs.get("transposed"))
    return _products(x.shape, weight.shape, layer.outputs[0].numel, transposed)


def conv_transpose_macs(layer: Layer) -> int:
    """`conv_macs` of the operators that are always transposed."""
    x, weight = layer.operands[:2]
    return _products(x.shape, weight.shape, 0, True)


def conv_backward_macs(layer: Layer) -> int:
    """One product like the forward's for each gradient asked for: the input's, the weight's.

    Operands: gradient of the output, x, weight. `output_mask` says which gradients are computed
    (frozen weights need none); the bias's is a sum.
    """
    grad, x, weight = layer.operands[:3]
    transposed = bool(layer.attrs.get("transposed"))
    each = _products(x.shape, weight.shape, grad.numel, transposed)
    return each * int(sum(layer.attrs["output_mask"][:2]))


def conv_tbc_macs(layer: Layer) -> int:
    """Time-first 1-d convolution. Shapes: x (T, B, C), weight (kernel, C, O), out (T', B, O)."""
    kernel, channels, _ = layer.operands[1].shape
    return layer.outputs[0].numel * kernel * channels


def linear_macs(layer: Layer) -> int:
    """Outputs x input features. Shapes: x (..., in), weight (out, in), out (..., out)."""
    *_, features = layer.operands[0].shape
    return layer.outputs[0].numel * features


def product_macs(layer: Layer) -> int:
    """Outputs x inner size. Shapes: a (..., m, k), b (..., k, n); a vector has no m or n."""
    *_, inner = layer.operands[0].shape
    return layer.outputs[0].numel * inner


def added_product_macs(layer: Layer) -> int:
    """Outputs x inner size, the first operand being what is added to the product."""
    *_, inner = layer.operands[1].shape
    return layer.outputs[0].numel * inner


def addbmm_macs(layer: Layer) -> int:
    """Products of a batch, summed over it. Shapes: a (b, m, k), b (b, k, n), out (m, n)."""
    *_, n = layer.operands[2].shape
    return layer.operands[1].numel * n


def dot_macs(layer: Layer) -> int:
    """One for each element of a vector."""
    return layer.operands[0].numel


def outer_macs(layer: Layer) -> int:
    """One for each result: an outer product is (m, 1) x (1, n)."""
    return layer.outputs[0].numel


def grouped_mm_macs(layer: Layer) -> int:
    """Products of groups of rows. Shapes: a (m, k), b (g, k, n); of two matrices: k in groups."""
    a, b = layer.operands[:2]
    *_, inner = a.shape
    *_, n = b.shape
    if len(a.shape) == len(b.shape) == 2:
        return a.numel * n
    return layer.outputs[0].numel * inner


def trilinear_macs(layer: Layer) -> int:
    """One for each term of a bilinear form's sum over i, j of x1[i] W[o, i, j] x2[j].

    Operands are padded to a common rank at `expand1`, `expand2`, `expand3`; the full shape is
    theirs broadcast together. Shapes in `nn.Bilinear`: x1 (n, i), W (o, i, j), x2 (n, j).
    """
    shapes = []
    for t, key in zip(layer.operands, ("expand1", "expand2", "expand3"), strict=True):
        shape = list(t.shape)
        for axis in sorted(layer.attrs[key]):
            shape.insert(axis, 1)
        shapes.append(shape)
    return math.prod(max(sides) for sides in zip(*shapes, strict=True))


def einsum_macs(layer: Layer) -> int:
    """Of two operands: the product of the sizes of all letters. `equation` is "bij,bjk->bik"."""
    letters = layer.attrs["equation"].partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for names, t in zip(letters, layer.operands, strict=True):
        sizes.update(zip(names, t.shape, strict=True))
    return math.prod(sizes.values())


def cdist_macs(layer: Layer) -> int:
    """One for each coordinate of each pair. Shapes: x1 (..., n, d), x2 (..., m, d)."""
    *_, d = layer.operands[0].shape
    return layer.outputs[0].numel * d


def cdist_backward_macs(layer: Layer) -> int:
    """Each pair's coordinates once. Operands: gradient (..., n, m), x1 (..., n, d), ..."""
    *_, d = layer.operands[1].shape
    return layer.operands[0].numel * d


def pdist_macs(layer: Layer) -> int:
    """One for each coordinate of each of n (n - 1) / 2 pairs. Shape: x (n, d)."""
    n, d = layer.operands[0].shape
    return n * (n - 1) // 2 * d


def _conv_module(layer: Layer) -> Module:
    out, per_group, *kernel = layer.operands[1].shape
    groups = layer.attrs["groups"]
    return Module(
        f"torch.nn:Conv{len(kernel)}d",
        {
            "in_channels": per_group * groups,
            "out_channels": out,
            "kernel_size": tuple(kernel),
            "stride": layer.attrs["stride"],
            "padding": layer.attrs["padding"],
            "dilation": layer.attrs["dilation"],
            "groups": groups,
            "bias": len(layer.operands) > 2,
        },
    )


def _linear_module(layer: Layer) -> Module:
    out, features = layer.operands[1].shape
    return Module(
        "torch.nn:Linear",
        {"in_features": features, "out_features": out, "bias": len(layer.operands) > 2},
    )


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
    ),
    Op(
        "conv_backward",
        ("aten::convolution_backward", "aten::convolution_backward_overrideable"),
        macs=conv_backward_macs,
    ),
    Op("conv_tbc", ("aten::conv_tbc",), macs=conv_tbc_macs),
    # A matrix product with a transposed weight, which is how torch runs F.linear, is "linear".
    Op(
        "linear",
        aten("linear mkldnn_linear"),
        macs=linear_macs,
        build=_linear_module,
        saves=keeps(0, 1),
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
    ),
    Op("bmm", ("aten::bmm",), macs=product_macs, saves=keeps(0, 1)),
    Op("mv", ("aten::mv",), macs=product_macs, saves=keeps(0, 1)),
    Op(
        "addmm",
        ("aten::addmm", "aten::addmm_", "aten::_addmm_activation"),
        macs=added_product_macs,
        saves=keeps(1, 2),
    ),
    *(
        Op(name, aten(f"{name} {name}_"), macs=macs, saves=keeps(1, 2))
        for name, macs in (
            ("baddbmm", added_product_macs),
            ("addmv", added_product_macs),
            ("addbmm", addbmm_macs),
            ("addr", outer_macs),
        )
    ),
    # torch multiplies an (m, 1) by an (n,); the tracer tells it from other products by that.
    Op("outer", macs=outer_macs, saves=keeps(0, 1)),
    Op("dot", ("aten::dot", "aten::vdot"), macs=dot_macs, saves=keeps(0, 1)),
    Op(
        "grouped_mm",
        ("aten::_grouped_mm", "aten::_scaled_grouped_mm", "aten::_scaled_grouped_mm_v2"),
        macs=grouped_mm_macs,
    ),
    # torch runs an einsum as matrix products; an ONNX file holds it as it is.
    Op("einsum", macs=einsum_macs),
    Op("bilinear", ("aten::_trilinear",), macs=trilinear_macs),
    Op("cdist", ("aten::_cdist_forward", "aten::_euclidean_dist"), macs=cdist_macs),
    Op("cdist_backward", ("aten::_cdist_backward",), macs=cdist_backward_macs),
    Op("pdist", ("aten::_pdist_forward",), macs=pdist_macs),
    Op("pdist_backward", ("aten::_pdist_backward",), macs=cdist_backward_macs),
)
