"""When memory is alive: one account of storages for analytic and for traced networks.

A storage is alive from the layer that makes it to its last use, both included; the caller holds
the network's inputs throughout, as torch's caller does. Views and in-place results share their
source's storage. Repeated blocks are looked at once: each repeat has the same peak.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from effcalc.base.num import maximum
from effcalc.base.units import dtype_bytes
from effcalc.network.network import Network, Tensor


class Activations(NamedTuple):
    """Activation memory of one forward pass, in bytes.

    `outputs` sums what every operator allocates (results that are neither views nor in place);
    `peak` is the most that is alive at once, the input included.
    """

    outputs: int
    peak: int


def tensor_bytes(t: Tensor) -> int:
    """Bytes of a tensor's elements."""
    return t.numel * dtype_bytes(t.dtype)


def births(network: Network) -> list[list[tuple[int, int]]]:
    """For each call, the storages that it allocates with their bytes."""
    known = {t.storage for t in network.inputs}
    result: list[list[tuple[int, int]]] = []
    for call in network.calls:
        born = []
        for t in call.outputs:
            # A view of a constant that the module held before is not an activation.
            if call.memory == "new" and not t.param and t.storage not in known:
                known.add(t.storage)
                born.append((t.storage, network.storage_bytes.get(t.storage) or tensor_bytes(t)))
        result.append(born)
    return result


def last_uses(network: Network) -> dict[int, int]:
    """For each storage the number of its last use; what the network returns outlives all calls."""
    last: dict[int, int] = {}
    for index, call in enumerate(network.calls):
        for t in (*call.operands, *call.outputs):
            last[t.storage] = index
    last.update(network.deaths)
    for t in network.outputs:
        last[t.storage] = len(network.calls)
    return last


def allocated(network: Network) -> list[int]:
    """Activation bytes that each layer allocates, times its count."""
    return [
        sum(size for _, size in born) * call.count
        for call, born in zip(network.calls, births(network), strict=True)
    ]


def activations(network: Network) -> Activations:
    """Activation bytes of evaluating a network without gradients."""
    last = last_uses(network)
    alive: Any = sum(tensor_bytes(t) for t in network.inputs)
    peak: Any = alive
    outputs: Any = 0
    dying: dict[int, Any] = {}
    for index, (call, born) in enumerate(zip(network.calls, births(network), strict=True)):
        for storage, size in born:
            alive = alive + size
            outputs = outputs + size * call.count
            dying[last[storage]] = dying.get(last[storage], 0) + size
        peak = maximum(peak, alive)
        alive = alive - dying.get(index, 0)
    return Activations(outputs, peak)
