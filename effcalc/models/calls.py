"""Follow the calls of modules while a block runs, and leave torch as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

Call = Callable[[Callable[..., Any], nn.Module, tuple[Any, ...], dict[str, Any]], Any]
"""What runs in place of a module's call: it gets the original call and all of its arguments."""


@contextmanager
def module_calls(through: Call) -> Iterator[None]:
    """Send every call of a module in this thread through a function, while the block runs.

    `nn.Module.__call__` is replaced, and put back afterwards: hooks would change the modules, and
    would not see what other hooks run. Calls in other threads are left alone.
    """
    original = nn.Module.__call__
    thread = threading.get_ident()

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return original(module, *args, **kwargs)
        return through(original, module, args, kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]
