"""What a count costs: cold and large beside other counters, and warm beside FlopCounterMode.

Cold: a process of its own for each way of counting a vision transformer of 1.84 billion
parameters, with its seconds (by the clock, and of all its threads' processor time, which other
work on the machine hardly touches) and its peak memory over those of importing torch and timm and
building the model on the meta device. Bounds: 1.5 s and 10% of memory more.

Warm: 12 models of all kinds, counted by effcalc and by FlopCounterMode on meta tensors in one
process, by turns; the ratio of the fastest runs, in processor time. Bound: 1 over all.

    python -m benchmarks.count [--cold-runs 3] [--warm-runs 7] [--skip-peers]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

NAME = "vit_gigantic_patch14_224"
MODELS = (
    *("torchvision:resnet50", "torchvision:mobilenet_v3_large", "torchvision:densenet121"),
    *("torchvision:fcn_resnet50", "torchvision:r3d_18", "torchvision:swin_t"),
    *("timm:efficientnet_b0", "timm:vit_base_patch16_224", "timm:convnext_tiny"),
    *("timm:mixer_b16_224", "timm:eva02_base_patch14_224", "timm:maxvit_tiny_tf_224"),
)

META = f"""
import torch, timm
with torch.device("meta"):
    model = timm.create_model("{NAME}").eval()
    x = torch.empty(1, 3, 224, 224)
"""
REAL = f"""
import torch, timm
model = timm.create_model("{NAME}").eval()
x = torch.empty(1, 3, 224, 224)
"""
COLD = {
    "import and build on meta": META,
    "effcalc count": (
        f"from effcalc.cli.main import main; raise SystemExit(main(['count', 'timm:{NAME}']))"
    ),
    "FlopCounterMode on meta": META
    + """
from torch.utils.flop_counter import FlopCounterMode
with FlopCounterMode(display=False) as counter:
    model(x)
print(counter.get_total_flops())
""",
    "thop": REAL + "import thop; print(thop.profile(model, (x,), verbose=False))",
    "ptflops": REAL
    + """
from ptflops import get_model_complexity_info
print(get_model_complexity_info(model, (3, 224, 224), print_per_layer_stat=False))
""",
    "fvcore": REAL
    + """
from fvcore.nn import FlopCountAnalysis
print(FlopCountAnalysis(model, x).total())
""",
}
FLOOR = "import and build on meta"
OWN = ("effcalc count", "FlopCounterMode on meta")


def cold(code: str) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and peak MB of a fresh process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {code}")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def cold_table(runs: int, peers: bool) -> None:
    measured: dict[str, list[tuple[float, float, float]]] = {}
    for turn in range(runs):
        for name, code in COLD.items():
            # The peers allocate 7 GB of weights and take most of a minute: once is enough.
            if name in (FLOOR, *OWN) or (peers and turn == 0):
                measured.setdefault(name, []).append(cold(code))
    floor = [statistics.median(values) for values in zip(*measured[FLOOR], strict=True)]
    print(f"| {NAME}, cold | seconds | CPU seconds | over the floor | peak MB | over the floor |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, values in measured.items():
        seconds, cpu, memory = (statistics.median(v) for v in zip(*values, strict=True))
        print(
            f"| {name} | {seconds:.1f} | {cpu:.1f} | {cpu - floor[1]:+.1f} s | {memory:,.0f} "
            f"| {(memory / floor[2] - 1) * 100:+.1f}% |"
        )


def fastest(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Milliseconds of processor time of the fastest of several runs, the ways taking turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn:  # the first one warms up
                times[name].append((time.process_time() - start) * 1000)
    return {name: min(values) for name, values in times.items()}


def warm_table(runs: int) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from effcalc.models.count import count_owned
    from effcalc.models.targets import Loaded, load

    def effcalc(loaded: Loaded) -> object:
        return count_owned(loaded.module, loaded.args, loaded.kwargs)

    def flop_counter(loaded: Loaded) -> object:
        with FlopCounterMode(display=False), torch.no_grad():
            return loaded.module(*loaded.args, **loaded.kwargs)

    print("| warm | effcalc | FlopCounterMode | ratio |")
    print("| --- | ---: | ---: | ---: |")
    sums = [0.0, 0.0]
    for target in MODELS:
        loaded = load(target)
        loaded.module.eval()
        ways = {"a": lambda: effcalc(loaded), "b": lambda: flop_counter(loaded)}  # noqa: B023
        a, b = fastest(ways, runs).values()
        sums = [sums[0] + a, sums[1] + b]
        print(f"| {target} | {a:.0f} ms | {b:.0f} ms | {a / b:.2f} |")
    print(f"| all | {sums[0]:.0f} ms | {sums[1]:.0f} ms | {sums[0] / sums[1]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cold-runs", type=int, default=3)
    parser.add_argument("--warm-runs", type=int, default=7)
    parser.add_argument("--skip-peers", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.cold_runs:
        cold_table(options.cold_runs, not options.skip_peers)
        print()
    if options.warm_runs:
        warm_table(options.warm_runs)


if __name__ == "__main__":
    main()
