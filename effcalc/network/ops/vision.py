"""Operators of torchvision's own."""

from __future__ import annotations

from effcalc.network.network import OperatorCall
from effcalc.network.ops.core import Op, per_output, register
from effcalc.network.ops.matmul import conv_macs


def sampled(call: OperatorCall) -> int:
    """One bilinear sample for each weight's position of each output position and input channel.

    Shapes: x (N, C, H, W), weight (O, C/groups, kh, kw), out (N, O, H', W').
    """
    n, channels = call.operands[0].shape[:2]
    _, _, kernel_h, kernel_w = call.operands[1].shape
    _, _, height, width = call.outputs[0].shape
    return n * channels * kernel_h * kernel_w * height * width


_POOLS = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")

register(
    Op("deform_conv", ("torchvision::deform_conv2d",), macs=conv_macs, elementwise=sampled),
    # How much non-maximum suppression compares depends on the boxes; each kept box counts once.
    Op("nms", ("torchvision::nms",), elementwise=per_output),
    *(Op(name, (f"torchvision::{name}",), elementwise=per_output) for name in _POOLS),
    *(
        Op(f"{name}_backward", (f"torchvision::_{name}_backward",), elementwise=per_output)
        for name in _POOLS
    ),
)
