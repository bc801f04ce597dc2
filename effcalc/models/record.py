"""The dispatch mode that writes down every operator that torch runs, as layers of a `Network`.

It sees operators below autograd, whatever module or functional call made them, keeps no tensor
alive, and follows memory by storage: a view and an in-place result share their source's.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from effcalc.network.network import OperatorCall, Param, Tensor
from effcalc.network.ops import BY_TORCH, Op

# Arguments that are not part of what an operator computes.
_PLUMBING = frozenset(
    ("dtype", "layout", "device", "pin_memory", "memory_format", "generator", "non_blocking")
)
_SCALARS = (int, float, bool, str)


class _Call(NamedTuple):
    """What is known of a torch operator before it is called."""

    name: str
    op: Op | None
    arguments: tuple[str, ...]  # positional, by the schema; "" for one to leave out
    left_out: frozenset[str]
    written: tuple[str, ...]  # arguments written in place
    reshaped: tuple[str, ...]  # those of them whose shape or memory may change
    decompose: bool


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name: "float32"."""
    return str(dtype).removeprefix("torch.")


def storage_of(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    """Return a tensor's storage, or None for one that has none (sparse ones, some subclasses)."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


class Held:
    """Parameters and buffers of a module by identity: whose memory a storage is.

    A parameter registered twice, and two that share memory, have one key: the first path.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        """Read the module's parameters and buffers, under every path."""
        self.params: dict[str, Param] = {}
        self.keys: dict[str, str] = {}  # every path -> key
        self._memory: dict[int, list[tuple[int, str]]] = {}  # storage -> (offset, key), sorted
        self._alive: list[object] = []  # a storage's address is its identity while it lives
        seen: dict[object, str] = {}
        parameters = dict(module.named_parameters(remove_duplicate=False))
        buffers = dict(module.named_buffers(remove_duplicate=False))
        for name, tensor in (parameters | buffers).items():
            buffer = name in buffers
            storage = storage_of(tensor)
            identity: object = id(tensor)
            if storage is not None and tensor.numel():
                identity = (storage._cdata, tensor.storage_offset(), tensor.numel())
            key = self.keys[name] = seen.setdefault(identity, name)
            if key != name:
                continue
            trainable = tensor.requires_grad and not buffer
            shape, dtype = tuple(tensor.shape), dtype_name(tensor.dtype)
            self.params[name] = Param(name, shape, dtype, trainable, buffer)
            if storage is not None:
                self._memory.setdefault(storage._cdata, []).append(
                    (int(tensor.storage_offset()), name)
                )
                self._alive.append(storage)
        for places in self._memory.values():
            places.sort()

    def key(self, address: int, tensor: torch.Tensor) -> str:
        """Return the key of the parameter or buffer whose memory a tensor is, or ""."""
        places = self._memory.get(address)
        if places is None:
            return ""
        if len(places) == 1:
            return places[0][1]
        after = bisect_right(places, tensor.storage_offset(), key=lambda place: place[0])
        return places[max(after - 1, 0)][1]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down operators while it is the current mode; `path` says in which module."""

    supports_higher_order_operators = True

    def __init__(self, held: Held, path: Callable[[], str]) -> None:
        """Start with no layers; `path` is asked for the current module at every operator."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[OperatorCall] = []
        self.deaths: dict[int, int] = {}
        self.storage_bytes: dict[int, int] = {}
        self.uncounted: dict[str, int] = {}
        self.charged: set[str] = set()  # parameters that some layer has read
        self.viewed: dict[str, int] = {}  # parameters -> first layer that made a view of it
        self.phase = ""
        self._held = held
        self._path = path
        self._calls: dict[Any, _Call] = {}
        self._numbers = 0
        self._tensors: dict[int, tuple[weakref.ref[torch.Tensor], Tensor]] = {}
        self._storages: dict[int, int] = {}
        self._watched: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._dtypes: dict[torch.dtype, str] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator and write it down."""
        kwargs = kwargs or {}
        call = self._calls.get(func)
        if call is None:
            call = self._calls[func] = _look_up(func)
        if call.decompose:
            # Inference mode hands composite operators over whole.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        operands: list[Tensor] = []
        attrs: dict[str, Any] = {}
        for i, value in enumerate(args):
            name = call.arguments[i] if i < len(call.arguments) else f"argument{i}"
            self._argument(name, value, operands, attrs)
        for name, value in kwargs.items():
            if name not in call.left_out:
                self._argument(name, value, operands, attrs)
        known = self._numbers
        result = func(*args, **kwargs)
        for name in call.reshaped:
            tensor = _argument(call, name, args, kwargs)
            if isinstance(tensor, torch.Tensor):
                self._describe(tensor, self.number(tensor).id)
        outputs: list[Tensor] = []
        self._collect(result, outputs)
        if not outputs:
            for name in call.written:
                self._collect(_argument(call, name, args, kwargs), outputs)
        self._record(call, args, operands, outputs, attrs, known)
        return result

    def number(self, tensor: torch.Tensor) -> Tensor:
        """Return a tensor as the network knows it, with new numbers if it is not known yet."""
        entry = self._tensors.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            return entry[1]
        return self._describe(tensor, self._next())

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _describe(self, tensor: torch.Tensor, number: int) -> Tensor:
        """Note what a tensor is now; an operator in place may change its shape and its memory."""
        storage, key = self._storage(tensor)
        if storage < 0 and not key:
            storage = number
        dtype = self._dtypes.get(tensor.dtype)
        if dtype is None:
            dtype = self._dtypes[tensor.dtype] = dtype_name(tensor.dtype)
        described = Tensor(number, tuple(tensor.shape), dtype, storage, key)
        self._tensors[id(tensor)] = (weakref.ref(tensor), described)
        return described

    def finish(self) -> None:
        """Stop watching; what is still alive lives through the last layer."""
        for number in self._storages.values():
            self.deaths[number] = len(self.calls) - 1
        self._watched.clear()

    def _storage(self, tensor: torch.Tensor) -> tuple[int, str]:
        """Return the number of a tensor's storage, or the key of the parameter that it is."""
        storage = storage_of(tensor)
        if storage is None:
            return -1, ""
        address = storage._cdata
        number = self._storages.get(address)
        if number is not None:
            return number, ""
        key = self._held.key(address, tensor)
        if key:
            return -1, key
        number = self._storages[address] = self._next()
        self.storage_bytes[number] = storage.nbytes()
        self._watched[address] = weakref.ref(storage, partial(self._died, address))
        return number, ""

    def _died(self, address: int, _: object) -> None:
        del self._watched[address]
        self.deaths[self._storages.pop(address)] = len(self.calls) - 1

    def _argument(
        self, name: str, value: Any, operands: list[Tensor], attrs: dict[str, Any]
    ) -> None:
        if not name or value is None:
            return
        if isinstance(value, torch.Tensor):
            operands.append(self.number(value))
        elif isinstance(value, _SCALARS):
            attrs[name] = value
        elif isinstance(value, list | tuple):
            if all(isinstance(v, _SCALARS) for v in value):
                attrs[name] = tuple(value)
            else:
                self._collect(value, operands)

    def _collect(self, value: Any, tensors: list[Tensor]) -> None:
        if isinstance(value, torch.Tensor):
            tensors.append(self.number(value))
        elif isinstance(value, list | tuple):
            for v in value:
                self._collect(v, tensors)

    def _record(
        self,
        call: _Call,
        args: tuple[Any, ...],
        operands: list[Tensor],
        outputs: list[Tensor],
        attrs: dict[str, Any],
        known: int,
    ) -> None:
        name = call.op.name if call.op is not None else call.name
        if call.op is None:
            self.uncounted[name] = self.uncounted.get(name, 0) + 1
        memory: Literal["new", "inplace", "view"] = "new"
        # Memory that was known before the call is an operand's.
        if outputs and (outputs[0].param or outputs[0].storage <= known):
            memory = "inplace" if call.written else "view"
        if name in ("mm", "addmm"):
            if operands[-1].param and _transposed(args[-1]):
                # x · Wᵀ + bias is how torch runs F.linear, whose operands are x, W, bias.
                name, operands = "linear", [*operands[-2:], *operands[:-2]]
        elif name == "mul" and _is_outer(operands):
            name = "outer"
        elif name == "batch_norm" and not attrs.get("training"):
            # Statistics that evaluation does not make; the meta kernel pretends that it does.
            outputs = outputs[:1]
        params: tuple[Param, ...] = ()
        keys = dict.fromkeys(t.param for t in operands if t.param and t.param not in self.charged)
        if keys and memory == "view":
            for key in keys:
                self.viewed.setdefault(key, len(self.calls))
        elif keys:
            self.charged.update(keys)
            params = tuple(self._held.params[key] for key in keys)
        if self.phase:
            attrs["phase"] = self.phase
        self.calls.append(
            OperatorCall(self._path(), name, tuple(operands), tuple(outputs), params, attrs, memory)
        )


def _transposed(weight: torch.Tensor) -> bool:
    """Whether a matrix lies in memory as the transpose of a contiguous one."""
    rows, columns = weight.stride()
    return rows == 1 and (columns != 1 or weight.shape[0] == 1)


def _is_outer(operands: list[Tensor]) -> bool:
    """Whether a product is (m, 1) times (n,), which is how torch runs an outer product."""
    shapes = [t.shape for t in operands]
    return [len(shape) for shape in shapes] == [2, 1] and shapes[0][1] == 1


def _look_up(func: Any) -> _Call:
    """Read a torch operator's schema once."""
    schema = getattr(func, "_schema", None)
    if schema is None:  # a higher-order operator
        name = f"{getattr(func, 'namespace', 'higher_order')}::{func.__name__}"
        return _Call(name, BY_TORCH.get(name), (), frozenset(), (), (), False)
    op = BY_TORCH.get(schema.name)
    written = tuple(a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write)
    left_out = _PLUMBING | {a.name for a in schema.arguments if a.is_out}
    if op is not None and op.name == "view":  # there are many and none needs its attributes
        left_out |= {a.name for a in schema.arguments if "Tensor" not in str(a.type)}
    arguments = tuple(
        "" if a.name in left_out else a.name for a in schema.arguments if not a.kwarg_only
    )
    decompose = op is None and bool(func._can_decompose())
    # Only `transpose_`, `resize_`, `set_` and their like do; of unknown ones nobody knows.
    reshaped = written if op is None or op.name in ("view", "resize") else ()
    return _Call(schema.name, op, arguments, left_out, written, reshaped, decompose)


def _argument(call: _Call, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return an argument of a call by name, given by position or by keyword."""
    if name in kwargs:
        return kwargs[name]
    place = call.arguments.index(name) if name in call.arguments else len(args)
    return args[place] if place < len(args) else None
