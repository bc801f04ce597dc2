"""Run a torch module once and describe what it ran as a `Network`."""

from __future__ import annotations

import dataclasses
import random
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from effcalc.models.calls import module_calls
from effcalc.models.record import Held, Recorder
from effcalc.network.network import Network, OperatorCall, Param


def trace(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    grad: bool = False,
    then: Callable[[Any], None] | None = None,
) -> Network:
    """Run `module(*args, **kwargs)` once and return every operator that it ran.

    The module runs as it is: on the device of its tensors, in its own mode, with autograd where
    `grad` is true. The random state of torch, NumPy and Python is restored afterwards, and no hook
    is left; what the module's own forward changes in itself (running statistics, caches) stays
    changed. To leave a module unchanged, trace its `to_meta`.

    The result has a layer with `count` 1 for each operator, in the order of running, named after
    the module that ran it ("" for the module itself). `operands` are in the order of the schema;
    of a linear layer x, weight, bias. `deaths` are observed when torch frees a storage: with
    `grad` they include what autograd keeps for the backward pass. A parameter belongs to the
    first layer that reads it, and one that nothing reads to a last layer of operator "unused".

    `then(outputs)` runs after the forward pass and is recorded too: a loss, a backward pass, an
    optimizer. Its layers have the attribute "phase" set to "backward", and the backward of an
    operator is named after the module whose forward ran it.

    Errors of the module pass through; their attribute `effcalc_path` is the path of the innermost
    module that raised them.
    """
    kwargs = dict(kwargs or {})
    tensors = [*_state(module), *tensors_in((args, kwargs))]
    on_meta = bool(tensors) and all(t.is_meta for t in tensors)
    if any(nn.parameter.is_lazy(t) for t in tensors):
        with torch.no_grad(), _random_state(), _default_device(on_meta):
            module(*args, **kwargs)  # a lazy module creates its parameters when it first runs
    held = Held(module)
    names = _Names(module)
    recorder = Recorder(held, names.current)
    inputs = tuple(recorder.number(t) for t in tensors_in((args, kwargs)))
    with (
        _random_state(),
        torch.set_grad_enabled(grad),
        _default_device(on_meta),
        module_calls(names.call),
    ):
        with recorder:
            result = module(*args, **kwargs)
        outputs = tuple(recorder.number(t) for t in tensors_in(result))
        if then is not None:
            recorder.phase = "backward"
            names.forward_done()
            with recorder:
                then(result)
        recorder.finish()
    return Network(
        type(module).__name__,
        inputs,
        outputs,
        _with_leftovers(recorder, held),
        recorder.deaths,
        recorder.storage_bytes,
        recorder.uncounted,
        names.uncalled(module, held, recorder.charged),
        module.training,
    )


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested containers: sequences, mappings, sets, dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from tensors_in(v)
    elif isinstance(value, list | tuple | set | frozenset):
        for v in value:
            yield from tensors_in(v)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            yield from tensors_in(getattr(value, f.name, None))


class _Names:
    """The modules that are running, and the module that created each backward node."""

    def __init__(self, module: nn.Module) -> None:
        self._paths = {id(m): path for path, m in module.named_modules()}
        self._stack = [""]
        self._entered: set[int] = set()
        self._starts: list[int] = [0]  # first backward node of each stretch of one module
        self._creators: list[str] = [""]
        self._backward = False

    def current(self) -> str:
        """Return the path of the running module; in a backward pass of the node's creator."""
        if self._backward and len(self._stack) == 1:
            node = torch._C._current_autograd_node()
            if node is not None:
                stretch = bisect_right(self._starts, node._sequence_nr())
                # Nodes that accumulate a parameter's gradient have the largest number of all.
                return self._creators[stretch - 1] if stretch < len(self._starts) else ""
        return self._stack[-1]

    def forward_done(self) -> None:
        """From here on operators belong to a backward pass."""
        self._mark()
        self._backward = True

    def _mark(self) -> None:
        if not self._backward and torch.is_grad_enabled():
            self._starts.append(torch._C._autograd._get_sequence_nr())
            self._creators.append(self._stack[-1])

    def call(
        self,
        original: Callable[..., Any],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run a module's call as that of the innermost module."""
        # A module that is not registered anywhere belongs to the one that calls it.
        path = self._paths.get(id(module), self._stack[-1])
        self._stack.append(path)
        self._entered.add(id(module))
        self._mark()
        try:
            return original(module, *args, **kwargs)
        except Exception as error:
            if not hasattr(error, "effcalc_path"):
                error.effcalc_path = path  # type: ignore[attr-defined]
            raise
        finally:
            self._stack.pop()
            self._mark()

    def uncalled(self, module: nn.Module, held: Held, read: set[str]) -> tuple[str, ...]:
        """Return the outermost modules with parameters or buffers that nothing ran or read."""
        modules = dict(module.named_modules())
        active: set[str] = set()
        for path, m in modules.items():
            if id(m) in self._entered or any(held.keys[name] in read for name in _own(path, m)):
                while path and path not in active:
                    active.add(path)
                    path = path.rpartition(".")[0]
                active.add("")
        return tuple(
            path
            for path, m in modules.items()
            if path not in active
            and path.rpartition(".")[0] in active
            and next(_state(m), None) is not None
        )


def _own(path: str, module: nn.Module) -> Iterator[str]:
    """Yield the paths of the parameters and buffers that a module itself holds."""
    for members in (module.named_parameters(path, False), module.named_buffers(path, False)):
        for name, _ in members:
            yield name


def _state(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _with_leftovers(recorder: Recorder, held: Held) -> tuple[OperatorCall, ...]:
    """Give the parameters and buffers that no operator read to the layers of their modules.

    A buffer that evaluation leaves alone (a batch norm's step counter) goes to its module's first
    layer that has parameters, a parameter of which only a view was taken to that view; the
    rest to layers "unused".
    """
    calls = recorder.calls
    first: dict[str, int] = {}
    for i in sorted(range(len(calls)), key=lambda i: not calls[i].params):
        first.setdefault(calls[i].name, i)
    more: dict[int, list[Param]] = {}
    unused: dict[str, list[Param]] = {}
    for key, param in held.params.items():
        if key in recorder.charged:
            continue
        owner = key.rpartition(".")[0]
        place = recorder.viewed.get(key, first.get(owner) if param.buffer else None)
        if place is None:
            unused.setdefault(owner, []).append(param)
        else:
            more.setdefault(place, []).append(param)
    for place, params in more.items():
        calls[place] = replace(calls[place], params=(*calls[place].params, *params))
    return (
        *calls,
        *(OperatorCall(owner, "unused", (), (), tuple(params)) for owner, params in unused.items()),
    )


@contextmanager
def _random_state() -> Iterator[None]:
    """Restore the random state of torch, Python and NumPy afterwards."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = range(torch.cuda.device_count()) if started else ()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


def _default_device(on_meta: bool) -> AbstractContextManager[Any]:
    """Have the forward create its tensors on meta too where everything else is there."""
    return torch.device("meta") if on_meta else nullcontext()
