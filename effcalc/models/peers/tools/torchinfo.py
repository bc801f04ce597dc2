"""torchinfo: forward hooks, and MACs from each leaf module's parameters and output shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effcalc.models.peers.calls import GATES, Call
from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount

if TYPE_CHECKING:
    from torch import nn


def count(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with `torchinfo.summary`."""
    import torchinfo

    data, named = (list(args), kwargs) if args else (dict(kwargs), {})
    result = torchinfo.summary(model, input_data=data, verbose=0, mode="eval", **named)
    return PeerCount(result.total_mult_adds, result.total_params)


def rule(call: Call) -> int:
    """Count parameters of a leaf module by its output's shape; a functional call is nothing."""
    recurrent = call.kind.removesuffix("Cell") in GATES
    if recurrent and call.op == "linear":
        # Each step; of a cell it takes batch x hidden units for batch x steps.
        return (call.macs + call.bias) * (call.result[1] if call.kind.endswith("Cell") else 1)
    if not call.main or not call.module.leaf or recurrent:
        return 0
    macs = 0
    for name, elements in call.params.items():
        if name in ("weight", "bias"):
            conv = "Conv" in call.kind.rpartition(".")[2]
            sides = call.result[2:] if conv else ()
            macs += elements * math.prod((*call.result[:1], *sides))
        elif "weight" in name or "bias" in name:
            macs += elements * math.prod(call.result[:2])
    return macs


PEERS = (
    Peer(
        "torchinfo",
        "torchinfo",
        '"mult-adds" are MACs: parameters times output positions of convolutions, parameters '
        "times batch of every other leaf module",
        count,
        rule,
    ),
)
