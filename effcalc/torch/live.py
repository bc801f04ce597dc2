"""Watch live memory while torch runs: the distinct storages alive at every operator's end.

What a kernel uses inside itself (oneDNN's reordered copies, a workspace) is not a storage that any
operator returns; it is not seen here.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from effcalc.torch.record import storage_of


class Sample(NamedTuple):
    """Bytes alive when an operator ended: those of `known` categories, and all others."""

    op: str
    mark: str
    alive: int


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects a `Sample` for each operator that torch runs while it is the current mode.

    `held` names the tensors that are there before, by category; other tensors count from the
    operator that makes them. `mark` is written into the samples that follow.
    """

    def __init__(self, held: Mapping[str, Iterable[torch.Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.samples: list[Sample] = []
        self.mark = ""
        self.alive = 0
        self._spans: list[list[int]] = []  # bytes, first sample, sample after the last
        self._numbers: dict[int, int] = {}
        self._watched: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._held: dict[str, list[int]] = {}
        for name, tensors in held.items():
            self._held[name] = [n for t in tensors for n in self._see(t)]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator, and look at what is alive after it."""
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self._see(value)
        self.samples.append(Sample(func._schema.name, self.mark, self.alive))
        return result

    def _see(self, tensor: torch.Tensor) -> list[int]:
        """Note a tensor's storage; return its number if it is new and has bytes."""
        storage = storage_of(tensor)
        if storage is None or storage._cdata in self._numbers or not storage.nbytes():
            return []
        number = len(self._spans)
        self._numbers[storage._cdata] = number
        self._watched[number] = weakref.ref(storage, partial(self._died, storage._cdata, number))
        self._spans.append([storage.nbytes(), len(self.samples), -1])
        self.alive += storage.nbytes()
        return [number]

    def _died(self, address: int, number: int, _: object) -> None:
        del self._watched[number], self._numbers[address]
        self.alive -= self._spans[number][0]
        self._spans[number][2] = len(self.samples)
