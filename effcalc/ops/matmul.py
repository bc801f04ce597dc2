"""Convolutions and matrix products: the operators whose multiply-accumulates are counted."""

from __future__ import annotations

import math

from effcalc.network import Layer
from effcalc.ops.core import Op, register


def conv_macs(layer: Layer) -> int:
    """Outputs x (input channels of one group x kernel positions); any rank, stride, dilation.

    Shapes: x (N, C, *spatial), weight (O, C/groups, *kernel), out (N, O, *out spatial).
    """
    weight = layer.operands[1]
    return layer.outputs[0].numel * math.prod(weight.shape[1:])


def linear_macs(layer: Layer) -> int:
    """Outputs x input features. Shapes: x (..., in), weight (out, in), out (..., out)."""
    *_, features = layer.operands[0].shape
    return layer.outputs[0].numel * features


register(
    Op("conv", ("aten::convolution",), macs=conv_macs),
    Op("linear", ("aten::linear",), macs=linear_macs),
)
