"""Run steps under torch's profiler, with a range for each module, and read what it recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from effcalc.models.calls import module_calls
from effcalc.profiling.records import LAYER, OUTSIDE, STEP, Event, Mark, Owner

_KINDS = {
    "cuda_runtime": "launch",
    "cuda_driver": "launch",
    "xpu_runtime": "launch",
    "kernel": "device",
    "gpu_memcpy": "device",
    "gpu_memset": "device",
    "cpu_op": "op",
    "user_annotation": "range",
}
"""What each of Kineto's kinds of activity is to us; others are its own bookkeeping."""


def span(name: str) -> AbstractContextManager[None]:
    """Open a range that the profiler records; next to free while none runs."""
    range_: AbstractContextManager[None] = torch._C._profiler._RecordFunctionFast(name)
    return range_


class Marks:
    """Notes which module runs from which of autograd's sequence numbers on (see events.py)."""

    def __init__(self) -> None:
        """Start with none."""
        self.marks: list[Mark] = []

    def note(self, owner: Owner) -> None:
        """From here on nodes of the graph belong to `owner`."""
        if torch.is_grad_enabled():
            self.marks.append(Mark(torch._C._autograd._get_sequence_nr(), owner))


@contextmanager
def module_ranges(module: nn.Module, marks: Marks) -> Iterator[None]:
    """Open a range around each call of a module of `module`, while the block runs.

    A module that is registered nowhere belongs to the one that calls it.
    """
    paths = {id(m): path for path, m in module.named_modules()}
    stack = [OUTSIDE]

    def call(
        original: Callable[..., Any],
        called: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        path = paths.get(id(called))
        if path is None:
            return original(called, *args, **kwargs)
        stack.append(Owner("layer", path))
        marks.note(stack[-1])
        try:
            with span(f"{LAYER}::{path}"):
                return original(called, *args, **kwargs)
        finally:
            stack.pop()
            marks.note(stack[-1])

    with module_calls(call):
        yield


def quiet() -> None:
    """Keep torch's profiler, which greets and misses GPUs, from writing on stderr."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def record(
    step: Callable[[], None],
    before: Callable[[], None],
    steps: int,
    device: torch.device,
    trace: str | None = None,
) -> list[Event]:
    """Run `step` several times under the profiler, each after `before`, which is not recorded as
    part of it; write the trace for Chrome or Perfetto to the file `trace` too.
    """
    quiet()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    elif device.type == "xpu":
        activities.append(torch.profiler.ProfilerActivity.XPU)
    synchronize = synchronizer(device)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(steps):
            before()
            synchronize()
            with span(STEP):
                step()
                synchronize()
    if trace is not None:
        profiler.export_chrome_trace(trace)
    assert profiler.profiler is not None
    results: Any = profiler.profiler.kineto_results
    return list(read_events(results.events()))


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Return what waits for all work on a device; nothing on a CPU."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "xpu":
        return lambda: torch.xpu.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def read_events(recorded: Iterable[Any]) -> Iterator[Event]:
    """Read Kineto's events; those of no use here (overhead, annotations on the GPU) are dropped."""
    for event in recorded:
        kind = _KINDS.get(event.activity_type())
        name = event.name()
        if kind is None:
            continue
        if kind in ("op", "range"):
            kind = "range" if name.startswith("effcalc::") else "op"
        start = event.start_ns()
        if kind == "device":
            yield Event(
                name, "device", start, start + event.duration_ns(), event.device_resource_id(),
                event.correlation_id(), event.linked_correlation_id(),
            )  # fmt: skip
            continue
        yield Event(
            name,
            kind,  # type: ignore[arg-type]
            start,
            start + event.duration_ns(),
            event.start_thread_id(),
            event.correlation_id(),
            0,
            event.sequence_nr() if event.fwd_thread_id() else -1,
        )
