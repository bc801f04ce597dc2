"""A network as a training strategy sees it: parameters, and when their gradients are ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from effcalc.base.errors import InputError
from effcalc.base.units import dtype_bytes
from effcalc.network import ops
from effcalc.network.network import Network, OperatorCall, Param, unroll

FORWARD = 1 / 3
"""Share of a step's compute that the forward pass is: the backward does twice its FLOPs."""

MAX_LAYERS = 200_000


class Unit(NamedTuple):
    """A module that is sharded as one: its parameters, and the share of MACs before and in it."""

    name: str
    params: tuple[Param, ...]
    before: float
    share: float


@dataclass(frozen=True, eq=False)  # itself a key of what is computed once for it
class Model:
    """A network as training sees it.

    `params` and `buffers` are in the order in which torch registers them. `ready` is the order
    in which a backward pass finishes gradients, with the share of the pass's FLOPs done by then.
    `layers` are single operator calls in order, and `macs` those of each.
    """

    name: str
    params: tuple[Param, ...]
    buffers: tuple[Param, ...]
    ready: tuple[tuple[Param, float], ...]
    layers: tuple[OperatorCall, ...]
    macs: tuple[int, ...]
    inputs: frozenset[int]

    def param_bytes(self, dtype: str | None = None) -> int:
        """Bytes of the parameters, in their own dtype or another."""
        return size_of(self.params, dtype)

    def forward_macs(self) -> int:
        """Multiply-accumulates of one image's forward pass."""
        return sum(self.macs)


def size_of(params: Sequence[Param], dtype: str | None = None) -> int:
    """Bytes of some parameters, in their own dtype or another."""
    return sum(p.numel * dtype_bytes(dtype or p.dtype) for p in params)


def training_model(network: Network) -> Model:
    """Describe a network as training sees it; raises `InputError` for one without parameters.

    Autograd runs the last operator first (its queue is by the order of the forward pass), so
    gradients come in the reverse order of layers; a linear layer's bias comes before its weight,
    whose gradient is transposed once more. FLOPs of a layer's backward are twice its forward's.
    """
    calls = sum(layer.count for layer in network.calls)
    if calls > MAX_LAYERS:
        raise InputError(
            f"{network.name} has {calls:,} operator calls; communication is predicted for up to "
            f"{MAX_LAYERS:,}"
        )
    layers = unroll(network).calls
    macs = tuple(ops.macs(layer) for layer in layers)
    seen: dict[str, Param] = {}
    for layer in layers:
        for p in layer.params:
            seen.setdefault(p.key, p)
    params = tuple(p for p in seen.values() if not p.buffer and p.trainable)
    if not params:
        raise InputError(f"{network.name} has no parameters to train")
    ready: dict[str, tuple[Param, float]] = {}
    work = _shares(macs)
    for at in range(len(layers) - 1, -1, -1):
        own = [p for p in layers[at].params if not p.buffer and p.trainable]
        if layers[at].op == "linear":
            own.reverse()
        for p in own:
            # A shared parameter's gradient is whole after its first user's backward.
            ready.pop(p.key, None)
            ready[p.key] = (p, 1 - work[at])
    return Model(
        network.name,
        params,
        tuple(p for p in seen.values() if p.buffer),
        tuple(ready.values()),
        layers,
        macs,
        frozenset(t.storage for t in network.inputs),
    )


def _shares(macs: Sequence[int]) -> list[float]:
    """Share of the MACs before each layer, and 1.0 at the end; of the layers where no MACs are."""
    weights = macs if any(macs) else [1] * len(macs)
    done = [0, *accumulate(weights)]
    return [value / done[-1] for value in done]


UNITS = ("stage", "block", "all")


@lru_cache(maxsize=8)
def units(model: Model, per: str) -> tuple[Unit, ...]:
    """Group the layers into the modules that are sharded as one: by stage, by block, or all.

    Modules without parameters take part in none.
    """
    work = _shares(model.macs)
    groups: dict[str, list[int]] = {}
    for at, layer in enumerate(model.layers):
        name = {"stage": layer.stage, "block": layer.block, "all": model.name}[per]
        groups.setdefault(name, []).append(at)
    seen: set[str] = set()
    result = []
    for name, places in groups.items():
        params = []
        for at in places:
            for p in model.layers[at].params:
                if not p.buffer and p.trainable and p.key not in seen:
                    seen.add(p.key)
                    params.append(p)
        if params:
            first, last = places[0], places[-1] + 1
            result.append(Unit(name, tuple(params), work[first], work[last] - work[first]))
    return tuple(result)
