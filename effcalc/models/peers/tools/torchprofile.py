"""torchprofile: the operators of a jit trace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effcalc.models.peers.calls import Call
from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount, positional
from effcalc.network.network import OperatorCall

if TYPE_CHECKING:
    from torch import nn


def count(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with `profile_macs`, which tells no parameters."""
    from torchprofile import profile_macs

    by_node = profile_macs(model, positional(model, args, kwargs), reduction=None)
    # A trace multiplies sizes as it multiplies tensors (batch * heads, for a view).
    sizes = sum(
        macs
        for node, macs in by_node.items()
        if node.operator in ("aten::mul", "aten::mul_") and not node.outputs[0].shape
    )
    return PeerCount(
        sum(by_node.values()), unassigned={"products of sizes": sizes} if sizes else {}
    )


def rule(call: Call) -> int | tuple[int, ...]:
    """Count operators of a jit trace, which has fewer and larger ones than the dispatcher."""
    op = call.op
    if call.kind in ("GRU", "RNN"):
        return 0
    if call.kind == "LSTM":  # one operator, with a formula
        return call.macs
    if op == "conv":  # with padding="same" it is another operator
        macs = _convolution(call.layer)
        return (macs, 0) if call.unit_stride else macs
    if op in ("linear", "bmm", "addmm", "baddbmm", "addmv") or op.startswith("attention"):
        return call.macs
    if op in ("mm", "mv", "dot"):  # as torch.matmul, or by its own name
        return (call.macs, 0)
    if op in ("mul", "outer"):  # of its own, or a step of a larger operator
        return (call.outputs, 0) if call.layer.outputs[0].shape else 0  # of numbers, not tensors
    if op in ("batch_norm", "layer_norm", "group_norm"):
        return call.outputs if call.affine else 0
    if op in ("adaptive_avg_pool", "avg_pool", "leaky_relu"):
        return call.outputs
    if op == "mean":  # a trace leaves out what no output needs
        return (call.outputs, 0)
    if op == "upsample":  # bilinear, others
        return (4 * call.outputs, 0)
    if op == "grid_sampler_2d":  # bilinear, nearest, bicubic
        return tuple(n * call.outputs for n in (4, 0, 16))
    return 0


def _convolution(layer: OperatorCall) -> int:
    """Every output position; a transposed one is known by its numbers of channels."""
    _, weight = layer.operands[:2]
    first, second, *kernel = weight.shape
    channels = second if layer.outputs[0].shape[1] == first else first
    return layer.outputs[0].numel * channels * math.prod(kernel)


PEERS = (
    Peer(
        "torchprofile",
        "torchprofile",
        "MACs, with results of multiplication, normalisation, means, average pooling and "
        "bilinear interpolation added one for one",
        count,
        rule,
    ),
)
