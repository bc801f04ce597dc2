"""An independent look at what torch runs: every operator call with its cost, and live memory.

Written from torch's operator schemas alone; it shares no code with effcalc.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

# One result per output element; the name that effcalc has for each.
ELEMENTWISE = {
    aten.relu_: "relu",
    aten.hardtanh_: "hardtanh",
    aten.silu_: "silu",
    aten.sigmoid: "sigmoid",
    aten.add: "add",
    aten.add_: "add",
    aten.mul: "mul",
    aten.div: "div",
    aten.pow: "pow",
    aten.mean: "mean",
    aten.avg_pool3d: "avg_pool",
    aten._adaptive_avg_pool2d: "adaptive_avg_pool",
    aten.max_pool2d_with_indices: "max_pool",
    aten.native_batch_norm: "batch_norm",
}
MOVES = {aten.cat: "cat", aten.constant_pad_nd: "pad"}
UNTOUCHED = {aten.empty}
VIEWS = {aten.view, aten.t, aten.squeeze, aten.unsqueeze}


class Row(NamedTuple):
    """One operator call: effcalc's name for it, its cost in elements, live bytes just after it."""

    op: str
    macs: int
    elementwise: int
    read: int
    written: int
    live: int


class Watch(TorchDispatchMode):
    """Collects a row for each operator call that is not a view."""

    def __init__(self, *held: torch.Tensor) -> None:
        # Of the tensors from before, `held` alone count as live memory.
        super().__init__()
        self.rows: list[Row] = []
        self._live = {
            StorageWeakRef(t.untyped_storage()): t.untyped_storage().nbytes() for t in held
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func.overloadpacket
        if packet in VIEWS:
            return out
        operands = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        results = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        if packet is aten.native_batch_norm:
            results = results[:1]  # the others are saved for a backward pass, or empty
        if not func._schema.is_mutable or packet is aten.native_batch_norm:
            for t in results:
                self._live[StorageWeakRef(t.untyped_storage())] = t.untyped_storage().nbytes()
        self._live = {ref: size for ref, size in self._live.items() if not ref.expired()}
        if packet in UNTOUCHED or results[0].dtype is torch.int64:  # a batch norm's step counter
            return out
        first = results[0].numel()
        macs = elementwise = 0
        if packet is aten.convolution:
            name, macs = "conv", first * math.prod(args[1].shape[1:])
        elif packet is aten.addmm:
            name, macs = "linear", first * args[1].shape[1]
        elif packet in MOVES:
            name = MOVES[packet]
        else:
            name, elementwise = ELEMENTWISE[packet], first  # KeyError: torch ran something else
        self.rows.append(
            Row(
                name,
                macs,
                elementwise,
                sum({id(t): t.numel() for t in operands}.values()),
                sum(t.numel() for t in results),
                sum(self._live.values()),
            )
        )
        return out
