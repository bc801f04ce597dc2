"""thop (pytorch-OpCounter): forward hooks on modules of an exact type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effcalc.models.peers.calls import GATES, Call
from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount, positional
from effcalc.network.network import OperatorCall

if TYPE_CHECKING:
    from torch import nn


def count(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with `thop.profile`, which takes positional inputs."""
    import thop

    macs, params = thop.profile(model, inputs=positional(model, args, kwargs), verbose=False)
    return PeerCount(macs, params)


CONVOLUTIONS = {f"Conv{t}{n}d" for t in ("", "Transpose") for n in (1, 2, 3)}
NORMS = {f"{k}{n}d" for k in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)}
NORMS |= {"LayerNorm", "SyncBatchNorm"}
AVERAGES = {f"AvgPool{n}d" for n in (1, 2, 3)}
ADAPTIVE = {f"AdaptiveAvgPool{n}d" for n in (1, 2, 3)}
UPSAMPLES = {"Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"}

# Operations for each unit and step beside the products, without biases; a gate has two.
RECURRENT = {"RNN": 1, "LSTM": 8, "GRU": 7}


def rule(call: Call) -> int | tuple[int, ...]:
    """Count a call in a module of an exact class.

    Where a module is registered at several places it has as many hooks, and is summed as often.
    """
    return tuple(n * call.module.times**2 for n in _choices(call))


def _choices(call: Call) -> tuple[int, ...]:
    op, kind, layer = call.op, call.kind, call.layer
    if op == "conv" and kind in CONVOLUTIONS:
        return (_convolution(layer),)
    if kind == "Linear":
        return (call.macs,)
    if op == "linear" and (recurrent := kind.removesuffix("Cell")) in RECURRENT:
        biases = 2 * GATES[recurrent] if call.bias else 0
        return (call.macs + call.units * (RECURRENT[recurrent] + biases),)
    if op in ("batch_norm", "layer_norm") and kind in NORMS:
        return (call.inputs * (4 if call.affine else 2),)
    if op == "prelu" and kind == "PReLU":
        return (call.inputs,)
    if op == "softmax" and kind == "Softmax":  # exponentials, sums and quotients, a row each
        return tuple(3 * call.inputs - call.inputs // n for n in reversed(layer.outputs[0].shape))
    if op == "avg_pool" and kind in AVERAGES:
        return (call.outputs,)
    if op in ("adaptive_avg_pool", "mean") and kind in ADAPTIVE:
        sides = zip(layer.operands[0].shape[2:], layer.outputs[0].shape[2:], strict=True)
        return (int((math.prod(i / o for i, o in sides) + 1) * call.outputs),)
    if op == "upsample" and kind in UPSAMPLES:  # nearest, bilinear, linear, bicubic, others
        return tuple(n * call.outputs for n in (1, 11, 5, 259, 0))
    return (0,)


def _convolution(layer: OperatorCall) -> int:
    """Every output position, also of a transposed convolution."""
    x, weight = layer.operands[:2]
    channels, per_group = x.shape[1], weight.shape[1]
    if layer.attrs.get("transposed"):
        groups = layer.outputs[0].shape[1] // per_group
        per_group = channels // groups
    return layer.outputs[0].numel * per_group * math.prod(weight.shape[2:])


PEERS = (
    Peer(
        "thop",
        "thop",
        "MACs of convolutions and linear layers, with further operations of normalisation, "
        "softmax, pooling and interpolation added one for one",
        count,
        rule,
    ),
)
