"""How much of a run is attributed to layers, and does the latency agree with torch's own timer?

    python benchmarks/profiling.py [--settings]

Four networks at batch 8 in float32 on the CPU. For each: the share of a profiled run's time that
rows of layers have and what the rows sum to; the median of effcalc's timing and of
`torch.utils.benchmark`, taking turns in one process; the time that recording adds; and the share
of the wall that torch's profiler's own table covers (self CPU time of its operators).

With --settings: ResNet-18 in processes of their own, with and without the settings of OpenMP beside
a busy neighbour on one core, and with and without those of the allocator.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import torch
import torchvision
from torch.profiler import ProfilerActivity
from torch.utils.benchmark import Timer

from effcalc.profiling.live.run import profile
from effcalc.profiling.live.timing import timer
from effcalc.profiling.parts import breakdown_table
from effcalc.profiling.results import Profile
from effcalc.profiling.summary import profile_table

BATCH = 8
NAMES = ("resnet50", "efficientnet_b0", "squeezenet1_1", "vit_b_16")
ROUNDS = 5


class Result(NamedTuple):
    name: str
    attributed: float
    summed: float  # of rows over the run
    ours: list[float]
    theirs: list[float]
    more: float  # a profiled run against one that is not
    table: float  # share of the wall in torch.profiler's own table


def measure(name: str) -> Result:
    model = getattr(torchvision.models, name)(weights=None).eval()
    x = torch.rand(BATCH, 3, 224, 224)
    got: Profile = profile(model, x, device="cpu")
    (row,) = profile_table(got).rows
    table = breakdown_table(got, "layer")
    assert table.total is not None
    summed = sum(r["time"] for r in table.rows) / table.total["time"]
    ours, theirs = [], []
    time_one = timer(torch.device("cpu"))
    with torch.inference_mode():
        official = Timer("model(x)", globals={"model": model, "x": x},
                         num_threads=torch.get_num_threads())  # fmt: skip
        for _ in range(ROUNDS):
            ours.append(statistics.median(time_one(lambda: model(x)).wall for _ in range(5)))
            theirs.append(statistics.median(official.timeit(1).raw_times[0] for _ in range(5)))
        with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as profiler:
            begin = time.perf_counter()
            model(x)
            wall = time.perf_counter() - begin
    covered = sum(e.self_cpu_time_total for e in profiler.key_averages()) / 1e6 / wall
    (m,) = got.measurements
    assert m.profiled is not None
    return Result(name, row["attributed"], summed, ours, theirs,
                  m.profiled.time / m.wall.median - 1, covered)  # fmt: skip


CHILD = """
import resource, sys, time, torch, torchvision
torch.set_num_threads(2)
model = torchvision.models.resnet18(weights=None).eval()
x = torch.rand(int(sys.argv[1]), 3, 224, 224)
walls = []
with torch.inference_mode():
    for run in range(14):
        if run == 4:
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        begin = time.perf_counter()
        model(x)
        walls.append(time.perf_counter() - begin)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
print(sorted(walls[4:])[5], faults / 10)
"""
KEEP = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_TOP_PAD_": "268435456",
}
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
CASES = (
    ("batch 1, a busy neighbour", "1", {}, True),
    ("batch 1, a busy neighbour, PASSIVE", "1", PASSIVE, True),
    ("batch 16, PASSIVE", "16", PASSIVE, False),
    ("batch 16, PASSIVE, memory kept", "16", {**PASSIVE, **KEEP}, False),
)


def settings() -> None:
    found: dict[str, list[tuple[float, float]]] = {case[0]: [] for case in CASES}
    plain = {k: v for k, v in os.environ.items() if k not in (*KEEP, *PASSIVE)}
    for _ in range(3):
        for name, batch, more, busy in CASES:
            command = [sys.executable, "-c", CHILD, batch]
            neighbour = [sys.executable, "-c", "while True: pass"]
            other = subprocess.Popen(neighbour) if busy else None
            try:
                done = subprocess.run(command, env={**plain, **more}, capture_output=True,
                                      text=True, check=True)  # fmt: skip
            finally:
                if other is not None:
                    other.kill()
                    other.wait()
            wall, faults = map(float, done.stdout.split())
            found[name].append((wall, faults))
    print("| ResNet-18, 2 threads | median | page faults a run |")
    print("| --- | ---: | ---: |")
    for name, pairs in found.items():
        wall, faults = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {wall * 1e3:.1f} ms | {faults:,.0f} |")


def main() -> None:
    if "--settings" in sys.argv:
        settings()
        return
    print("| batch 8, fp32 | in layers | rows / run | torch's table | recording adds |"
          " latency | torch.utils.benchmark |")  # fmt: skip
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in NAMES:
        r = measure(name)
        spans = [f"{statistics.median(s) * 1e3:.1f} ms ({min(s) * 1e3:.1f}–{max(s) * 1e3:.1f})"
                 for s in (r.ours, r.theirs)]  # fmt: skip
        print(f"| {r.name} | {r.attributed:.2f}% | {r.summed:.6f} | {r.table:.1%} | {r.more:+.1%} |"
              f" {spans[0]} | {spans[1]} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
