"""Predicted memory beside what was measured, torch's MemTracker on fake tensors, and torchinfo.

`python -m benchmarks.memory` prints Markdown. Measured: every allocation of the second step, by
torch's profiler, on CPU; the same for all. Each tool says what it says about the peak.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import torch
import torchinfo
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional

from effcalc.footprint.live import built, measure
from effcalc.footprint.predict import predict
from effcalc.footprint.step import StepSettings
from effcalc.models.build import build as build_module
from effcalc.network.network import Network
from effcalc.scaling.scale import build, scale

NAMES = ("efficientnet-b0", "resnet-50", "mobilenet-v2", "squeezenet-1.0")
BATCH = 8


def network_of(name: str) -> Network:
    """The network at its own size."""
    at = scale(name)
    return build(at.arch, at.scaling, BATCH)


def tracked(network: Network, step: StepSettings) -> int:
    """MemTracker's peak of the second step, on fake tensors."""
    with FakeTensorMode():
        model = build_module(network).train(step.train)
        x = torch.randn(network.inputs[0].shape)
        labels = torch.zeros(x.shape[0], dtype=torch.int64)
        tracker = MemTracker()
        if not step.train:
            tracker.track_external(model, x)
            with torch.no_grad(), tracker:
                model(x)
        else:
            optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
            tracker.track_external(model, optimizer, x, labels)
            with tracker:
                for i in range(2):
                    functional.cross_entropy(model(x), labels).backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    if i == 0:
                        tracker.reset_mod_stats()
        return int(max(s["Total"] for s in tracker.get_tracker_snapshot("peak").values()))


def summed(network: Network, step: StepSettings) -> int:
    """Return torchinfo's estimated total size."""
    model: nn.Module = build_module(network)
    size = tuple(network.inputs[0].shape)
    mode = "train" if step.train else "eval"
    found = torchinfo.summary(model, input_size=size, verbose=0, mode=mode, device="cpu")
    return int(found.total_input + found.total_output_bytes + found.total_param_bytes)


def timed(call: Callable[[], int]) -> tuple[int, float]:
    """A result, and the seconds that it took."""
    gc.collect()
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start


def main() -> None:
    """Print the table."""
    print(f"torch {torch.__version__}, batch {BATCH}, float32, CPU\n")
    print("| Network | Step | measured | scratch | effcalc | MemTracker | torchinfo |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    seconds: dict[str, list[float]] = {"effcalc": [], "MemTracker": [], "torchinfo": []}
    for name in NAMES:
        network = network_of(name)
        for step in (StepSettings(train=False), StepSettings(optimizer="momentum")):
            module, args, kwargs = built(network, step)
            found = measure(module, args, kwargs, step)
            del module
            cells = []
            for tool, call in (
                ("effcalc", lambda n=network, s=step: predict(n, s).peak.total),
                ("MemTracker", lambda n=network, s=step: tracked(n, s)),
                ("torchinfo", lambda n=network, s=step: summed(n, s)),
            ):
                said, took = timed(call)
                seconds[tool].append(took)
                cells.append(f"{said / 1e6:.2f} MB ({(said / found.peak - 1) * 100:+.2f}%)")
            scratch = ((found.within or 0) - found.peak) / found.peak * 100
            kind = "train" if step.train else "infer"
            print(
                f"| {name} | {kind} | {found.peak / 1e6:.2f} MB | +{scratch:.1f}% | "
                f"{' | '.join(cells)} |"
            )
    print("\n| Tool | seconds for all, without imports |\n| --- | ---: |")
    for tool, took in seconds.items():
        print(f"| {tool} | {sum(took):.2f} |")


if __name__ == "__main__":
    main()
