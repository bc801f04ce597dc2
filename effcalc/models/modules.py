"""The modules that a built network is made of, beside torch's own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from effcalc.network.tree import ChildCall, ModuleNode


def resolve(path: str) -> Any:
    """Return the object that "package.module:name" or "package.module:Class.name" means."""
    module, _, names = path.partition(":")
    value: Any = importlib.import_module(module)
    for name in names.split("."):
        value = getattr(value, name)
    return value


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole samples in training (Huang et al. 2016, section 3).

    Each sample of (N, ...) is zeroed with probability `p`, the others are divided by 1 - p; at
    evaluation it is the identity.
    """

    def __init__(self, p: float) -> None:
        """Drop with probability `p`, from 0 to 1."""
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with whole samples zeroed."""
        if not self.training or self.p == 0:
            return x
        keep = 1 - self.p
        noise = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep)
        if keep > 0:
            noise = noise.div_(keep)
        return x * noise

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p:g}"


class Call(nn.Module):
    """A torch function as a module, so that every layer has a module of its own name."""

    def __init__(self, path: str, arguments: Mapping[str, Any], listed: bool) -> None:
        """Call the function at `path` with the inputs (`listed`: one list) and `arguments`."""
        super().__init__()
        self.path = path
        self.arguments = dict(arguments)
        self.listed = listed
        self.function = resolve(path)

    def forward(self, *values: Tensor) -> Tensor:
        """Return what the function makes of `values`."""
        if self.listed:
            return cast(Tensor, self.function(list(values), **self.arguments))
        return cast(Tensor, self.function(*values, **self.arguments))

    def extra_repr(self) -> str:
        """Return the call as one would write it."""
        name = self.path.partition(":")[2]
        return ", ".join((name, *(f"{key}={value!r}" for key, value in self.arguments.items())))


class Group(nn.Module):
    """The layers under one dotted prefix, called in order.

    It takes and returns tensors: those that its layers read from outside, in order of first use,
    and those that later layers read. Without gradients a tensor may instead come in a list of
    one, from which the group takes it: what calls it then keeps no reference (torch's own
    `__call__` holds its arguments until the call ends), and the memory is freed after its last
    use inside. With `recompute`, its activations are not saved for the backward pass but
    computed again (torch.utils.checkpoint).
    """

    def __init__(self, part: ModuleNode) -> None:
        """Run the steps of `part`; its children are to be added under their names."""
        super().__init__()
        self.recompute = False
        self._steps = part.steps
        self._slots = part.slots
        self._results = part.results

    def forward(self, *values: Tensor | list[Tensor]) -> Any:
        """Return the group's result, or a tuple of several."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._run, *values, use_reentrant=False)
        return self._run(*values)

    def _run(self, *values: Tensor | list[Tensor]) -> Any:
        # In a graph that torch traces, lifetimes are its compiler's business.
        hand_over = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        slots: list[Any] = [v.pop() if isinstance(v, list) else v for v in values]
        slots += [None] * (self._slots - len(slots))
        for step in self._steps:
            child = self._modules[step.child]
            assert child is not None
            boxed = hand_over and isinstance(child, Group)
            results = child(*_take(slots, step, boxed))
            if len(step.makes) == 1:
                slots[step.makes[0]] = results
            else:
                for slot, value in zip(step.makes, results, strict=True):
                    slots[slot] = value
            del results  # a name would keep alive what the next step frees
        if len(self._results) == 1:
            return slots[self._results[0]]
        return tuple(slots[i] for i in self._results)


def _take(slots: list[Any], step: ChildCall, boxed: bool) -> list[Any]:
    """Return a step's arguments, and empty the slots that nothing reads after it."""
    arguments = [[slots[i]] if boxed and i in step.last else slots[i] for i in step.reads]
    for i in step.last:
        slots[i] = None
    return arguments
