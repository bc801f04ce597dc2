"""Make a user's model on the meta device, so that its weights are never allocated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from effcalc.base.errors import RunError
from effcalc.models.count import explained


def construct(make: Callable[[], Any], where: str, *, real: bool) -> Any:
    """Call `make` and return what it makes; raises `RunError` where it fails.

    Unless it is to be `real`, every tensor that it makes is on the meta device. Some models
    compute their own shape with tensors (`torch.linspace(...).tolist()`), which meta tensors
    cannot; those are made again with real ones where values are given, and meta weights.
    """
    if real:
        with explained(where, None, real=True):
            return make()
    try:
        with explained(where, None, real=False), torch.device("meta"):
            return make()
    except RunError as error:
        try:
            with explained(where, None, real=False), _MetaUnlessValues():
                return make()
        except RunError:
            raise error from error.__cause__


# Functions that ask for memory; others make tensors of given values (`arange`, `tensor`).
_MEMORY = ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "randperm")
_MAKERS = frozenset(getattr(torch, name) for name in _MEMORY)


class _MetaUnlessValues(TorchFunctionMode):
    """Puts on meta what memory is asked for, and leaves small given values on the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _MAKERS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
