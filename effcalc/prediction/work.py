"""What each operator call of a network asks of a device: arithmetic, and elements moved.

Calls fall into classes of which each has its own share of a device's peak (`model.py`). The
network is one of a batch of `b` images; calls that the images do not reach (a weight that is
standardised, a table of relative positions) stay as they are when the batch grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Literal, NamedTuple, TypeAlias

from effcalc.network import ops
from effcalc.network.network import Network, OperatorCall

Class: TypeAlias = Literal[
    "conv",
    "conv_1x1",
    "conv_grouped",
    "conv_depthwise",
    "conv_stem",
    "linear",
    "product",
    "batch_norm",
    "layer_norm",
    "group_norm",
    "softmax",
    "activation",
    "elementwise",
    "copy",
    "pool",
    "reduction",
    "other",
]
"""A dense convolution of k > 1, and of k = 1; grouped, depthwise, and the first one; and so on."""

CLASSES: tuple[Class, ...] = Class.__args__  # type: ignore[attr-defined]
PRODUCTS = frozenset(CLASSES[:7])
"""The classes whose work is multiply-accumulates."""

_ACTIVATIONS = frozenset(
    [
        "relu",
        "silu",
        "gelu",
        "hardtanh",
        "hardswish",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "hardsigmoid",
        "elu",
        "mish",
        "softplus",
        "prelu",
        "celu",
        "selu",
        "relu6",
        "log_sigmoid",
        "hardshrink",
        "softshrink",
        "threshold",
    ]
)
_REDUCTIONS = frozenset(
    [
        "mean",
        "sum",
        "var",
        "var_mean",
        "std",
        "norm",
        "amax",
        "amin",
        "max",
        "min",
        "argmax",
        "argmin",
        "topk",
        "sort",
        "cumsum",
        "prod",
        "any",
        "all",
        "logsumexp",
    ]
)
_NORMS: dict[str, Class] = {
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "rms_norm": "layer_norm",
    "group_norm": "group_norm",
    "softmax": "softmax",
    "log_softmax": "softmax",
}
_COPIES = frozenset(
    ["upsample", "im2col", "col2im", "roll", "flip", "repeat", "constant_pad", "pad"]
)
_STEM_CHANNELS = 4  # images have at most so many channels


class Work(NamedTuple):
    """One operator call, `repeats` times over: elements, not bytes, since a dtype comes late.

    `inputs` and `outputs` are elements read and written that grow with the batch, `weights` those
    read that do not. `fixed`: the call does not depend on the network's inputs. `attention`: it is
    one of the calls that a fused attention makes one of. `channels` is the lesser of a
    convolution's channels in and out, `misaligned` whether one of them is no multiple of 8.
    """

    name: str
    kind: Class
    repeats: int
    macs: float
    inputs: float
    weights: float
    outputs: float
    fixed: bool = False
    attention: bool = False
    channels: int = 0
    misaligned: bool = False


def works(network: Network) -> list[Work]:
    """Return what the calls of a network ask of a device; views and empty memory ask nothing."""
    calls = [call for call in network.calls if _moves(call)]
    fused = _attention(calls)
    reached = _reached(network)
    return [_work(call, reached, place in fused) for place, call in enumerate(calls)]


def _moves(call: OperatorCall) -> bool:
    return call.memory != "view" and call.op not in ("view", "empty", "unused", "query", "resize")


def _reached(network: Network) -> set[int]:
    """Storages that the network's inputs reach; all of them where it says no inputs."""
    reached = {t.storage for t in network.inputs}
    if not reached:
        return {t.storage for call in network.calls for t in call.outputs}
    for call in network.calls:
        if any(t.storage in reached for t in call.operands if not t.param):
            reached.update(t.storage for t in call.outputs)
    return reached


def _attention(calls: Sequence[OperatorCall]) -> set[int]:
    """Places of the calls that a fused kernel runs as one: torch's scaled_dot_product_attention.

    Where it is traced on tensors without memory, it runs as the products, the softmax and the
    masks that it stands for, and is known by its scaling: queries and keys each times √scale.
    """
    places: set[int] = set()
    moving = [place for place, call in enumerate(calls) if classify(call) != "copy"]
    ops = [calls[place].op for place in moving]
    for k, op in enumerate(ops):
        if op not in ("softmax", "_safe_softmax"):
            continue
        first = k - 1
        while first >= 0 and ops[first] == "add":  # masks and biases
            first -= 1
        start = first - 2
        if (
            start >= 0
            and ops[start : first + 1] == ["mul", "mul", "bmm"]
            and ops[k + 1 : k + 2] == ["bmm"]
        ):
            places.update(range(moving[start], moving[k + 1] + 1))
    return places


def _work(call: OperatorCall, reached: Set[int], attention: bool) -> Work:
    kind = classify(call)
    inputs = sum(t.numel for t in call.operands if t.storage in reached and not t.param)
    channels = _channels(call)
    aligned = all(c % 8 == 0 for c in channels) or kind in ("conv_depthwise", "conv_stem")
    return Work(
        name=call.name,
        kind=kind,
        repeats=call.count,
        macs=ops.macs(call),
        inputs=inputs,
        weights=sum(t.numel for t in call.operands) - inputs,
        outputs=call.outputs[0].numel if call.outputs else 0,
        fixed=all(t.storage not in reached for t in call.outputs),
        attention=attention,
        channels=min(channels, default=0),
        misaligned=not aligned,
    )


def _channels(call: OperatorCall) -> tuple[int, ...]:
    """Channels in and out of a convolution or a linear layer, of one group."""
    if call.op == "conv":
        groups = int(call.attrs.get("groups", 1))
        return call.operands[0].shape[1] // groups, call.outputs[0].shape[1] // groups
    if call.op in ("linear", "addmm", "mm") and call.operands[0].shape:
        return call.operands[0].shape[-1], call.outputs[0].shape[-1]
    return ()


def classify(call: OperatorCall) -> Class:
    """Return the class of an operator call."""
    if call.op == "conv":
        return _convolution(call)
    if call.op in ("linear", "addmm", "mm"):
        return "linear"
    if call.op in _NORMS:
        return _NORMS[call.op]
    if call.op in _ACTIVATIONS:
        return "activation"
    if call.op in _REDUCTIONS:
        return "reduction"
    if "pool" in call.op:
        return "pool"
    record = ops.OPS.get(call.op)
    if record is None:
        return "other"
    if ops.macs(call):
        return "product"
    return "copy" if record.free or call.op in _COPIES else "elementwise"


def _convolution(call: OperatorCall) -> Class:
    channels, groups = call.operands[0].shape[1], int(call.attrs.get("groups", 1))
    if groups > 1:
        return "conv_depthwise" if groups == channels else "conv_grouped"
    if channels <= _STEM_CHANNELS:
        return "conv_stem"
    return "conv_1x1" if all(k == 1 for k in call.operands[1].shape[2:]) else "conv"


def grown(works: Sequence[Work], times: float) -> Iterator[Work]:
    """Yield the works of a batch `times` as large."""
    for work in works:
        if work.fixed or times == 1:
            yield work
        else:
            yield work._replace(
                macs=work.macs * times,
                inputs=work.inputs * times,
                outputs=work.outputs * times,
            )
