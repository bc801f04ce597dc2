"""Read the graph of a `.pt2` file, and nothing else of it.

`torch.export.load` unpickles what it finds and evaluates expressions, which a file from a
stranger must not be trusted with. The graph is JSON: here its operators run on tensors of the
shapes that it states, meta ones unless real ones are asked for. Weights are not read.
"""

from __future__ import annotations

import json
import math
import operator
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import InputError, one_line
from effcalc.models.graph import Graph, GraphNode, placeholder
from effcalc.models.inputs import InputSpec, by_name
from effcalc.models.targets import Loaded, filled

_MAX_JSON = 1 << 28
_NAMESPACES = ("aten", "torchvision")

# Numbers are torch.export's own (its schema's ScalarType).
_DTYPES = dict(
    zip(
        (*range(1, 14), *range(28, 36)),
        (
            *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
            *("complex32", "complex64", "complex128", "bool", "bfloat16", "uint16"),
            *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
            *("float8_e8m0fnu", "uint32", "uint64"),
        ),
        strict=True,
    )
)
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}

# Arithmetic on sizes, by the names that a graph uses.
_NAMES = "add sub mul floordiv truediv mod neg eq ne lt le gt ge and_ or_ not_ getitem abs index"
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in _NAMES.split()},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    "_operator.pow": lambda a, b: a**b if abs(b) < 64 else math.nan,
    "builtins.round": round,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_ite": lambda condition, a, b: a if condition else b,
    "torch._sym_sqrt": math.sqrt,
    "torch.sym_sqrt": math.sqrt,
}
_CHECKS = ("_assert", "sym_constrain", "_check")


def load_pt2(path: Path, where: str, inputs: list[InputSpec], *, real: bool = False) -> Loaded:
    """Return a module that runs the graph of a file, and its inputs, all on the meta device.

    With `real` they are on the CPU instead, with placeholder values; weights are never read.
    Inputs are those of the export unless `inputs` gives others. Raises `InputError` for a file
    that is not what `torch.export.save` writes, or whose graph cannot be run from its text.
    """
    program, sharing = _read(path, where)
    try:
        place = torch.device("cpu" if real else "meta")
        exported = _Exported(program, sharing, where, place)
        args, kwargs = exported.inputs(inputs)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, StopIteration) as error:
        cause = one_line(f"{type(error).__name__}: {error}")
        raise InputError(
            f"{where}: is a .pt2 file of another version or is damaged ({cause}); save it again "
            "with torch.export.save"
        ) from error
    return Loaded(where, exported.module, filled(args) if real else args, kwargs)


