"""What is profiled: a module that is ours to run, its inputs at a batch size, its names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from effcalc.models.build import build
from effcalc.models.count import arguments
from effcalc.models.loading import load_real
from effcalc.models.meta import real_copy
from effcalc.models.target import wrong_batch
from effcalc.models.trace import tensors_in
from effcalc.network.network import Network, repeated_name
from effcalc.scaling import scale
from effcalc.scaling.scale import Scaled


@dataclass(frozen=True)
class Subject:
    """A module that nobody else uses, on the CPU in float32, and its inputs.

    `merged` maps the path of a module to the row that identical blocks share, where it is not
    the path itself.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    merged: Mapping[str, str]


Source = Callable[[int | None], Subject]
"""Makes the subject for a batch size; for None, with the inputs as they are."""


def from_scaled(scaled: Scaled) -> Source:
    """Build a network that effcalc describes; weights are random ones."""
    module = build(scale.build(scaled.arch, scaled.scaling, 1, scaled.head))

    def make(batch: int | None) -> Subject:
        network = scale.build(scaled.arch, scaled.scaling, batch or 1, scaled.head)
        (image,) = network.inputs
        return Subject(module, (torch.rand(image.shape),), {}, merged_names(network))

    return make


def from_target(target: str, settings: Sequence[str], inputs: Sequence[str]) -> Source:
    """Load a target with real weights, or a file; raises `InputError` as `load_real` does."""

    def make(batch: int | None) -> Subject:
        loaded = load_real(target, settings, inputs, batch or 1)
        if batch is not None and not target.startswith(("torchvision:", "timm:")):
            _check_batch(target, batch, loaded.args, loaded.kwargs)
        return Subject(loaded.module, loaded.args, loaded.kwargs, {})

    return make


def from_module(model: nn.Module, inputs: Any, kwargs: Mapping[str, Any] | None) -> Source:
    """Take a copy of a model, so that the original stays as it is."""
    args, named = arguments(inputs)

    def make(batch: int | None) -> Subject:
        copied, own_args, own_kwargs = real_copy((model, args, {**named, **(kwargs or {})}))
        if batch is not None:
            _check_batch(type(model).__name__, batch, own_args, own_kwargs)
        return Subject(copied, own_args, own_kwargs, {})

    return make


def batch_of(args: Any, kwargs: Any) -> int:
    """The batch of inputs: how many are in a list of images, else the first dimension."""
    if args and isinstance(args[0], list):
        return len(args[0])
    first = next((t for t in tensors_in((args, kwargs)) if t.dim()), None)
    return 1 if first is None else int(first.shape[0])


def _check_batch(target: str, batch: int, args: Any, kwargs: Any) -> None:
    given = batch_of(args, kwargs)
    if given != batch:
        first = next(tensors_in((args, kwargs)), torch.empty(()))
        raise wrong_batch(target, batch, first.shape)


def merged_names(network: Network) -> dict[str, str]:
    """Return the rows of `effcalc scale --per layer` by the path of each built module."""
    names: dict[str, str] = {}
    for layer in network.calls:
        if layer.count == 1:
            continue
        head, _, first = layer.block.rpartition(".")
        inside = layer.name[len(layer.block) :]
        for i in range(int(first), int(first) + layer.count):
            names[f"{head}.{i}{inside}"] = repeated_name(layer)
    return names
