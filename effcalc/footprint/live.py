"""Measure the memory of a step that really runs: every allocation, by torch's profiler.

On CPU the profiler tells each allocation and each release between the operators that asked for
them. What is alive at the end of an operator is what a prediction says; what is alive within one
beyond that is scratch (oneDNN's reordered copies). On CUDA the allocator keeps the peak itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile, record_function

from effcalc.base.errors import InputError
from effcalc.footprint.step import StepSettings
from effcalc.models.build import build, recompute
from effcalc.models.count import explained
from effcalc.models.record import storage_of
from effcalc.models.trace import tensors_in
from effcalc.network.network import Network
from effcalc.network.ops import BY_TORCH
from effcalc.profiling.live.recording import quiet

_MARK = "effcalc: backward"


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes of one step; None where the device does not tell.

    `peak` is the most alive at the end of an operator (on CUDA the allocator's peak of bytes
    asked for), `within` the most at any time, `gradients_at_peak` those of parameters then,
    `before_backward` what is alive when the backward pass begins. `allocated` and `reserved` are
    CUDA's, in its allocator's blocks; `resident` is the process's peak, all of it.
    """

    params: int
    buffers: int
    optimizer: int
    inputs: int
    peak: int
    within: int | None
    gradients: int
    gradients_at_peak: int | None = None
    before_backward: int | None = None
    allocated: int | None = None
    reserved: int | None = None
    resident: int | None = None


