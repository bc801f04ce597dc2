"""calflops: patched functions of torch.nn.functional and torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effcalc.models.peers.calls import Call
from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount

if TYPE_CHECKING:
    from torch import nn


def count(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with `calculate_flops`; of its FLOPs and MACs the MACs are taken."""
    import calflops

    _, macs, params = calflops.calculate_flops(
        model=model,
        args=list(args),
        kwargs=dict(kwargs),
        print_results=False,
        print_detailed=False,
        output_as_string=False,
    )
    return PeerCount(macs, params)


def rule(call: Call) -> int | tuple[int, ...]:
    """Count functions that it patches, whatever module calls them, at each place it meets that."""
    if call.kind in ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"):
        return 0
    times = call.module.times
    if call.op == "conv":
        return _convolution(call) * times
    if call.op in ("addmm", "baddbmm") or (call.op == "linear" and call.kind == "Linear"):
        return call.macs * times
    if call.op == "linear":  # F.linear, or a product with a transposed parameter
        return (call.macs * times, 0)
    if call.op in ("mm", "bmm"):  # `@`, bmm, einsum and attention are not patched, matmul is
        return (0, call.macs * times)
    return 0


def _convolution(call: Call) -> int:
    """All MACs; of a transposed convolution the groups are divided by twice."""
    if not call.layer.attrs.get("transposed"):
        return call.macs
    per_group = call.layer.operands[1].shape[1]
    groups = call.layer.outputs[0].shape[1] // per_group
    return call.macs // per_group * (per_group // groups)


PEERS = (
    Peer(
        "calflops",
        "calflops",
        "MACs as given; its FLOPs (2 per MAC, and biases, activations and normalisation) are "
        "left out; parameters that train",
        count,
        rule,
        install="calflops transformers",
    ),
)
