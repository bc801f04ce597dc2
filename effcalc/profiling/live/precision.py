"""The numeric formats of a profile: what fp32, tf32, fp16, bf16 and amp mean on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import InputError, NeedsError, one_of

DTYPES = ("fp32", "tf32", "fp16", "bf16", "amp")

_TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}


def check_dtype(dtype: str, device: torch.device) -> None:
    """Refuse an unknown format, and one that the device does not have."""
    one_of(dtype, DTYPES, "`dtype`")
    if dtype != "tf32":
        return
    if device.type != "cuda":
        raise NeedsError("`dtype` tf32 needs an NVIDIA GPU (Ampere or later), not a CPU")
    if torch.cuda.get_device_capability(device) < (8, 0):
        raise NeedsError("`dtype` tf32 needs compute capability 8.0 (Ampere) or later")


def _owners() -> list[Any]:
    """Where torch keeps whether float32 work may round its operands."""
    backends: Any = torch.backends
    return [
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    ]


@contextmanager
def float32_precision(dtype: str) -> Iterator[None]:
    """While the block runs, float32 products are exact, or for "tf32" round operands to TF32."""
    owners = _owners()
    before = [owner.fp32_precision for owner in owners]
    try:
        for owner in owners:
            cuda = owner in owners[:3]
            owner.fp32_precision = "tf32" if dtype == "tf32" and cuda else "ieee"
        yield
    finally:
        for owner, value in zip(owners, before, strict=True):
            owner.fp32_precision = value


def amp_format(device: torch.device) -> torch.dtype:
    """The format that mixed precision uses on a device: float16 or bfloat16."""
    return torch.get_autocast_dtype(device.type)


def place(
    module: nn.Module, values: Any, dtype: str, device: torch.device, channels_last: bool
) -> tuple[nn.Module, Any]:
    """Move a module and its inputs to a device, a format and a layout.

    Raises `InputError` for a module in another format than the float32 that it is to run in.
    """
    to = _TORCH.get(dtype)
    there = {p.dtype for p in module.parameters() if p.is_floating_point()}
    if to is None and there and torch.float32 not in there:
        name = str(next(iter(there))).removeprefix("torch.")
        own = next((short for short, t in _TORCH.items() if t in there), None)
        right = f"give `dtype` {own}" if own else "give a model in float32"
        raise InputError(f"`dtype` {dtype}: the model's weights are {name}; {right}")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = module.to(device=device, dtype=to)
    if channels_last:
        module = module.to(memory_format=layout)

    def move(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            value = value.to(device=device, dtype=to if value.is_floating_point() else None)
            return value.contiguous(memory_format=layout) if value.dim() == 4 else value
        if isinstance(value, dict):
            return {key: move(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            moved = [move(v) for v in value]
            return moved if isinstance(value, list) else tuple(moved)
        return value

    return module, move(values)
