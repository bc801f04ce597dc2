"""The buckets in which torch's DistributedDataParallel averages gradients.

Li et al. 2020 (PyTorch Distributed), sections 3.2.2 and 4.2, as torch 2.14.1 does it: the first
step has one bucket for all, since nothing is known yet; after it buckets are rebuilt in the order
in which gradients came, closed as they reach 1 MiB (the first) or 25 MiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from effcalc.base.units import dtype_bytes
from effcalc.communication.model import Model, size_of
from effcalc.network.network import Param

MIB = 1 << 20
FIRST_BUCKET = 1 * MIB
BUCKET = 25 * MIB
BROADCAST_BUCKET = 250 * MIB


class Bucket(NamedTuple):
    """Parameters whose gradients go together, and the share of the backward done by then."""

    params: tuple[Param, ...]
    ready: float


def assigned(sizes: Sequence[tuple[str, int]], limits: Sequence[int]) -> list[list[int]]:
    """Group tensors of (dtype, bytes), in order, into buckets of one dtype each.

    A bucket is closed as soon as its bytes reach its limit; the limits are those of the first,
    second, ... bucket of a dtype, the last one for all further ones. Buckets that were not closed
    come last. Returns the indices of the tensors.
    """
    closed: list[list[int]] = []
    open_: dict[str, list[int]] = {}
    filled: dict[str, int] = {}
    used: dict[str, int] = {}
    for index, (dtype, size) in enumerate(sizes):
        open_.setdefault(dtype, []).append(index)
        filled[dtype] = filled.get(dtype, 0) + size
        if filled[dtype] >= limits[min(used.get(dtype, 0), len(limits) - 1)]:
            closed.append(open_.pop(dtype))
            used[dtype] = used.get(dtype, 0) + 1
            filled[dtype] = 0
    return closed + list(open_.values())


@lru_cache(maxsize=16)
def coalesced(tensors: tuple[Param, ...]) -> tuple[tuple[int, int], ...]:
    """The broadcasts that send some tensors: (bytes, bytes of an element) for each.

    Tensors of one dtype go together, up to 250 MiB; broadcasts are in the order of their first
    tensor.
    """
    sizes = [(p.dtype, size_of([p])) for p in tensors]
    groups = sorted(assigned(sizes, [BROADCAST_BUCKET]), key=min)
    return tuple((sum(sizes[i][1] for i in g), dtype_bytes(sizes[g[0]][0])) for g in groups)


@lru_cache(maxsize=8)
def rebuilt(model: Model) -> tuple[Bucket, ...]:
    """The buckets of every step but the first."""
    sizes = [(p.dtype, size_of([p])) for p, _ in model.ready]
    groups = assigned(sizes, [FIRST_BUCKET, BUCKET])
    return tuple(
        Bucket(tuple(model.ready[i][0] for i in g), max(model.ready[i][1] for i in g))
        for g in groups
    )


@lru_cache(maxsize=8)
def first(model: Model) -> tuple[Bucket, ...]:
    """The bucket of the first step: everything of a dtype, ready when the last gradient is."""
    groups: dict[str, list[Param]] = {}
    for p in model.params:
        groups.setdefault(p.dtype, []).append(p)
    return tuple(Bucket(tuple(group), 1.0) for group in groups.values())
