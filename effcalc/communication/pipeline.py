"""Cutting a network into pipeline stages that are balanced by cost.

GPipe (Huang et al. 2019, section 2.2) places cuts so that the estimated costs of the stages vary
least. Here the largest stage's MACs are the least that any cuts allow, and of the cuts that allow
it those are taken over which the fewest bytes pass.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import NamedTuple

from effcalc.base.errors import InputError
from effcalc.base.units import dtype_bytes
from effcalc.communication.model import Model


class PipelineStage(NamedTuple):
    """Consecutive layers: where they end, their MACs for one image, and what leaves them.

    `cut_bytes` are those of one image's activations that later stages read, 0 for the last.
    """

    first: str
    last: str
    layers: int
    macs: int
    cut_bytes: int


def crossing(model: Model, dtype: str) -> list[int]:
    """Bytes alive between layer i − 1 and layer i, for each i: what a cut there has to send.

    A value counts once with all its views; the images do not count, since each worker can read
    them. `dtype` is what floating-point activations are sent as.
    """
    born: dict[int, tuple[int, int]] = {}
    last: dict[int, int] = {}
    for at, layer in enumerate(model.layers):
        for t in layer.inputs:
            last[t.storage] = at
        for t in layer.outputs:
            if t.storage not in born and t.storage not in model.inputs:
                size = dtype_bytes(dtype) if t.dtype.startswith(("float", "bfloat")) else 0
                born[t.storage] = (at, t.numel * (size or dtype_bytes(t.dtype)))
    change = [0] * (len(model.layers) + 1)
    for storage, (at, size) in born.items():
        if last.get(storage, at) > at:
            change[at + 1] += size
            change[last[storage] + 1] -= size
    return list(accumulate(change))


def cut(model: Model, stages: int, dtype: str) -> tuple[PipelineStage, ...]:
    """Cut a network into `stages` stages; raises `InputError` for more than it has layers."""
    count = len(model.layers)
    if stages > count:
        raise InputError(
            f"`workers`: {stages:,} pipeline stages are more than the {count:,} layers of "
            f"{model.name}; give at most {count:,}"
        )
    done = [0, *accumulate(model.macs)]
    bytes_at = crossing(model, dtype)
    ends = _ends(done, bytes_at, stages, _bottleneck(model.macs, stages))
    starts = [0, *ends[:-1]]
    return tuple(
        PipelineStage(
            model.layers[a].name,
            model.layers[b - 1].name,
            b - a,
            done[b] - done[a],
            bytes_at[b] if b < count else 0,
        )
        for a, b in zip(starts, ends, strict=True)
    )


def _bottleneck(costs: tuple[int, ...], stages: int) -> int:
    """The least cost of the largest of `stages` runs of layers, by bisection."""
    low, high = max(costs), sum(costs)
    while low < high:
        middle = (low + high) // 2
        runs, run = 1, 0
        for cost in costs:
            if run + cost > middle:
                runs, run = runs + 1, 0
            run += cost
        low, high = (low, middle) if runs <= stages else (middle + 1, high)
    return low


def _ends(done: list[int], bytes_at: list[int], stages: int, most: int) -> list[int]:
    """Where stages end so that none costs over `most` and the fewest bytes cross the cuts.

    best[j] is the fewest bytes for stages that end before layer j; for each further stage the
    start must be in a window that moves with j, whose least element a queue keeps.
    """
    count = len(done) - 1
    none = float("inf")
    best: list[float] = [0.0] + [none] * count
    before: list[list[int]] = []
    for stage in range(stages):
        following: list[float] = [none] * (count + 1)
        origin = [0] * (count + 1)
        window: deque[int] = deque()
        for j in range(1, count + 1):
            while window and best[window[-1]] > best[j - 1]:
                window.pop()
            window.append(j - 1)
            while done[j] - done[window[0]] > most:
                window.popleft()
            last = stage == stages - 1
            following[j] = best[window[0]] + (0 if last else bytes_at[j])
            origin[j] = window[0]
        before.append(origin)
        best = following
    ends = [count]
    for origin in reversed(before[1:]):
        ends.append(origin[ends[-1]])
    return ends[::-1]
