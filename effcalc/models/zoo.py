"""Models of torchvision and timm by name, never with weights, and the inputs they are made for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import InputError, NeedsError, one_line, suggest
from effcalc.models.construct import construct

FRAMES = 16  # of a clip: what torchvision's video models were trained on, unless they need more
FLOW_SIZE = (520, 960)  # of optical flow: sides that are multiples of 8, about a video's


def torchvision_model(
    name: str, values: Mapping[str, Any], batch: int, real: bool
) -> tuple[nn.Module, Any]:
    """Return a model of torchvision's and its input: the size that its weights were made for."""
    try:
        models: Any = importlib.import_module("torchvision.models")
    except ImportError as error:
        raise _not_installed("torchvision", error) from error
    known = models.list_models()
    if name not in known:
        raise _unknown("torchvision", name, known)
    build = models.get_model_builder(name)
    parameters = inspect.signature(build).parameters
    none = {k: None for k in ("weights", "weights_backbone") if k in parameters}
    module = _called(build, f"torchvision:{name}", {**none, **values}, real)
    weights: Any = getattr(models.get_model_weights(name), "DEFAULT", None)
    transform = getattr(weights, "transforms", None)
    task = getattr(getattr(transform, "func", transform), "__name__", "")
    keywords = getattr(transform, "keywords", {})
    if task == "VideoClassification":
        frames = max(FRAMES, weights.meta.get("min_temporal_size", 0))
        return module, _image(batch, 3, frames, *keywords["crop_size"])
    if task == "ObjectDetection":
        size = module.transform.fixed_size or (module.transform.min_size[-1],) * 2
        return module, ([_image(3, *reversed(size)) for _ in range(batch)],)
    if task == "OpticalFlow":
        return module, tuple(_image(batch, 3, *FLOW_SIZE) for _ in range(2))
    side = keywords.get("crop_size", keywords.get("resize_size", 224))
    side = getattr(module, "image_size", side)  # a ViT takes one size alone
    return module, _image(batch, 3, side, side)


def timm_model(
    name: str, values: Mapping[str, Any], batch: int, real: bool
) -> tuple[nn.Module, Any]:
    """Return a model of timm's and its input: the size in its configuration."""
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise _not_installed("timm", error) from error
    bare = name.partition(".")[0]
    if not timm.is_model(bare):
        raise _unknown("timm", name, timm.list_models())
    module = _called(timm.create_model, f"timm:{name}", {"model_name": name, **values}, real)
    size = (getattr(module, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))
    return module, _image(batch, *size)


def _image(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def _called(build: Callable[..., Any], where: str, values: dict[str, Any], real: bool) -> Any:
    module = construct(lambda: build(**values), one_line(where), real=real)
    if not isinstance(module, nn.Module):
        raise InputError(f"{one_line(where)}: is {type(module).__name__}, not a torch.nn.Module")
    return module


def _not_installed(package: str, error: ImportError) -> NeedsError:
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return NeedsError(f"{package} is not installed; pip install {package}")
    return NeedsError(f"{package} cannot be imported: {one_line(error)}")


def _unknown(zoo: str, name: str, known: list[str]) -> InputError:
    return InputError(f"{zoo} has no model {one_line(name)!r}{suggest(name, known)}")
