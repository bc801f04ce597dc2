"""Run a graph that a file holds: operator calls in order, each in the module that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

Values = dict[str, Any]
"""What a graph has computed and still needs, by name."""


class GraphNode(NamedTuple):
    """One operator call: `run` reads and writes values, whose names are in `names`."""

    run: Callable[[Values], None]
    scope: str
    names: frozenset[str]


class Graph(nn.Module):
    """Runs steps one after the other; a value is dropped after the last step that names it.

    A step runs within a call of the module at its scope, a dotted path, so that whoever follows
    modules sees those that the graph was made from. Parameters belong to such modules too.
    """

    def __init__(self, place: torch.device) -> None:
        """Start without steps; `place` is the device of what the graph makes by itself."""
        super().__init__()
        self.place = place
        self.constants: dict[str, torch.Tensor] = {}
        self._inputs: Sequence[str] = ()
        self._held: dict[str, tuple[nn.Module, str]] = {}
        self._modules_at: dict[str, nn.Module] = {"": self}
        self._steps: list[tuple[GraphNode, nn.Module, list[str]]] = []
        self._finish: Callable[[Values], Sequence[Any]] = lambda values: ()

    def hold(self, name: str, path: str, tensor: torch.Tensor) -> None:
        """Register the value `name`, a parameter or a buffer, as the attribute at `path`."""
        owner, _, attribute = path.rpartition(".")
        module = self._module(owner)
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(attribute, tensor)
        else:
            module.register_buffer(attribute, tensor)
        self._held[name] = (module, attribute)

    def plan(
        self,
        inputs: Sequence[str],
        steps: Iterable[GraphNode],
        outputs: Iterable[str],
        finish: Callable[[Values], Sequence[Any]],
    ) -> None:
        """Set the names of the inputs, the steps, and what makes the results of `outputs`."""
        self._inputs, self._finish = inputs, finish
        needed = set(outputs)
        planned = []
        for step in reversed(list(steps)):
            planned.append((step, self._module(step.scope), sorted(step.names - needed)))
            needed |= step.names
        self._steps = planned[::-1]

    def forward(self, *args: torch.Tensor) -> Any:
        """Run the graph on tensors, in the order of its inputs; a single result is by itself."""
        values: Values = {name: getattr(*at) for name, at in self._held.items()}
        values |= self.constants
        values |= dict(zip(self._inputs, args, strict=True))
        for step, scope, done in self._steps:
            if scope is self:
                step.run(values)
            else:
                scope(partial(step.run, values))
            for name in done:
                values.pop(name, None)
        results = self._finish(values)
        return results[0] if len(results) == 1 else results

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Move what is no parameter too: constants, and where the graph makes tensors."""
        self.constants = {name: fn(tensor) for name, tensor in self.constants.items()}
        self.place = fn(torch.empty(0, device=self.place)).device
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _module(self, path: str) -> nn.Module:
        """Return the module at a path, made where it is missing."""
        if path not in self._modules_at:
            owner, _, name = path.rpartition(".")
            # What a path's text holds need not be the name of an attribute.
            child = _Scope()
            self._module(owner)._modules[name] = child
            self._modules_at[path] = child
        return self._modules_at[path]


class _Scope(nn.Module):
    """Stands where a module was, and runs what was run in it."""

    def forward(self, run: Callable[[], None]) -> None:
        run()


def placeholder(shape: Sequence[int], dtype: torch.dtype, place: torch.device) -> torch.Tensor:
    """Return a tensor of small values for weights that are not read: 0.01, or 0 of integers."""
    tensor = torch.zeros(tuple(shape), dtype=dtype, device=place)
    return tensor.fill_(0.01) if tensor.is_floating_point() else tensor
