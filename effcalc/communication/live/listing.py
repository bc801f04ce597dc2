"""Which collectives torch runs: seen at the dispatcher, and in its flight recorder.

Both give a list of `Listed`; one that neither knows stands with torch's own name, so that nothing
is left out in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Listed(NamedTuple):
    """A collective as it ran: S in bytes as in `core.py`, bytes of an element, root."""

    op: str
    size: int
    element: int
    root: int = 0


def _bytes(value: Any) -> int:
    tensors = [t for t in tree_leaves(value) if isinstance(t, Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors)


# Operators of c10d: what each is, the argument whose bytes are S (of one rank for a gather and a
# scatter, whose other side only the root has), and that of the root.
_OPS: dict[str, tuple[str, int, int | None]] = {
    "allreduce_": ("all_reduce", 0, None),
    "allreduce_coalesced_": ("all_reduce", 0, None),
    "broadcast_": ("broadcast", 0, 2),
    "reduce_": ("reduce", 0, 3),
    "allgather_": ("all_gather", 0, None),
    "_allgather_base_": ("all_gather", 0, None),
    "allgather_into_tensor_coalesced_": ("all_gather", 0, None),
    "_reduce_scatter_base_": ("reduce_scatter", 1, None),
    "reduce_scatter_tensor_coalesced_": ("reduce_scatter", 1, None),
    "alltoall_": ("all_to_all", 1, None),
    "alltoall_base_": ("all_to_all", 1, None),
    "gather_": ("gather", 1, 3),
    "scatter_": ("scatter", 0, 3),
    "barrier": ("barrier", -1, None),
}


class Listing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is active, every operator of c10d that runs is appended to `collectives`."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.collectives: list[Listed] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace == "c10d":
            self.collectives.append(_listed(func.overloadpacket.__name__, args))
        return func(*args, **(kwargs or {}))


def _listed(name: str, args: tuple[Any, ...]) -> Listed:
    op, at, root = _OPS.get(name, (name, 0, None))
    value = args[at] if at >= 0 else ()
    ranks = torch.distributed.get_world_size() if op in ("gather", "scatter") else 1
    first = next((t for t in tree_leaves(args) if isinstance(t, Tensor)), None)
    element = first.element_size() if first is not None and at >= 0 else 1
    return Listed(op, _bytes(value) * ranks, element, args[root] if root is not None else 0)


# --- the flight recorder -----------------------------------------------------------------------

_RECORDED = {"_all_gather_base": "all_gather", "_reduce_scatter_base": "reduce_scatter"}
_DTYPES = {
    "Float": 4,
    "Double": 8,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
}


def recorder() -> Callable[[], list[Listed]]:
    """Return what reads the flight recorder's entries since it was last called.

    TORCH_FR_BUFFER_SIZE must have been set before the process group is created.
    """
    seen = 0

    def news() -> list[Listed]:
        nonlocal seen
        dump = torch._C._distributed_c10d._dump_fr_trace_json()  # type: ignore[attr-defined]
        entries = json.loads(dump).get("entries", [])
        new = [entry for entry in entries if entry["record_id"] >= seen]
        seen = max((entry["record_id"] + 1 for entry in entries), default=seen)
        return recorded(new)

    return news


def recorded(entries: Sequence[Mapping[str, Any]]) -> list[Listed]:
    """Read entries of a flight recorder's JSON, of gloo or of NCCL; roots are not in it.

    S is the larger of inputs and outputs: an all-gather's output, a reduce-scatter's input.
    """
    result = []
    for entry in entries:
        name = entry["profiling_name"].partition(":")[2]
        sides = [
            sum(
                _elements(shape) * _DTYPES.get(dtype, 1)
                for shape, dtype in zip(entry[sizes], entry[dtypes], strict=False)
            )
            for sizes, dtypes in (
                ("input_sizes", "input_dtypes"),
                ("output_sizes", "output_dtypes"),
            )
        ]
        element = _DTYPES.get(next(iter(entry["input_dtypes"]), ""), 1)
        result.append(Listed(_RECORDED.get(name, name), max(sides), element))
    return result


def _elements(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
