"""An independent look at a training step: the storages alive at the end of every operator.

It knows torch's storages alone, and shares no code with effcalc.
"""

from __future__ import annotations

import contextlib
import weakref
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Alive(TorchDispatchMode):
    """Collects (phase, operator, bytes alive); `held` are the tensors that are there before."""

    def __init__(self, held: list[torch.Tensor]) -> None:
        super().__init__()
        self.samples: list[tuple[str, str, int]] = []
        self.phase = "forward"
        self.bytes = 0
        self._known: dict[int, weakref.ref[Any]] = {}
        for tensor in held:
            self._see(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self._see(value)
        self.samples.append((self.phase, func._schema.name, self.bytes))
        return result

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            size = storage.nbytes()
            self._known[storage._cdata] = weakref.ref(
                storage, partial(self._gone, storage._cdata, size)
            )
            self.bytes += size

    def _gone(self, address: int, size: int, _: Any) -> None:
        del self._known[address]
        self.bytes -= size

    @property
    def peak(self) -> int:
        """The most bytes alive at the end of an operator."""
        return max(size for _, _, size in self.samples)


def optimizer_of(name: str, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that effcalc calls by this name."""
    if name in ("sgd", "momentum"):
        return torch.optim.SGD(
            model.parameters(), 0.01, momentum=0.9 if name == "momentum" else 0, foreach=False
        )
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(model.parameters(), foreach=False)


def trained(
    model: nn.Module, shape: tuple[int, ...], *, optimizer: str, amp: bool = False
) -> Alive:
    """Watch a training step, the second one: the optimizer's state is there. Any device."""
    device = next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    torch.manual_seed(0)
    x = torch.randn(*shape, device=device, dtype=dtype)
    labels = torch.zeros(shape[0], dtype=torch.int64, device=device)
    update = optimizer_of(optimizer, model.train())

    def step(watch: Alive | None = None) -> None:
        with torch.autocast("cpu", torch.bfloat16) if amp else contextlib.nullcontext():
            loss = functional.cross_entropy(model(x), labels)
        if watch:
            watch.phase = "backward"
        loss.backward()
        if watch:
            watch.phase = "optimizer"
        update.step()
        update.zero_grad()

    step()
    state = [t for s in update.state.values() for t in s.values() if isinstance(t, torch.Tensor)]
    watch = Alive([*model.parameters(), *model.buffers(), *state, x, labels])
    with watch:
        step(watch)
    return watch


def inferred(model: nn.Module, shape: tuple[int, ...], *, amp: bool = False) -> Alive:
    """Watch an inference without gradients."""
    first = next(model.parameters())
    x = torch.randn(*shape, device=first.device, dtype=first.dtype)
    watch = Alive([*model.eval().parameters(), *model.buffers(), x])
    with (
        torch.no_grad(),
        watch,
        torch.autocast("cpu", torch.bfloat16) if amp else contextlib.nullcontext(),
    ):
        model(x)
    return watch
