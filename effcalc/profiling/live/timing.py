"""Time steps without a profiler: warm up, then take samples until the median is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from effcalc.profiling.live.recording import synchronizer
from effcalc.profiling.statistics import ENOUGH, percentile, summarize

RunOnce = Callable[[], None]

WARM_SECONDS = 3.0  # after which a warm-up ends anyway
WARM_RUNS = 30
SETTLED = 0.03  # three runs are no faster than the three before, but for this
SECONDS = 3.0  # of samples, where no number of runs is asked for
RUNS = 10
PRECISE = 0.01  # half the interval of the median, as a share of it
MOST_RUNS = 1000


class Sample(NamedTuple):
    """Seconds of one run: the host's clock until all work is done, and the device's own."""

    wall: float
    device: float | None


def timer(device: torch.device) -> Callable[[RunOnce], Sample]:
    """Return what times one step on a device."""
    synchronize = synchronizer(device)
    if device.type in ("cuda", "xpu"):
        backend = torch.cuda if device.type == "cuda" else torch.xpu

        def on_device(step: RunOnce) -> Sample:
            first, last = (backend.Event(enable_timing=True) for _ in range(2))
            synchronize()
            begin = time.perf_counter()
            first.record()
            step()
            last.record()
            synchronize()
            wall = time.perf_counter() - begin
            return Sample(wall, first.elapsed_time(last) / 1e3)

        return on_device

    def on_host(step: RunOnce) -> Sample:
        synchronize()
        begin = time.perf_counter()
        step()
        synchronize()
        return Sample(time.perf_counter() - begin, None)

    return on_host


def warm_up(step: RunOnce, device: torch.device, runs: int | None) -> tuple[int, bool]:
    """Run until it gets no faster, or `runs` times; return how often, and whether it settled."""
    time_one = timer(device)
    if runs is not None:
        for _ in range(runs):
            time_one(step)
        return runs, True
    walls: list[float] = []
    while len(walls) < WARM_RUNS and sum(walls) < WARM_SECONDS:
        walls.append(time_one(step).wall)
        k = min(3, len(walls) // 2)
        if k >= 2:
            earlier = percentile(sorted(walls[-2 * k : -k]), 0.5)
            if percentile(sorted(walls[-k:]), 0.5) >= earlier * (1 - SETTLED):
                return len(walls), True
    return len(walls), len(walls) < WARM_RUNS


def take_samples(
    step: RunOnce,
    before: RunOnce,
    device: torch.device,
    runs: int | None,
    samples: list[Sample],
    report: Callable[[str], None],
) -> None:
    """Append samples of `step`, each after an untimed `before`; an error leaves those taken.

    Without `runs`: at least `ENOUGH`, and until the median is known to 1% from ten, or for three
    seconds.
    """
    time_one = timer(device)
    begin = time.perf_counter()
    while len(samples) < (MOST_RUNS if runs is None else runs):
        before()
        samples.append(time_one(step))
        report(f"run {len(samples)}{'' if runs is None else f' of {runs}'}")
        if runs is None and len(samples) >= ENOUGH:
            if time.perf_counter() - begin > SECONDS:
                break
            walls = [sample.wall for sample in samples]
            if len(samples) >= RUNS and summarize(walls).precision <= PRECISE:
                break


def cache_flusher(device: torch.device, size: int) -> RunOnce:
    """Return a function that evicts everything from the caches by writing `size` bytes."""
    buffer = torch.empty(size, dtype=torch.uint8, device=device)

    def flush() -> None:
        buffer.add_(1)

    return flush
