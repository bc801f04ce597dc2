"""torch's own FlopCounterMode: formulas for operators at torch's dispatcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effcalc.models.peers.calls import Call
from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount

if TYPE_CHECKING:
    from torch import nn


def count(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with `torch.utils.flop_counter.FlopCounterMode`, which tells no parameters."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(*args, **kwargs)
    return PeerCount(counter.get_total_flops() / 2)


COUNTED = {"conv", "linear", "mm", "bmm", "addmm", "baddbmm", "attention_flash"}
COUNTED |= {"attention_efficient", "attention_cudnn"}


def rule(call: Call) -> int:
    """Count operators that it has a formula for."""
    return call.macs if call.op in COUNTED else 0


PEERS = (
    Peer(
        "torch",
        "torch",
        "FLOPs, 2 per MAC, halved",
        count,
        rule,
        real=False,
    ),
)
