"""Does a graph of an ONNX file take as long as the module that it was exported from?

    python benchmarks/onnx_graph.py

For each network, at batch 1 and 8: the time of effcalc's run of the exported graph by torch over
that of the torchvision module, and onnxruntime's (which fuses operators) over the same; and the
largest difference from onnxruntime's output, relative to the largest value. Taking turns in one
process, medians, float32 on the CPU.
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

from effcalc.models.onnxrun.load import load_module
from effcalc.profiling.live.timing import timer

NAMES = ("resnet50", "efficientnet_b0", "squeezenet1_1", "vit_b_16")
ROUNDS = 7


def exported(name: str, batch: int, path: Path) -> Any:
    model = getattr(torchvision.models, name)(weights=None).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = torch.rand(batch, 3, 224, 224)
        torch.onnx.export(model, (image,), str(path), dynamo=True, verbose=False,
                          external_data=False)  # fmt: skip
    return model


def ratios(runs: list[Callable[[], Any]]) -> list[float]:
    """Median time of each over the first's."""
    time_one = timer(torch.device("cpu"))
    for run in runs * 2:
        run()
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, taken in zip(runs, times, strict=True):
            taken.append(statistics.median(time_one(run).wall for _ in range(3)))
    medians = [statistics.median(taken) for taken in times]
    return [m / medians[0] for m in medians]


def compared(name: str, batch: int) -> str:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "net.onnx"
        model = exported(name, batch, path)
        graph = load_module(path, name, []).module.eval()
        session = onnxruntime.InferenceSession(str(path), options)
        x = torch.rand(batch, 3, 224, 224)
        feed = {session.get_inputs()[0].name: x.numpy()}
        wanted = torch.from_numpy(session.run(None, feed)[0])
        off = float((graph(x) - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
        _, ours, theirs = ratios(
            [lambda: model(x), lambda: graph(x), lambda: session.run(None, feed)]
        )
    return (f"{name:16} batch {batch}: graph {ours:.2f}, onnxruntime {theirs:.2f} of the module; "
            f"outputs within {off:.1e}")  # fmt: skip


def main() -> None:
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}, "
          f"onnxruntime {onnxruntime.__version__}")  # fmt: skip
    for name in NAMES:
        for batch in (1, 8):
            print(compared(name, batch), flush=True)


if __name__ == "__main__":
    main()
