"""fvcore: the operators of a jit trace."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from effcalc.models.peers.calls import GATES, Call
from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount, positional

if TYPE_CHECKING:
    from torch import nn


def count(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with `FlopCountAnalysis` and `parameter_count`."""
    from fvcore.nn import FlopCountAnalysis, parameter_count

    logging.getLogger("fvcore").setLevel(logging.ERROR)  # a warning for each operator it skips
    macs = FlopCountAnalysis(model, positional(model, args, kwargs)).total()
    return PeerCount(macs, parameter_count(model)[""])


# Operations for each element, with and without weights.
NORMS = {"batch_norm": (2, 1), "layer_norm": (5, 4), "group_norm": (5, 4)}
PRODUCTS = {"linear", "addmm"}


def rule(call: Call) -> int | tuple[int, ...]:
    """Count operators of a jit trace, which has fewer and larger ones than the dispatcher."""
    op = call.op
    if call.kind in GATES:
        return 0
    if op == "conv":  # with padding="same" it is another operator
        return (call.macs, 0) if call.unit_stride else call.macs
    if op in PRODUCTS:
        return call.macs
    if op in ("mm", "bmm"):  # in the trace attention, and a custom autograd function, are one
        return (call.macs, 0)
    if op in NORMS:
        with_statistics = op == "batch_norm" and call.layer.attrs.get("training")
        key = "layer_norm" if with_statistics else op
        return call.inputs * NORMS[key][0 if call.affine else 1]
    if op == "adaptive_avg_pool":
        return call.inputs
    if op == "mean":  # adaptive average pooling to one pixel is a mean
        return call.inputs if call.kind == "AdaptiveAvgPool2d" else (0, call.inputs)
    if op == "upsample":  # bilinear, nearest, others
        return tuple(n * call.outputs for n in (4, 1, 0))
    if op == "grid_sampler_2d":
        return 4 * call.outputs
    return 0


PEERS = (
    Peer(
        "fvcore",
        "fvcore",
        'its "flops" are MACs, with operations of normalisation, adaptive average pooling and '
        "interpolation added one for one",
        count,
        rule,
    ),
)
