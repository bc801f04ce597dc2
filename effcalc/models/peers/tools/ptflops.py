"""ptflops: hooks and patched functions ("pytorch"), or torch's dispatcher ("aten")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effcalc.models.peers.calls import GATES, Call
from effcalc.models.peers.record import Args, Kwargs, Peer, PeerCount

if TYPE_CHECKING:
    from torch import nn


def _count(backend: str, model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    import ptflops
    from torch import nn

    class Whole(nn.Module):
        """Holds the inputs too: without one of its own ptflops divides by no batch size.

        It takes one image otherwise, or keyword arguments, and divides what its hooks found.
        """

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> object:
            return self.model(*args, **kwargs)

    macs, params = ptflops.get_model_complexity_info(
        Whole(),
        (1,),
        input_constructor=lambda _: {},
        as_strings=False,
        print_per_layer_stat=False,
        backend=backend,
    )
    return PeerCount(macs, params)


def count_pytorch(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with the backend "pytorch", the default."""
    return _count("pytorch", model, args, kwargs)


def count_aten(model: nn.Module, args: Args, kwargs: Kwargs) -> PeerCount:
    """Count with the backend "aten"."""
    return _count("aten", model, args, kwargs)


# Classes with a hook, and the operator that the hook counts; one with a patched function too
# is counted twice.
ACTIVATIONS = {"ReLU": "relu", "ReLU6": "hardtanh", "ELU": "elu", "GELU": "gelu"}
ACTIVATIONS |= {"PReLU": "prelu", "LeakyReLU": "leaky_relu"}
POOLS = {
    f"{kind}Pool{n}d": op
    for n in (1, 2, 3)
    for kind, op in {
        "Max": "max_pool",
        "Avg": "avg_pool",
        "AdaptiveMax": "adaptive_max_pool",
        "AdaptiveAvg": "adaptive_avg_pool",
    }.items()
}
NORMS = {f"{k}{n}d" for k in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)}
NORMS |= {"GroupNorm", "LayerNorm"}
CONVOLUTIONS = {f"Conv{t}{n}d" for t in ("", "Transpose") for n in (1, 2, 3)}
# Operations for each unit and step beside the products, without biases; a gate has two.
RECURRENT = {"RNN": 1, "LSTM": 10, "GRU": 7}
PATCHED = {"relu", "prelu", "elu", "gelu", "silu", "softmax", "upsample"}
PATCHED |= {*POOLS.values()}
CALLERS = {*ACTIVATIONS, *POOLS, "SiLU", "Softmax", "Upsample"} - {"LeakyReLU", "ReLU6"}
ATTENTION = "timm.layers.attention.Attention"


def rule_pytorch(call: Call) -> int | tuple[int, ...]:
    """Count hooked modules of an exact class, and patched functions wherever they are called."""
    if call.kind == "MultiheadAttention":
        return _multi_head(call)
    if ATTENTION in (module.kind for module in call.within):
        return _timm_attention(call)
    hooked = _hooked(call) * call.module.times
    functions = _functions(call)
    return tuple(hooked + n for n in functions)


def _hooked(call: Call) -> int:
    op, kind = call.op, call.kind
    if (op == "conv" and kind in CONVOLUTIONS) or (op == "linear" and kind == "Linear"):
        return call.macs + call.bias
    if op == "linear" and (recurrent := kind.removesuffix("Cell")) in RECURRENT:
        biases = 2 * GATES[recurrent] if call.bias else 0
        return call.macs + call.units * (RECURRENT[recurrent] + biases)
    if op == "add" and kind == "Linear":  # the bias of what is not contiguous
        return call.outputs
    if ACTIVATIONS.get(kind) == op or (op == "mean" and kind.startswith("AdaptiveAvgPool")):
        return call.inputs
    if POOLS.get(kind) == op:
        return call.inputs
    if op in ("batch_norm", "layer_norm", "group_norm") and kind in NORMS:
        return call.inputs * (2 if call.affine and kind != "LayerNorm" else 1)
    if op == "upsample" and kind == "Upsample":  # of the first image alone
        return call.outputs // call.layer.outputs[0].shape[0]
    return 0


def _functions(call: Call) -> tuple[int, ...]:
    """What patched functions may count: an operator or a method may have been called instead."""
    op, kind = call.op, call.kind
    counted = call.outputs if op == "upsample" else call.inputs
    if op in PATCHED:
        return (counted,) if kind in CALLERS else (counted, 0)
    if op == "hardtanh" and kind != "ReLU6":  # F.relu6, or F.hardtanh as nn.ReLU6 calls it
        return (0, counted)
    if op == "mean":
        return (counted,) if kind.startswith("AdaptiveAvgPool") else (0, counted)
    if op in ("mm", "bmm"):
        return (0, call.macs)
    if op in ("addmm", "baddbmm"):
        return (call.macs + call.inputs, 0)
    if op in ("add", "mul") and kind != "Linear":
        return (0, call.outputs)
    return (0,)


def _multi_head(call: Call) -> int | tuple[int, ...]:
    """Projections with biases, the scaling of queries, scores and their softmax."""
    if call.op == "linear":  # the output projection stands for the scaling of queries
        square = len(set(call.layer.operands[1].shape)) == 1
        return call.macs + call.outputs * (2 if square else 1)
    if call.op in ("bmm", "baddbmm"):  # twice where torch.bmm is called, which is patched too
        return (call.macs, 2 * call.macs)
    if call.op == "softmax":
        return (call.outputs, 2 * call.outputs)
    return 0


def _timm_attention(call: Call) -> int | tuple[int, ...]:
    """Scores, their softmax and the scaling of queries; what is inside its children is nothing."""
    if call.kind == ATTENTION:
        if call.op == "bmm":
            return call.macs
        return (call.outputs, 2 * call.outputs) if call.op == "softmax" else 0
    if call.op == "linear":  # the projection to q, k, v stands for the scaling of q
        few, many = sorted(call.layer.operands[1].shape)
        return call.outputs // 3 if many == 3 * few else 0
    return 0


def rule_aten(call: Call) -> int | tuple[int, ...]:
    """Count four operators, with biases."""
    if call.op == "linear" and call.kind in GATES:
        # On CPU some are one operator, without a formula, and some add biases by themselves.
        return (call.macs + call.bias, call.macs, 0)
    if call.op in ("conv", "linear"):
        return call.macs + call.bias
    if call.op == "addmm":
        return call.macs + call.outputs
    if call.op == "bmm":  # on CPU attention is one operator, without a formula
        return (call.macs, 0)
    return call.macs if call.op == "mm" else 0


PEERS = (
    Peer(
        "ptflops",
        "ptflops",
        "MACs, biases among them, with results of activations, normalisation, pooling, softmax "
        "and functional add and mul added one for one; parameters that train",
        count_pytorch,
        rule_pytorch,
    ),
    Peer(
        "ptflops-aten",
        "ptflops",
        "MACs, biases of convolutions and linear layers among them; parameters that train",
        count_aten,
        rule_aten,
    ),
)
