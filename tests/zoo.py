"""Models of torchvision and timm, counted by effcalc and by torch's own FlopCounterMode.

`python -m tests.zoo` counts them all and writes one line for each, with `--training` a training
step of each; the slow tests do the same.
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from effcalc.models.count import count_owned
from effcalc.models.mode import RunMode
from effcalc.models.targets import Loaded, load
from effcalc.models.trace import tensors_in
from effcalc.network.ops import cost

# What FlopCounterMode has a formula for, by the names of effcalc's records.
COUNTED_BY_TORCH = {"conv", "linear", "mm", "addmm", "bmm", "baddbmm"}
TIMM_MODELS = 200


class Comparison(NamedTuple):
    """Both counts of one model. `other` are MACs of operators that torch has no formula for."""

    target: str
    macs: int
    torch_macs: int
    other: dict[str, int]
    params: int
    torch_params: int
    uncounted: dict[str, int]
    uncalled: tuple[str, ...]


def torchvision_targets() -> list[str]:
    """All classification, segmentation and video models, and optical flow; not detection."""
    from torchvision import models

    kinds = (models, models.segmentation, models.video, models.optical_flow)
    names = {name for kind in kinds for name in models.list_models(module=kind)}
    return [f"torchvision:{name}" for name in sorted(names)]


def detection_targets() -> list[str]:
    from torchvision import models

    return [f"torchvision:{name}" for name in models.list_models(module=models.detection)]


def timm_targets() -> list[str]:
    """200 models: the first, last and middle of every family, and so on inwards."""
    import timm

    families = {m: timm.list_models(module=m) for m in sorted(timm.list_modules())}
    chosen: dict[str, None] = {}
    for places in ((0.0,), (1.0,), (0.5,), (0.25, 0.75), (0.125, 0.375, 0.625, 0.875)):
        for models in families.values():
            for place in places:
                if models and len(chosen) < TIMM_MODELS:
                    chosen.setdefault(models[round(place * (len(models) - 1))])
    return [f"timm:{name}" for name in sorted(chosen)]


def torch_macs(loaded: Loaded) -> int:
    """Half the FLOPs that FlopCounterMode counts in a forward pass."""
    # Under no_grad its module tracker fails where a parameter is passed into a submodule.
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        loaded.module.eval()(*loaded.args, **loaded.kwargs)
    return int(counter.get_total_flops()) // 2


def compare(target: str) -> Comparison:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load(target)
        theirs = torch_macs(loaded)
        network = count_owned(loaded.module, loaded.args, loaded.kwargs)
    macs: dict[str, int] = defaultdict(int)
    for layer in network.calls:
        if n := cost(layer).macs:
            macs[layer.op] += n
    return Comparison(
        target,
        sum(n for op, n in macs.items() if op in COUNTED_BY_TORCH),
        theirs,
        {op: n for op, n in macs.items() if op not in COUNTED_BY_TORCH},
        sum(p.numel for layer in network.calls for p in layer.params if not p.buffer),
        sum(p.numel() for p in loaded.module.parameters()),
        dict(network.uncounted),
        network.uncalled,
    )


class Training(NamedTuple):
    """Both counts of a forward and a backward pass.

    `grouped` is what FlopCounterMode has too much: its formula for the gradient of a
    convolution's weight has no groups, and counts each group's weights with every channel.
    """

    target: str
    macs: int
    torch_macs: int
    grouped: int
    uncounted: dict[str, int]


def compare_training(target: str) -> Training:
    """Count a training step of two images; nothing that is compared depends on their number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load(target, batch=2)
        with FlopCounterMode(display=False) as counter:
            outputs = loaded.module(*loaded.args, **loaded.kwargs)
            ends = [t for t in tensors_in(outputs) if t.requires_grad]
            torch.autograd.backward(ends, [torch.ones_like(t) for t in ends])
        loaded = load(target, batch=2)
        network = count_owned(loaded.module, loaded.args, loaded.kwargs, RunMode(backward=True))
    grouped = 0
    for layer in network.calls:
        if layer.op == "conv_backward" and layer.attrs["output_mask"][1]:
            gradient, _, weight = layer.operands[:3]
            each = gradient.numel * weight.numel // weight.shape[0]
            grouped += (int(layer.attrs["groups"]) - 1) * each
    macs = sum(cost(layer).macs for layer in network.calls)
    return Training(
        target, macs, int(counter.get_total_flops()) // 2, grouped, dict(network.uncounted)
    )


def main() -> None:
    training = "--training" in sys.argv
    targets = [target for target in sys.argv[1:] if target != "--training"]
    for target in targets or [*torchvision_targets(), *timm_targets()]:
        try:
            result: Any
            if training:
                result = compare_training(target)
                same = result.macs + result.grouped == result.torch_macs
            else:
                result = compare(target)
                same = result.macs == result.torch_macs and result.params == result.torch_params
            print("same" if same else "DIFFERENT", *result, sep="\t", flush=True)
        except Exception as error:
            print("FAILED", target, type(error).__name__, error, sep="\t", flush=True)


if __name__ == "__main__":
    main()
