"""Time of a built network beside torchvision's own model of the same, in one process.

    python benchmarks/build.py [ROUNDS]

Both have the same operators, so what differs is the Python around them. Rounds alternate; a
round is one forward pass at evaluation, batch 1, and the ratio is of medians. On the meta device
operators cost next to nothing, which is the worst case.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torchvision import models

from effcalc.models.build import build
from effcalc.scaling.scale import scale

PAIRS = {
    "efficientnet-b0": models.efficientnet_b0,
    "resnet-50": models.resnet50,
    "squeezenet-1.1": models.squeezenet1_1,
}


def main(rounds: int = 30) -> None:
    for device in ("cpu", "meta"):
        for name, make in PAIRS.items():
            with torch.device(device):
                pair = [build(scale(name).network).eval(), make().eval()]
                x = torch.randn(1, 3, 224, 224)
            times: list[list[float]] = [[], []]
            with torch.inference_mode():
                for number in range(rounds + 3):
                    for model, seconds in zip(pair, times, strict=True):
                        start = time.perf_counter()
                        model(x)
                        if number >= 3:
                            seconds.append(time.perf_counter() - start)
            ours, theirs = (statistics.median(seconds) for seconds in times)
            print(
                f"{device:4} {name:16} built {ours * 1e3:7.2f} ms, torchvision "
                f"{theirs * 1e3:7.2f} ms, ratio {ours / theirs:.2f}"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
