"""Memory of a network by liveness: one engine for analytic and for traced networks.

A storage is alive from the layer that makes it to its last use, both included; the caller holds
the network's inputs throughout, as torch's caller does. Views and in-place results share their
source's storage. Repeated blocks are looked at once: each repeat has the same peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from effcalc.network import Network, Tensor
from effcalc.num import maximum
from effcalc.units import dtype_bytes


@dataclass(frozen=True, slots=True)
class Activations:
    """Activation memory of one forward pass, in bytes.

    `outputs` sums what every operator allocates (results that are neither views nor in place);
    `peak` is the most that is alive at once, the input included, during layer number `peak_layer`.
    """

    outputs: int
    peak: int
    peak_layer: int


def _bytes(t: Tensor) -> int:
    return t.numel * dtype_bytes(t.dtype)


def activations(network: Network) -> Activations:
    """Activation bytes of evaluating a network without gradients."""
    size: dict[int, Any] = {}
    for t in network.inputs:
        size[t.storage] = _bytes(t)
    held = set(size)
    last: dict[int, int] = {}
    born: list[list[int]] = [[] for _ in network.layers]
    outputs: Any = 0
    for index, layer in enumerate(network.layers):
        for t in layer.outputs:
            if t.param:
                continue
            if t.storage not in size:
                size[t.storage] = network.storage_bytes.get(t.storage, _bytes(t))
                born[index].append(t.storage)
                outputs = outputs + size[t.storage] * layer.count
            last[t.storage] = index
        for t in layer.operands:
            if not t.param:
                last[t.storage] = index
    end = len(network.layers)
    last.update(network.deaths)
    last.update({t.storage: end for t in network.outputs})
    dying: list[list[int]] = [[] for _ in range(end + 1)]
    for storage, index in last.items():
        if storage not in held:
            dying[index].append(storage)

    alive: Any = sum(size[s] for s in held)
    peak, peak_layer = alive, 0
    for index in range(end):
        alive = alive + sum(size[s] for s in born[index])
        if isinstance(alive, int) and isinstance(peak, int) and alive > peak:
            peak_layer = index
        peak = maximum(peak, alive)
        alive = alive - sum(size[s] for s in dying[index])
    return Activations(outputs, peak, peak_layer)
