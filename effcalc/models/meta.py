"""Copies of modules and inputs on the meta device: shapes without memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from effcalc.base.errors import InputError, one_line
from effcalc.models.record import storage_of

T = TypeVar("T")


def to_meta(value: T, modules: Sequence[nn.Module]) -> T:
    """Copy `value` with every tensor in it on the meta device; nothing of the original changes.

    `modules` are those in `value`. No weight is copied, and tensors that share memory share it in
    the copy. Raises `InputError` for something that cannot be copied, such as an open file.
    """
    mode = _ToMeta()
    memo: dict[int, Any] = {}
    # A parameter's own copy method would clone it, so the registered ones are laid ready.
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            memo[id(tensor)] = mode.convert(tensor)
    with mode:
        copied = _deepcopy(value, memo)
    for module in _modules(copied):
        if any(not t.is_meta for t in (*module.parameters(), *module.buffers())):
            module.to("meta")  # a scripted module copies itself
    return copied


def real_copy(value: T) -> T:
    """Copy `value`, tensors and all; raises `InputError` for something that cannot be copied."""
    return _deepcopy(value, {})


def _deepcopy(value: T, memo: dict[int, Any]) -> T:
    try:
        return copy.deepcopy(value, memo)
    except (TypeError, RuntimeError, NotImplementedError, AttributeError) as error:
        raise InputError(
            f"the model cannot be copied, and a count leaves the original alone: "
            f"{one_line(error)}; give a target such as module:factory that makes it"
        ) from error


def _modules(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, tuple):
        for v in value:
            yield from _modules(v)


class _ToMeta(TorchFunctionMode):
    """Gives `copy.deepcopy` a meta tensor wherever it meets a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, torch.UntypedStorage] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.__deepcopy__:
            tensor, memo = args
            memo[id(tensor)] = self.convert(tensor)
            return memo[id(tensor)]
        if func is torch.Tensor.data.__get__:  # type: ignore[attr-defined]
            return self.convert(args[0])  # of a parameter that is registered nowhere
        return func(*args, **(kwargs or {}))

    def convert(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a meta tensor like `tensor`, with its class, attributes and shared memory."""
        with torch._C.DisableTorchFunction():
            if nn.parameter.is_lazy(tensor):
                return type(tensor)(tensor.requires_grad, device="meta", dtype=tensor.dtype)  # type: ignore[arg-type, call-arg]
            meta = self._like(tensor)
            kind = type(tensor)
            if kind is not torch.Tensor and kind is not type(meta):
                meta = torch.Tensor._make_subclass(kind, meta, tensor.requires_grad)
            elif tensor.requires_grad:
                meta.requires_grad_()
            meta.__dict__.update(tensor.__dict__)
            return meta

    def _like(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = storage_of(tensor)
        if storage is None or tensor.layout is not torch.strided:
            return tensor.detach().to("meta")
        shared = self._storages.get(storage._cdata)
        if shared is None:
            shared = torch.UntypedStorage(storage.nbytes(), device="meta")  # type: ignore[no-untyped-call]
            self._storages[storage._cdata] = shared
        empty = torch.empty(0, dtype=tensor.dtype, device="meta")
        return empty.set_(shared, tensor.storage_offset(), tensor.size(), tensor.stride())