def _read(path: Path, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON of the program, and of its weights: which of them share memory."""
    right = "give a file that torch.export.save wrote"
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
            program = _member(file, names, "models/model.json", "serialized_exported_program.json")
            if program is None:
                program = _member(file, names, "models/", suffix=".json")
            weights = _member(file, names, "weights/model_weights_config.json")
    except zipfile.BadZipFile:
        with path.open("rb") as raw:
            pickled = raw.read(2)[:1] == b"\x80"
        what = "a pickle, which can run code when it is read" if pickled else "not a .pt2 file"
        raise InputError(f"{where}: is {what}; {right}") from None
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{where}: cannot be read: {one_line(error)}") from None
    if program is None:
        what = "holds no exported graph"
        if any(name.endswith("data.pkl") for name in names):
            what = "is what torch.save or torch.jit.save wrote, a pickle, which can run code"
        raise InputError(f"{where}: {what}; {right}")
    if not isinstance(program, dict) or "graph_module" not in program:
        raise InputError(f"{where}: holds no exported graph; {right}")
    return program, weights if isinstance(weights, dict) else {}


def _member(file: zipfile.ZipFile, names: list[str], *parts: str, suffix: str = "") -> Any:
    for name in names:
        if any(part in name for part in parts) and name.endswith(suffix):
            info = file.getinfo(name)
            if info.file_size > _MAX_JSON:
                raise ValueError(f"{name} is larger than 256 MiB")
            try:
                return json.loads(file.read(info))
            except RecursionError:
                raise ValueError(f"{name} is nested too deeply") from None
    return None


class _Exported:
    """Lays an exported program down as a graph of torch's operators."""

    def __init__(
        self,
        program: Mapping[str, Any],
        sharing: Mapping[str, Any],
        where: str,
        place: torch.device,
    ) -> None:
        self._where = where
        self._graph = program["graph_module"]["graph"]
        self._user: list[tuple[str, Any]] = []  # name, and a value that is part of the graph
        self.module = Graph(place)
        memory = {
            path: (entry.get("path_name"), str(entry.get("tensor_meta")))
            for path, entry in sharing.get("config", {}).items()
        }
        shared: dict[Any, torch.Tensor] = {}
        for spec in program["graph_module"]["signature"]["input_specs"]:
            ((kind, value),) = spec.items()
            name = value["arg"].get("name") if "arg" in value else value.get("name")
            if kind in ("parameter", "buffer"):
                path = value[f"{kind}_name"]
                key = memory.get(path, (None,))
                tensor = self._weight(name, shared.get(key), kind == "buffer")
                self.module.hold(name, path, tensor)
                if key[0] is not None:
                    shared[key] = tensor
            elif kind == "tensor_constant":
                self.module.constants[name] = self._like(name)
            elif kind == "user_input":
                ((how, argument),) = value["arg"].items()
                is_tensor = how == "as_tensor"
                name = argument["name"] if is_tensor else ""
                self._user.append((name, None if is_tensor else self._value(value["arg"], {})))
            elif kind == "constant_input":
                ((_, constant),) = value["value"].items()
                self._user.append(("", constant))
            else:
                raise InputError(f"{where}: takes a {kind}, which cannot be counted from its text")
        outputs = self._graph["outputs"]
        self.module.plan(
            [name for name, _ in self._user if name],
            map(self._step, self._graph["nodes"]),
            _names(outputs),
            lambda values: [self._value(output, values) for output in outputs],
        )

    def _step(self, node: Mapping[str, Any]) -> GraphNode:
        names = (*_names(node["inputs"]), *_names(node["outputs"]))
        scope = _scope(node.get("metadata", {}).get("nn_module_stack", ""))
        return GraphNode(partial(self._run, node), scope, frozenset(names))

    def inputs(self, specs: list[InputSpec]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the inputs of the export, or those that `specs` give for them."""
        wanted = [name for name, _ in self._user if name]
        values: dict[str, torch.Tensor] = {}
        for name, spec in by_name(specs, wanted, self._where).items():
            dtype = getattr(torch, spec.dtype)
            values[name] = torch.empty(spec.shape, dtype=dtype, device="meta")
        for name in wanted:
            if name not in values:
                values[name] = self._like(name)
        return tuple(values[name] for name in wanted), {}

    def _run(self, node: Mapping[str, Any], env: dict[str, Any]) -> None:
        function = self._function(node["target"])
        if function is None:
            return
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for argument in node["inputs"]:
            value = self._value(argument["arg"], env)
            if argument.get("kind") == 2 or (argument.get("kind") is None and kwargs):
                kwargs[argument["name"]] = value
            else:
                args.append(value)
        result = function(*args, **kwargs)
        outputs = node["outputs"]
        if len(outputs) == 1 and "as_tensors" not in outputs[0]:
            result = (result,)
        elif len(outputs) == 1:
            outputs = [{"as_tensor": t} for t in outputs[0]["as_tensors"]]
        for output, value in zip(outputs, result, strict=False):
            ((_, named),) = output.items()
            if isinstance(named, Mapping):
                env[named.get("name") or named.get("as_name") or ""] = value

    def _function(self, target: str) -> Callable[..., Any] | None:
        """Return what a node calls: an operator of torch's, or arithmetic on sizes."""
        if target in _FUNCTIONS:
            return _FUNCTIONS[target]
        namespace, _, name = target.removeprefix("torch.ops.").partition(".")
        packet, _, overload = name.partition(".")
        if packet.startswith(_CHECKS) or target.startswith("torch._check"):
            return None
        if target.startswith("torch.ops.") and namespace in _NAMESPACES:
            if namespace == "torchvision":
                _import_torchvision()
            called = getattr(getattr(getattr(torch.ops, namespace), packet, None), overload, None)
            if isinstance(called, torch._ops.OpOverload) and _is_harmless(called):
                return called
        raise InputError(
            f"{self._where}: calls {one_line(target)}, which cannot be counted from a file; give "
            "module:factory"
        )

    def _value(self, argument: Mapping[str, Any], env: Mapping[str, Any]) -> Any:
        """Return an argument of a node."""
        ((kind, value),) = argument.items()
        if kind in ("as_tensor", "as_custom_obj", "as_token"):
            return env[value["name"]]
        if kind == "as_tensors":
            return [env[t["name"]] for t in value]
        if kind == "as_nested_tensors":
            return [[env[t["name"]] for t in row] for row in value]
        if kind == "as_optional_tensor":
            return self._value(value, env)
        if kind == "as_optional_tensors":
            return [self._value(v, env) for v in value]
        if kind.startswith("as_sym"):
            return [_size(v, env) for v in value] if isinstance(value, list) else _size(value, env)
        if kind == "as_none":
            return None
        if kind == "as_scalar_type":
            return getattr(torch, _DTYPES[value])
        if kind == "as_memory_format":
            return _MEMORY_FORMATS[value]
        if kind == "as_layout":
            return torch.strided
        if kind == "as_device":
            return self.module.place
        if kind == "as_complex":
            return complex(value["real"], value["imag"])
        if kind in ("as_graph", "as_operator"):
            raise InputError(f"{self._where}: has control flow, which depends on values")
        return value

    def _like(self, name: str) -> torch.Tensor:
        """Return a tensor as the graph describes it; its values are small placeholders."""
        meta = self._graph["tensor_values"][name]
        sizes = [self._side(name, side) for side in meta["sizes"]]
        return placeholder(sizes, getattr(torch, _DTYPES[meta["dtype"]]), self.module.place)

    def _weight(self, name: str, shared: torch.Tensor | None, buffer: bool) -> torch.Tensor:
        """Return a parameter or buffer, the same one where memory is shared."""
        tensor = self._like(name) if shared is None else shared
        if buffer or shared is not None:
            return tensor
        return nn.Parameter(tensor, bool(self._graph["tensor_values"][name]["requires_grad"]))

    def _side(self, name: str, side: Mapping[str, Any]) -> int:
        if "as_int" in side:
            return int(side["as_int"])
        hint = side["as_expr"].get("hint") or {}
        if "as_int" not in hint:
            raise InputError(
                f"{self._where}: input {one_line(name)} has no fixed size; give `input`"
            )
        return int(hint["as_int"])


def _scope(stack: str) -> str:
    """Return the module that a node ran in; its stack is `key,path,class;key,path,class`."""
    parts = stack.rpartition(";")[2].split(",")
    path = parts[1] if len(parts) > 2 and "_empty_nn" not in parts[0] else ""
    return path.partition("@")[0]  # a second call of one module is written path@1


def _names(value: Any) -> Iterator[str]:
    """Yield the names of values in an argument of a node, however deep."""
    if isinstance(value, Mapping):
        for key in ("name", "as_name"):
            if isinstance(value.get(key), str):
                yield value[key]
        for v in value.values():
            yield from _names(v)
    elif isinstance(value, list):
        for v in value:
            yield from _names(v)


def _size(value: Mapping[str, Any], env: Mapping[str, Any]) -> Any:
    ((kind, v),) = value.items()
    return env[v] if kind == "as_name" else v


def _is_harmless(op: torch._ops.OpOverload) -> bool:
    """Whether an operator is a computation: not TorchScript's own, and without a file's name."""
    strings = [a for a in op._schema.arguments if str(a.type) in ("str", "Optional[str]")]
    files = any("file" in a.name or "path" in a.name for a in strings)
    return torch._C._dispatch_has_kernel(op._name) and not files


def _import_torchvision() -> None:
    """Let torchvision register its operators, where it is installed."""
    import importlib
    from contextlib import suppress

    with suppress(ImportError):
        importlib.import_module("torchvision")
