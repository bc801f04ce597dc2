"""Count what a torch module costs, without its weights in memory and without a trace left in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import EffcalcError, InputError, RunError, one_line
from effcalc.models.meta import real_copy, to_meta
from effcalc.models.mode import FORWARD, RunMode
from effcalc.models.trace import tensors_in, trace
from effcalc.network.network import Network


def count(
    model: nn.Module,
    inputs: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    backward: bool = False,
    real: bool = False,
    train: bool | None = None,
) -> Network:
    """Run a model once on tensors without memory, and return everything that it ran.

    `inputs` is a tensor, or a tuple of positional arguments, or a mapping of keyword arguments;
    `kwargs` adds keyword arguments. With `backward` the backward pass runs too, as deep as frozen
    parameters let it. The model runs in evaluation mode, or with `backward` in the mode that each
    module of it is in; `train` sets one for all. Its state, hooks, mode, gradients and the random
    state stay as they are, also where it fails: what runs is a copy.

    A model whose forward looks at values (`if x.sum() > 0`, detection) cannot run without them;
    `real` runs a copy of the model on its own device, with its real weights and inputs.

    `effcalc.scaling.figures.figures(network)` sums the result up: parameters, MACs, bytes.
    Raises `RunError` where the model fails, `InputError` where it cannot be counted.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a torch.nn.Module, not {type(model).__name__}")
    args, named = arguments(inputs)
    whole = (model, args, {**named, **(kwargs or {})})
    model, args, named = real_copy(whole) if real else to_meta(whole, [model])
    for p in model.parameters():
        p.grad = None
    return count_owned(model, args, named, RunMode(backward, real, train))


def count_owned(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    mode: RunMode = FORWARD,
    name: str = "",
) -> Network:
    """Count a model that nobody else uses, on the device of its tensors; the model may change.

    `name` is what errors call it, its class unless given.
    """
    if mode.train is not None or not mode.backward:
        model.train(bool(mode.train))
    then = _backward if mode.backward else None
    with explained(name or type(model).__name__, (args, kwargs), real=mode.real):
        return trace(model, args, kwargs, grad=mode.backward, then=then)


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the inputs of a model as positional and keyword arguments."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple):
        return inputs, {}
    return (inputs,), {}


def _backward(outputs: Any) -> None:
    """Run the backward pass of every output that has one, from gradients of the same shape."""
    ends = [t for t in tensors_in(outputs) if t.requires_grad]
    if not ends:
        raise InputError("there is no backward pass: no output depends on a trainable parameter")
    with torch.utils._python_dispatch._disable_current_modes():  # the seeds are not part of it
        seeds = [torch.ones_like(t) for t in ends]
    torch.autograd.backward(ends, seeds)


# What torch says where a model asks a meta tensor for its values, or mixes it with real ones.
_NEEDS_VALUES = (
    "meta tensor",
    "meta device",
    "device meta",
    "on meta",
    "Meta tensors",
    "'Meta'",
    "'meta'",
    "meta backend",
    "data is not allocated",
    "data-dependent",
    "data-independent",
    "nonzero",
)
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


@contextmanager
def explained(name: str, inputs: Any, *, real: bool) -> Iterator[None]:
    """Turn what a model raises into a `RunError` of one line that says where and why.

    `inputs` is what it was run on, None while it is being made.
    """
    try:
        yield
    except (EffcalcError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise RunError(_explain(name, inputs, real, error)) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the host or of a device."""
    text = str(error)
    return isinstance(error, MemoryError) or any(phrase in text for phrase in _OUT_OF_MEMORY)


def _explain(name: str, inputs: Any, real: bool, error: BaseException) -> str:
    path = getattr(error, "effcalc_path", "")
    where = f"{name}, in its module {path}" if path else name
    text = str(error)
    cause = one_line(f"{type(error).__name__}: {text.partition(chr(10))[0]}")
    if out_of_memory(error):
        return f"{where}: memory ran out ({cause})" + (
            "; a smaller `input` or batch needs less, and a count without `real` none" * real
        )
    asks = not isinstance(error, LookupError)  # a KeyError of 'meta' is about the model's own dict
    if not real and asks and any(phrase in text for phrase in _NEEDS_VALUES):
        return (
            f"{where}: it depends on the values of tensors, and a count runs without any "
            f"({cause}); `real` (real=True) runs it on real ones"
        )
    if inputs is None:
        return f"{where}: cannot be made: {cause}"
    shapes = ["x".join(map(str, t.shape)) or "scalar" for t in tensors_in(inputs)]
    given = f"on an input of {', '.join(shapes)}" if shapes else "without an input"
    return f"{where}: failed {given}: {cause}"
