"""What one measurement holds: times in seconds, memory in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from effcalc.base.units import Value
from effcalc.network.network import Network
from effcalc.profiling.records import Owner, ProfiledRun, TimeKey
from effcalc.profiling.roofline import Roofs
from effcalc.profiling.statistics import Summary, percentile


class Memory(NamedTuple):
    """Peak memory of a run: `peak` all of it, `held` what is there before (weights, buffers)."""

    peak: int
    held: int
    how: str


@dataclass(frozen=True)
class Profiled:
    """Runs under the profiler: seconds and calls of one run by part, means of the kept runs.

    The half of the runs whose time is nearest to the median's is kept, so that a disturbed run
    does not show as a slow layer; `parts` sum to `time`. `samples` are the times of each owner in
    every run. `host` is the host's time, which is `time` where there is no device.
    """

    time: float
    host: float
    parts: Mapping[TimeKey, float]
    calls: Mapping[TimeKey, float]
    samples: Mapping[Owner, tuple[float, ...]]
    runs: int


@dataclass(frozen=True)
class Measurement:
    """What was measured of one batch size.

    `wall` and `device` are of runs without the profiler: from the call until all of its work is
    done, and by the device's own events. `network` is the trace of one step: its layers carry the
    costs; `merged` maps the paths of modules to the rows that repeated blocks share. `partial`
    says why something is missing, "" where nothing is; `rank` is whose it is under torchrun.
    """

    batch: int
    dtype: str
    mode: str
    wall: Summary
    device: Summary | None = None
    warmup: int = 0
    profiled: Profiled | None = None
    memory: Memory | None = None
    network: Network | None = None
    merged: Mapping[str, str] = field(default_factory=dict)
    noise: tuple[str, ...] = ()
    partial: str = ""
    rank: int | None = None


@dataclass(frozen=True)
class Profile:
    """Measurements of one network, and where they were taken.

    `roofs` are what the device was measured to do at most in this format, None where it was not.
    """

    name: str
    measurements: tuple[Measurement, ...]
    environment: Mapping[str, Value]
    roofs: Roofs | None = None


def combine(steps: Sequence[ProfiledRun]) -> Profiled | None:
    """Combine profiled steps; None where there are none."""
    if not steps:
        return None
    middle = percentile(sorted(step.time for step in steps), 0.5)
    nearest = sorted(steps, key=lambda step: abs(step.time - middle))
    kept = nearest[: (len(steps) + 1) // 2]
    n = len(kept) * 1e9
    samples: dict[Owner, list[float]] = {}
    for i, step in enumerate(steps):
        for part, time in step.parts.items():
            # An owner that a run does not have took no time in it.
            times = samples.setdefault(part.owner, [0.0] * len(steps))
            times[i] += time / 1e9
    return Profiled(
        time=sum(step.time for step in kept) / n,
        host=sum(step.host for step in kept) / n,
        parts=_mean([step.parts for step in kept], n),
        calls=_mean([step.calls for step in kept], len(kept)),
        samples={owner: tuple(times) for owner, times in samples.items()},
        runs=len(steps),
    )


def mean_of(ranks: Sequence[Profiled]) -> Profiled:
    """Average what several ranks recorded, part by part and run by run."""
    n = len(ranks)
    runs = min(rank.runs for rank in ranks)
    by_run = [
        _mean([{owner: times[i] for owner, times in rank.samples.items()} for rank in ranks], n)
        for i in range(runs)
    ]
    owners = {owner: None for rank in ranks for owner in rank.samples}
    return Profiled(
        time=sum(rank.time for rank in ranks) / n,
        host=sum(rank.host for rank in ranks) / n,
        parts=_mean([rank.parts for rank in ranks], n),
        calls=_mean([rank.calls for rank in ranks], n),
        samples={owner: tuple(run[owner] for run in by_run) for owner in owners},
        runs=runs,
    )


_Key = TypeVar("_Key")


def _mean(maps: Sequence[Mapping[_Key, float]], count: float) -> dict[_Key, float]:
    """Sum several mappings key by key, where a missing key is 0, and divide by `count`."""
    sums: dict[_Key, float] = {}
    for each in maps:
        for key, value in each.items():
            sums[key] = sums.get(key, 0) + value
    return {key: value / count for key, value in sums.items()}
