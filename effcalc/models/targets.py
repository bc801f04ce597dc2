"""From the text of a target to a module and its inputs.

Only `module:factory` and `file.py:factory` run code of the user's; that is what they mean.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from effcalc.base.errors import EffcalcError, InputError, NeedsError, RunError, one_line, suggest
from effcalc.models.build import build
from effcalc.models.construct import construct
from effcalc.models.count import arguments
from effcalc.models.inputs import InputSpec, parse_inputs
from effcalc.models.meta import to_meta
from effcalc.models.names import described, is_code
from effcalc.models.zoo import timm_model, torchvision_model


class Loaded(NamedTuple):
    """A module that is ours to run, with the inputs to run it on."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def load(
    target: str,
    settings: Sequence[str] = (),
    inputs: Sequence[str] = (),
    *,
    batch: int = 1,
    real: bool = False,
) -> Loaded:
    """Create the module that a target names, on the meta device unless it is to be `real`.

    Targets are `package.module:factory`, `file.py:factory` (a factory is a function, a class or a
    module itself; it may return the inputs too: `(module, inputs)`), `torchvision:NAME`,
    `timm:NAME`, and networks of effcalc's own, which are built. `settings` are arguments of the
    factory, `name=value`; `inputs` are texts such as `1x3x224x224`, and where there are none the
    zoo's or the factory's own. Raises `InputError` for a target that is not there, `NeedsError`
    for a package that is not installed, `RunError` where the user's code fails.
    """
    if not is_code(target):
        return _built(target, settings, inputs, batch, real)
    values = parse_settings(settings)
    specs = parse_inputs(inputs)
    zoo, _, name = target.partition(":")
    default: Any = None
    if zoo in ("torchvision", "timm"):
        make = torchvision_model if zoo == "torchvision" else timm_model
        module, default = make(name, values, batch, real)
    else:
        module = _from_code(target, values, real)
        if isinstance(module, tuple) and len(module) == 2:
            module, default = module
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{one_line(target)}: is {type(module).__name__}, not a torch.nn.Module or a "
                "function that returns one"
            )
        if default is None:
            size = getattr(module, "default_cfg", None) or {}
            if isinstance(size, Mapping) and "input_size" in size:  # a model of timm's
                default = torch.empty(batch, *size["input_size"], device="meta")
    if specs:
        args, kwargs = _tensors(specs, real)
    elif default is not None:
        args, kwargs = arguments(default)
        if real:
            args, kwargs = filled(args), filled(kwargs)
    else:
        raise InputError(f"{one_line(target)}: say what goes in, such as `input` 1x3x224x224")
    if not real and any(not t.is_meta for t in (*module.parameters(), *module.buffers())):
        module, args, kwargs = to_meta((module, args, kwargs), [module])
    return Loaded(name if zoo in ("torchvision", "timm") else target, module, args, kwargs)


def _built(
    target: str, settings: Sequence[str], inputs: Sequence[str], batch: int, real: bool
) -> Loaded:
    """Build a network of effcalc's own."""
    network = described(target, settings, inputs, batch)
    module = construct(lambda: build(network), one_line(target), real=real)
    images = torch.empty(network.inputs[0].shape, device="meta")
    return Loaded(target, module, (filled(images) if real else images,), {})


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Read `--arg name=value`: a Python literal, or a string where it is none."""
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise InputError(f"`arg`: {one_line(text)!r} is not name=value, such as depth=3")
        if name in values:
            raise InputError(f"`arg`: {name} is given twice")
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            values[name] = value
    return values


def _from_code(target: str, values: Mapping[str, Any], real: bool) -> Any:
    """Import the user's code and call the factory."""
    place, _, path = target.partition(":")
    owner: Any = _imported(place, target)
    for part in path.split("."):
        if not hasattr(owner, part):
            raise InputError(
                f"{one_line(target)}: {one_line(place)} has no {part!r}{suggest(part, dir(owner))}"
            )
        owner = getattr(owner, part)
    if isinstance(owner, nn.Module) or (isinstance(owner, tuple) and not callable(owner)):
        if values:
            raise InputError(f"`arg`: {one_line(target)} is a module already and takes none")
        return owner
    if not callable(owner):
        return owner
    try:
        inspect.signature(owner).bind(**values)
    except TypeError as error:
        raise InputError(
            f"{one_line(target)}: cannot be called so: {one_line(error)}; give `arg` name=value"
        ) from error
    except ValueError:  # a builtin without a signature
        pass
    return construct(lambda: owner(**values), one_line(target), real=real)


def _imported(place: str, target: str) -> ModuleType:
    where = one_line(target)
    try:
        if place.endswith(".py"):
            return _file(Path(place), where)
        folder = os.getcwd()
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return importlib.import_module(place)
    except EffcalcError:
        raise
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if place == missing or place.startswith(f"{missing}."):
            raise InputError(
                f"{where}: there is no module {missing!r} here; give package.module:factory, "
                "file.py:factory, torchvision:NAME, timm:NAME, a .onnx or .pt2 file, or a network "
                "of `effcalc archs`"
            ) from error
        raise NeedsError(f"{where}: needs the package {missing!r}, not installed") from error
    except BaseException as error:
        cause = one_line(f"{type(error).__name__}: {error}")
        raise RunError(f"{where}: its import failed: {cause}") from error


def _file(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{where}: there is no file {one_line(path)}")
    name = f"effcalc_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{where}: {one_line(path)} is not a Python file")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as Python does for a script
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _tensors(specs: Sequence[InputSpec], real: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    tensors = {i: torch.empty(s.shape, dtype=_dtype(s), device="meta") for i, s in enumerate(specs)}
    args = tuple(t for i, t in tensors.items() if not specs[i].name)
    kwargs = {specs[i].name: t for i, t in tensors.items() if specs[i].name}
    return (filled(args), filled(kwargs)) if real else (args, kwargs)


def _dtype(spec: InputSpec) -> torch.dtype:
    dtype = getattr(torch, spec.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise InputError(f"`input`: torch has no dtype {spec.dtype}")
    return dtype


def filled(value: Any) -> Any:
    """Return real tensors for meta ones: random numbers, index 0, true."""
    if isinstance(value, torch.Tensor):
        if not value.is_meta:
            return value
        if value.is_floating_point() or value.is_complex():
            if value.itemsize == 1:  # float8, of which torch makes no random numbers
                return torch.rand(value.shape).to(value.dtype)
            return torch.rand(value.shape, dtype=value.dtype)
        return torch.full(value.shape, value.dtype is torch.bool, dtype=value.dtype)
    if isinstance(value, Mapping):
        return {k: filled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(filled(v) for v in value)
    return value