def measure(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    step: StepSettings,
    name: str = "",
) -> Measured:
    """Run two steps of a module that is ours, and measure the second.

    `module` and inputs are on their device, in the format of `step.dtype`. Raises `RunError`
    where the model fails or memory runs out, `InputError` where its result is no logits.
    """
    first = next(module.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    runner = _Runner(module, args, kwargs, step, device)
    with explained(name or type(module).__name__, (args, kwargs), real=True):
        runner.run()
        return _on_cuda(runner) if device.type == "cuda" else _on_cpu(runner)


def built(
    network: Network, step: StepSettings
) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Build the module of a network that a block described, and images for it."""
    model = build(network)
    per: Any = step.checkpoint
    recompute(model, per)
    return model, (torch.rand(network.inputs[0].shape),), {}


class _Runner:
    """One step of a module: an inference, or forward, loss, backward and update."""

    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        step: StepSettings,
        device: torch.device,
    ) -> None:
        self.module, self.args, self.kwargs = module.train(step.train), args, kwargs
        self.step, self.device = step, device
        self.labels: torch.Tensor | None = None
        self.masters: list[tuple[nn.Parameter, nn.Parameter]] = []
        trained = [p for p in module.parameters() if p.requires_grad]
        if step.master:
            self.masters = [(p, nn.Parameter(p.detach().float())) for p in trained]
            trained = [copy for _, copy in self.masters]
        self.optimizer = _optimizer(step.optimizer, trained) if step.train else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision with bfloat16, where it is asked for."""
        amp = self.step.dtype == "amp"
        return torch.autocast(self.device.type, torch.bfloat16) if amp else nullcontext()

    def run(self, at_end: Callable[[], None] = lambda: None) -> None:
        """Run one step; `at_end` is called before the gradients go."""
        if self.optimizer is None:
            with torch.no_grad(), self.autocast():
                self.module(*self.args, **self.kwargs)
            return
        self._prepare()
        with self.autocast():
            loss = functional.cross_entropy(
                self.module(*self.args, **self.kwargs),
                self.labels,  # type: ignore[arg-type]
            )
        with record_function(_MARK):
            pass
        loss.backward()  # type: ignore[no-untyped-call]
        for p, copy in self.masters:
            copy.grad = None if p.grad is None else p.grad.float()
        self.optimizer.step()
        at_end()
        for p, copy in self.masters:
            p.data.copy_(copy.data)
            p.grad = None
        self.optimizer.zero_grad()

    def _prepare(self) -> None:
        """Make labels for the result's shape, once."""
        if self.labels is not None:
            return
        with torch.no_grad(), self.autocast():
            result = self.module(*self.args, **self.kwargs)
        if not isinstance(result, torch.Tensor) or result.dim() < 2:
            raise InputError("`verify`: the model's result is not one tensor of (batch, classes)")
        shape = (result.shape[0], *result.shape[2:])
        self.labels = torch.zeros(shape, dtype=torch.int64, device=self.device)

    def gradients(self) -> list[torch.Tensor]:
        """The gradients of the module's parameters that are there."""
        return [p.grad for p in self.module.parameters() if p.grad is not None]

    def held(self) -> dict[str, int]:
        """Bytes that are there before a step, by category; each storage once."""
        seen: set[int] = set()
        state = [] if self.optimizer is None else list(tensors_in(dict(self.optimizer.state)))
        groups: dict[str, list[Any]] = {
            "params": list(self.module.parameters()),
            "buffers": list(self.module.buffers()),
            "optimizer": [*state, *(copy for _, copy in self.masters)],
            "inputs": [*tensors_in((self.args, self.kwargs))]
            + ([] if self.labels is None else [self.labels]),
        }
        return {name: _total(tensors, seen) for name, tensors in groups.items()}


def _total(tensors: list[Any], seen: set[int]) -> int:
    total = 0
    for tensor in tensors:
        storage = storage_of(tensor)
        if storage is not None and storage._cdata not in seen:
            seen.add(storage._cdata)
            total += storage.nbytes()
    return total


def _optimizer(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if name in ("sgd", "momentum"):
        return torch.optim.SGD(parameters, 1e-3, momentum=0.9 if name == "momentum" else 0.0)
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(parameters, 1e-3)


def _resident() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- CPU ----------------------------------------------------------------------------------------


def _on_cpu(runner: _Runner) -> Measured:
    held = runner.held()
    gradients: dict[int, int] = {}

    def note() -> None:
        for gradient in runner.gradients():
            storage = gradient.untyped_storage()
            gradients[storage.data_ptr()] = storage.nbytes()

    quiet()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        runner.run(note)
    results: Any = profiler.profiler.kineto_results
    base = sum(held.values())
    account = _Account()
    for event in _in_order(results.experimental_event_tree()):
        account.follow(event)
    end = account.peak_at
    return Measured(
        **held,
        peak=base + account.peak,
        within=base + account.within,
        gradients=sum(gradients.values()),
        gradients_at_peak=sum(
            size for place, size in gradients.items() if account.last.get(place, end + 1) <= end
        ),
        before_backward=None if account.marked is None else base + account.marked,
        resident=_resident(),
    )


def _in_order(events: list[Any]) -> Iterator[Any]:
    """Yield the root events of the thread that ran the step, in time."""
    threads = [e.start_tid for e in events]
    main = max(set(threads), key=threads.count, default=0)
    yield from sorted((e for e in events if e.start_tid == main), key=lambda e: e.start_time_ns)


class _Account:
    """Follows allocations through the tree of what ran."""

    def __init__(self) -> None:
        self.alive = self.peak = self.within = 0
        self.marked: int | None = None
        self.peak_at = 0  # number of the allocation before the peak
        self.last: dict[int, int] = {}  # address -> number of the last allocation there
        self._count = 0

    def follow(self, event: Any, inside: bool = False) -> None:
        """Follow one event and what is in it; `inside` an operator that dispatches no further."""
        if event.name == "[memory]":
            size = event.extra_fields.alloc_size
            self.alive += size
            self._count += 1
            if size > 0:
                self.last[event.extra_fields.ptr] = self._count
            self.within = max(self.within, self.alive)
            return
        operator = not inside and _is_operator(event.name)
        for child in event.children:
            self.follow(child, inside or operator)
        if event.name == _MARK:
            self.marked = self.alive
        if operator and self.alive > self.peak:
            self.peak, self.peak_at = self.alive, self._count


@lru_cache(maxsize=4096)
def _is_operator(name: str) -> bool:
    """Whether a name is that of an operator that is not made of others below autograd."""
    if name not in BY_TORCH:
        return False
    space, _, word = name.partition("::")
    packet = getattr(getattr(torch.ops, space), word)
    for overload in packet.overloads():
        with suppress(RuntimeError):  # an overload of TorchScript's alone
            schema = getattr(packet, overload).name()
            has = torch._C._dispatch_has_kernel_for_dispatch_key
            return bool(has(schema, "CPU") or not has(schema, "CompositeImplicitAutograd"))
    return True


# --- CUDA ---------------------------------------------------------------------------------------


def _on_cuda(runner: _Runner) -> Measured:
    device = runner.device
    held = runner.held()
    gradients: list[int] = []
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_stats(device)["requested_bytes.all.current"]
    runner.run(lambda: gradients.append(_total(runner.gradients(), set())))
    torch.cuda.synchronize(device)
    stats = torch.cuda.memory_stats(device)
    # What the context itself keeps (cuBLAS's workspace) is there before the step.
    other = before - sum(held.values())
    return Measured(
        **held,
        peak=stats["requested_bytes.all.peak"] - other,
        within=None,
        gradients=sum(gradients),
        allocated=stats["allocated_bytes.all.peak"],
        reserved=stats["reserved_bytes.all.peak"],
        resident=_resident(),
    )
