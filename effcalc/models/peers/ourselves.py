"""effcalc as a counter among the others, so that its seconds and memory are taken alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount
from effcalc.network.ops import macs

if TYPE_CHECKING:
    from torch import nn


def count(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count as `effcalc count` does."""
    from effcalc.models.count import count_owned

    network = count_owned(model, args, kwargs)
    return PeerCount(sum(macs(layer) * layer.count for layer in network.calls))


EFFCALC = Peer(
    "effcalc",
    "effcalc",
    "MACs of convolutions, linear layers and matrix products",
    count,
    real=False,
)
PEERS = (EFFCALC,)
