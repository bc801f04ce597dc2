"""Measure the memory of a step that really runs: every allocation, by torch's profiler.

On CPU the profiler records each allocation and each release between the operators that asked
for them. What is alive at the end of an operator is what a prediction says; what is alive within
one beyond that is scratch (oneDNN's reordered copies). On CUDA the allocator keeps the peak itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from effcalc.base.process import peak_rss
from effcalc.footprint.optimizer import OPTIMIZERS
from effcalc.footprint.step import StepSettings
from effcalc.models.build import build, recompute
from effcalc.models.count import explained
from effcalc.models.modules import resolve
from effcalc.models.record import storage_of
from effcalc.models.trace import tensors_in
from effcalc.network.network import Network
from effcalc.network.ops import BY_TORCH
from effcalc.profiling.live.recording import quiet
from effcalc.profiling.live.steps import Inputs, Runner, StepKind
from effcalc.profiling.records import BACKWARD


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes of one step; None where the device does not report it.

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
    runner = _runner(module, (args, dict(kwargs)), step)
    with explained(name or type(module).__name__, runner.inputs, real=True):
        runner()
        return _on_cuda(runner) if runner.device.type == "cuda" else _on_cpu(runner)


def built(
    network: Network, step: StepSettings
) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Build the module of a network that a block described, and images for it."""
    model = build(network)
    per: Any = step.checkpoint
    recompute(model, per)
    return model, (torch.rand(network.inputs[0].shape),), {}


def _runner(module: nn.Module, inputs: Inputs, step: StepSettings) -> Runner:
    first = next(module.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    kind = StepKind(
        train=step.train,
        autocast=torch.bfloat16 if step.dtype == "amp" else None,
        optimizer=partial(_optimizer, step.optimizer),
        master=step.master,
        logits_only=True,
        no_grad=torch.no_grad,
    )
    return Runner(module, module, inputs, device, kind)


def _gradients(runner: Runner) -> list[torch.Tensor]:
    return [p.grad for p in runner.owner.parameters() if p.grad is not None]


def _held(runner: Runner) -> dict[str, int]:
    """Bytes that are there before a step, by category; each storage once."""
    seen: set[int] = set()
    labels = [] if runner.labels is None else [runner.labels]
    groups = {
        "params": runner.owner.parameters(),
        "buffers": runner.owner.buffers(),
        "optimizer": runner.state(),
        "inputs": (*tensors_in(runner.inputs), *labels),
    }
    return {name: _total(tensors, seen) for name, tensors in groups.items()}


def _total(tensors: Iterable[torch.Tensor], seen: set[int]) -> int:
    total = 0
    for tensor in tensors:
        storage = storage_of(tensor)
        if storage is not None and storage._cdata not in seen:
            seen.add(storage._cdata)
            total += storage.nbytes()
    return total


def _optimizer(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    record = OPTIMIZERS[name]
    optimizer: torch.optim.Optimizer = resolve(record.torch)(parameters, **record.arguments)
    return optimizer


# --- CPU ----------------------------------------------------------------------------------------


def _on_cpu(runner: Runner) -> Measured:
    held = _held(runner)
    gradients: dict[int, int] = {}

    def note() -> None:
        for gradient in _gradients(runner):
            storage = gradient.untyped_storage()
            gradients[storage.data_ptr()] = storage.nbytes()

    quiet()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        runner(note)
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
        resident=peak_rss() or None,
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
        if event.name == BACKWARD:
            self.marked = self.alive
        operator = not inside and _is_operator(event.name)
        for child in event.children:
            self.follow(child, inside or operator)
        if operator and self.alive > self.peak:
            self.peak, self.peak_at = self.alive, self._count


@lru_cache(maxsize=4096)
def _is_operator(name: str) -> bool:
    """Whether a name is that of an operator that calls no others below autograd."""
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


def _on_cuda(runner: Runner) -> Measured:
    device = runner.device
    held = _held(runner)
    gradients: list[int] = []
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_stats(device)["requested_bytes.all.current"]
    runner(lambda: gradients.append(_total(_gradients(runner), set())))
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
        resident=peak_rss() or None,
    )
