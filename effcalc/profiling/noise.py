"""Was the machine quiet while something was timed? What the system counts, before and after."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from effcalc.profiling.statistics import ENOUGH, Summary, percentile, summarize

OTHER_LOAD = 0.10  # of the machine's processors, used by other processes
STEAL = 0.01
FAULT_SECONDS = 0.25e-6  # a first touch of a page costs 0.1 to 0.7 µs
FAULT_SHARE = 0.05
SWITCHES = 50  # involuntary ones a second
SPREAD = 0.20  # 10th to 90th percentile, of the median
PRECISION = 0.05
DRIFT = 0.10


@dataclass(frozen=True)
class Counters:
    """What the system has counted up to a moment; None where that is not known.

    `busy`, `stolen` and `all` are processor seconds of the machine, `own` this process's.
    `throttled` counts periods without processor time by a quota, and throttling by heat.
    """

    own: float
    faults: int
    switches: int
    busy: float | None = None
    stolen: float | None = None
    all: float | None = None
    throttled: int | None = None


def read_counters(root: Path = Path("/")) -> Counters:
    """Read the counters; on Linux all of them, elsewhere those of the process."""
    own, faults, switches = 0.0, 0, 0
    if sys.platform != "win32":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        own = usage.ru_utime + usage.ru_stime
        faults, switches = usage.ru_minflt + usage.ru_majflt, usage.ru_nivcsw
    busy = stolen = every = None
    with suppress(OSError, ValueError, IndexError):
        line = (root / "proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        # user nice system idle iowait irq softirq steal, in ticks (man 5 proc)
        ticks = [int(word) / 100 for word in line.split()[1:9]]
        every, stolen = sum(ticks), ticks[7]
        busy = every - ticks[3] - ticks[4] - stolen
    return Counters(own, faults, switches, busy, stolen, every, _throttled(root))


def _throttled(root: Path) -> int | None:
    counts = list(_throttle_counts(root))
    return sum(counts) if counts else None


def _throttle_counts(root: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):
        lines = (root / "sys/fs/cgroup/cpu.stat").read_text(encoding="ascii").splitlines()
        yield from (int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))
    for path in (root / "sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count"):
        with suppress(OSError, ValueError):
            yield int(path.read_text(encoding="ascii"))


def disturbances(
    before: Counters, after: Counters, samples: Sequence[float], threads: int
) -> list[str]:
    """Name in a few words each what may have disturbed `samples`, seconds of each run.

    `threads` is how many the runs used. The list is empty where nothing was noticed.
    """
    notes = [*load(before, after, threads)]
    if before.throttled is not None and after.throttled is not None:
        events = after.throttled - before.throttled
        if events > 0:
            notes.append(f"the processor was throttled {events} times")
    total = sum(samples)
    faults = (after.faults - before.faults) / len(samples)
    share = faults * FAULT_SECONDS / (total / len(samples)) if total else 0.0
    if share > FAULT_SHARE:
        notes.append(
            f"{faults:,.0f} page faults a run, roughly {share:.0%} of the time: the allocator "
            "gives memory back between runs (docs/profiling.md, settings)"
        )
    switches = after.switches - before.switches
    if total and switches / total > SWITCHES:
        notes.append(f"{switches / len(samples):,.0f} involuntary context switches a run")
    notes += _statistics(summarize(samples), samples)
    return notes


def load(before: Counters, after: Counters, threads: int) -> Iterator[str]:
    """Name what else used the processors in the meantime."""
    if before.all is None or after.all is None or before.busy is None or after.busy is None:
        return
    passed = after.all - before.all
    if passed <= 0:
        return
    other = max(after.busy - before.busy - (after.own - before.own), 0.0) / passed
    stolen = ((after.stolen or 0.0) - (before.stolen or 0.0)) / passed
    if stolen > STEAL:
        yield f"the hypervisor took {stolen:.0%} of the processors' time (steal)"
    if other > OTHER_LOAD:
        yield f"other processes used {other:.0%} of the processors"
    spins = os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE"
    if threads > 1 and spins and (other > OTHER_LOAD or stolen > STEAL):
        yield (
            "OpenMP threads spin while they wait for one that lost its core: "
            "OMP_WAIT_POLICY=PASSIVE, or fewer `threads`"
        )


def _statistics(summary: Summary, samples: Sequence[float]) -> Iterator[str]:
    if summary.runs < ENOUGH:
        yield f"{summary.runs} runs are too few for an interval: `repeat` {ENOUGH} or more"
    elif summary.precision > PRECISION:
        yield f"the median is known to ±{summary.precision:.0%} only: a larger `repeat`"
    if (summary.p90 - summary.p10) > SPREAD * summary.median:
        yield f"runs differ by {(summary.p90 - summary.p10) / summary.median:.0%} (p10 to p90)"
    if len(samples) >= 2 * ENOUGH:
        half = len(samples) // 2
        first, last = (percentile(sorted(s), 0.5) for s in (samples[:half], samples[half:]))
        if abs(last - first) > DRIFT * summary.median:
            yield f"the second half of the runs is {last / first - 1:+.0%} against the first"
