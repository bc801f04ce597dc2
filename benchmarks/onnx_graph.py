"""How well does a profile of an ONNX file say what onnxruntime does?

    python benchmarks/onnx_graph.py

For each network, exported from torchvision at batch 8: the share of a recorded run that layers
have; the median that `effcalc profile` gives over that of a bare loop over an onnxruntime session,
and the torch module's over the same; float32 on the CPU.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torchvision

from effcalc.profiling.live.onnx import onnx_measurements
from effcalc.profiling.live.timing import timer
from effcalc.profiling.results import Profile
from effcalc.profiling.settings import ProfileSettings
from effcalc.profiling.summary import profile_table

NAMES = ("resnet50", "mobilenet_v3_large", "efficientnet_b0", "squeezenet1_1", "vit_b_16")
BATCH = 8
ROUNDS = 3


def exported(name: str, path: Path) -> Any:
    model = getattr(torchvision.models, name)(weights=None).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = torch.rand(BATCH, 3, 224, 224)
        torch.onnx.export(model, (image,), str(path), dynamo=True, verbose=False,
                          external_data=False)  # fmt: skip
    return model


def median_of(run: Callable[[], Any]) -> float:
    time_one = timer(torch.device("cpu"))
    run()
    return statistics.median(time_one(run).wall for _ in range(3))


def compared(name: str) -> str:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "net.onnx"
        model = exported(name, path)
        session = onnxruntime.InferenceSession(str(path), options)
        x = torch.rand(BATCH, 3, 224, 224)
        feed = {session.get_inputs()[0].name: x.numpy()}
        bare, ours, module, shares = [], [], [], []
        for _ in range(ROUNDS):  # taking turns
            bare.append(median_of(lambda: session.run(None, feed)))
            (m,) = onnx_measurements(
                str(path), [], [None], ProfileSettings(repeat=3, warmup=1), device
            )
            ours.append(m.wall.median)
            module.append(median_of(lambda: model(x)))
            row = next(iter(profile_table(Profile(name, (m,), {})).rows))
            shares.append(float(row["attributed"]))  # type: ignore[arg-type]
    base = statistics.median(bare)
    return (
        f"| {name} | {statistics.median(shares):.2f}% | {1e3 * base:.0f} ms "
        f"({1e3 * min(bare):.0f}–{1e3 * max(bare):.0f}) | {1e3 * statistics.median(ours):.0f} ms "
        f"({1e3 * min(ours):.0f}–{1e3 * max(ours):.0f}) | {statistics.median(ours) / base:.2f} | "
        f"{statistics.median(module) / base:.2f} |"
    )


def main() -> None:
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}, "
          f"onnxruntime {onnxruntime.__version__}")  # fmt: skip
    for name in NAMES:
        print(compared(name), flush=True)


if __name__ == "__main__":
    main()
