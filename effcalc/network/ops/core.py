"""What an operator's record holds, and how a layer's cost follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from effcalc.base.units import dtype_bytes
from effcalc.network.network import OperatorCall, Shape, Tensor

Formula = Callable[[OperatorCall], int]


class Traffic(NamedTuple):
    """Elements and bytes that a layer moves, evaluated without gradients."""

    read: int
    written: int
    read_bytes: int
    written_bytes: int


class Cost(NamedTuple):
    """What work costs; costs add field by field (`total`).

    `macs` are the multiply-accumulates of convolutions, linear layers and matrix products.
    `elementwise` has one per output element of element-wise, normalisation, pooling and softmax
    operators. `flops_other` is arithmetic that is neither (an FFT), its convention stated at the
    operator. `read` and `written` are elements, and bytes by each tensor's own dtype.
    """

    macs: int = 0
    elementwise: int = 0
    flops_other: int = 0
    read: int = 0
    written: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations: 2 per multiply-accumulate, plus `flops_other`."""
        return 2 * self.macs + self.flops_other

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written."""
        return self.read_bytes + self.written_bytes


def total(costs: list[tuple[Cost, int]]) -> Cost:
    """Add costs, each times its count; the sum of nothing is `Cost()`."""
    return Cost(*(sum(c[i] * n for c, n in costs) for i in range(len(Cost._fields))))


def none(call: OperatorCall) -> int:
    """Formula of an operator that does no such work."""
    return 0


def per_output(call: OperatorCall) -> int:
    """One operation for each element of the first output."""
    return call.outputs[0].numel


def per_every_output(call: OperatorCall) -> int:
    """One operation for each element of all outputs, of an operator over lists of tensors."""
    return sum(t.numel for t in call.outputs)


def each_operand_once(call: OperatorCall) -> Traffic:
    """Each distinct operand is read once and each output written once; a view moves nothing."""
    if call.memory == "view":
        return Traffic(0, 0, 0, 0)
    read = written = read_bytes = written_bytes = 0
    seen: set[tuple[int, str]] = set()
    for t in call.operands:
        if (t.id, t.param) not in seen:
            seen.add((t.id, t.param))
            n = t.numel
            read = read + n
            read_bytes = read_bytes + n * dtype_bytes(t.dtype)
    for t in call.outputs:
        n = t.numel
        written = written + n
        written_bytes = written_bytes + n * dtype_bytes(t.dtype)
    return Traffic(read, written, read_bytes, written_bytes)


def nothing_moved(call: OperatorCall) -> Traffic:
    """Traffic of an operator that touches no element."""
    return Traffic(0, 0, 0, 0)


def first_output_written(call: OperatorCall) -> Traffic:
    """Traffic of an operator whose other outputs are statistics or scratch saved for later.

    Kernels differ in them: evaluating a batch norm returns them with C elements on meta tensors
    and empty on CPU ones.
    """
    return each_operand_once(replace(call, outputs=call.outputs[:1]))


def only_written(call: OperatorCall) -> Traffic:
    """Traffic of an operator that fills its outputs and reads its operands' shapes alone."""
    return each_operand_once(replace(call, operands=()))


def overwritten(call: OperatorCall) -> Traffic:
    """Traffic of an operator that replaces its first operand without reading it."""
    return each_operand_once(replace(call, operands=call.operands[1:]))


def gathered(call: OperatorCall) -> Traffic:
    """Traffic of a look-up: of its first operand it reads what it returns, and all the indices."""
    moved = each_operand_once(replace(call, operands=call.operands[1:]))
    n, size = call.outputs[0].numel, dtype_bytes(call.operands[0].dtype)
    return moved._replace(read=moved.read + n, read_bytes=moved.read_bytes + n * size)


class TorchModule(NamedTuple):
    """A torch module that runs a layer: its class ("torch.nn:Conv2d") and keyword arguments."""

    path: str
    arguments: Mapping[str, Any]


class TorchFunction(NamedTuple):
    """A torch function that runs a layer, called with its inputs and then keyword arguments.

    `path` is "torch:cat", or "torch:Tensor.add_" for a method. `listed`: the inputs are one list.
    """

    path: str
    arguments: Mapping[str, Any]
    listed: bool = False


class SavedForBackward(NamedTuple):
    """What torch's autograd keeps of one call until its backward, and how gradients come about.

    `operands` and `outputs` are the positions of the tensors kept; `if_other_needs_grad` keeps
    each of two operands where the other needs a gradient. An operator in place that keeps its
    first operand keeps a copy of it. `extra` lists tensors that the forward allocates for the
    backward alone, as (shape, dtype): statistics, masks. `new_storage`: in training the result is
    new memory.

    An operand's gradient is new memory of its shape, but for the positions in `same`, where it is
    the result's gradient itself (a sum, a view), or with `slices` a part of it. With `per_operand`
    the gradients are computed one operator after the other: each has the result's shape first and
    is then summed to its operand's, and `scratch` says how many more tensors of that size the last
    one needs. `differentiable`: false where there are none.
    """

    operands: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    if_other_needs_grad: bool = False
    extra: tuple[tuple[Shape, str], ...] = ()
    new_storage: bool = False
    same: tuple[int, ...] = ()
    slices: bool = False
    per_operand: bool = False
    scratch: int = 0
    differentiable: bool = True


Saves = Callable[[OperatorCall, str], SavedForBackward]
"""From a layer and the kind of device ("cpu", "cuda") to what autograd keeps of it."""


Precision = Literal["low", "float32", "statistics", "widest"]
"""What torch.autocast has an operator compute in: the lower precision; float32; the widest dtype of
its operands, as they are ("statistics": but results after the first are float32)."""

Autocast = Callable[[OperatorCall, str], Precision]
"""From a call and the kind of device ("cpu", "cuda") to its precision under autocast."""


def widest(call: OperatorCall, device: str) -> Precision:
    """Rule of an operator that is on none of autocast's lists."""
    return "widest"


class OnnxNode(NamedTuple):
    """A node of an ONNX graph: its operator's name, its operands and attributes."""

    type: str
    operands: tuple[Tensor, ...]
    attrs: Mapping[str, Any]


class OnnxCall(NamedTuple):
    """A node as a call of the operator `op` of ours."""

    op: str
    operands: tuple[Tensor, ...]
    memory: Literal["new", "view"] = "new"
    attrs: Mapping[str, Any] = {}


class Op(NamedTuple):
    """All that is known of an operator: its names, its formulas over an `OperatorCall`, its rules.

    `torch` are the operators of torch that it serves, without overload ("aten::convolution").
    `free` marks an operator that is known to compute nothing (a view, an allocation): not the same
    as one without a record, which is unknown and reported as such. `build` says how torch runs a
    call that a block added; paths are text, so that no record needs torch. `saves` says what
    training keeps of a call; without it that is unknown, which a prediction of memory reports.
    `autocast` says what precision it gets in mixed precision. `onnx` are the operators of ONNX that
    it serves; where their operands or attributes are others than torch's, `from_onnx` translates,
    to a call of this or another record, and raises `IndexError`, `KeyError` or `ValueError` for a
    node that has no such call.
    """

    name: str
    torch: tuple[str, ...] = ()
    macs: Formula = none
    elementwise: Formula = none
    flops_other: Formula = none
    traffic: Callable[[OperatorCall], Traffic] = each_operand_once
    free: bool = False
    build: Callable[[OperatorCall], TorchModule | TorchFunction] | None = None
    saves: Saves | None = None
    autocast: Autocast = widest
    onnx: tuple[str, ...] = ()
    from_onnx: Callable[[OnnxNode], OnnxCall] | None = None


def aten(names: str) -> tuple[str, ...]:
    """Return torch's own operators by their names, separated by spaces."""
    return tuple(f"aten::{name}" for name in names.split())


def elementwise(
    name: str,
    saves: Saves | None = None,
    *,
    torch: str | None = None,
    more: str = "",
    onnx: str = "",
    **fields: Any,
) -> Op:
    """Return the record of an operator that counts one for each element of its first output.

    It serves torch's operator of its name and that in place (which not every one has), or those in
    `torch`, and `more`; `fields` are others of the record.
    """
    served = aten(f"{name} {name}_" if torch is None else torch) + aten(more)
    names = tuple(onnx.split())
    return Op(name, served, elementwise=per_output, saves=saves, onnx=names, **fields)


OPS: dict[str, Op] = {}
BY_TORCH: dict[str, Op] = {}
BY_ONNX: dict[str, Op] = {}


def register(*ops: Op) -> None:
    """Add records; an operator of torch or ONNX belongs to one record alone."""
    for op in ops:
        if op.name in OPS:
            raise ValueError(f"two records named {op.name!r}")
        OPS[op.name] = op
        for index, names in ((BY_TORCH, op.torch), (BY_ONNX, op.onnx)):
            for name in names:
                if name in index:
                    raise ValueError(f"{name} belongs to {index[name].name!r} and {op.name!r}")
                index[name] = op


def from_onnx(node: OnnxNode) -> OnnxCall | None:
    """Return a node as a call of one of the operators, or None where there is none."""
    op = BY_ONNX.get(node.type)
    if op is None:
        return None
    if op.from_onnx is None:
        return OnnxCall(op.name, node.operands)
    try:
        return op.from_onnx(node)
    except (IndexError, KeyError, ValueError):
        return None


def cost(call: OperatorCall) -> Cost:
    """Cost of one call of a layer (not times its `count`).

    An operator without a record costs what it moves: its arithmetic is unknown, which the
    network's `uncounted` says.
    """
    op = OPS.get(call.op)
    if op is None:
        return Cost(0, 0, 0, *each_operand_once(call))
    return Cost(op.macs(call), op.elementwise(call), op.flops_other(call), *op.traffic(call))


def macs(call: OperatorCall) -> int:
    """Multiply-accumulates of one call of a layer: `cost(layer).macs` without the rest."""
    op = OPS.get(call.op)
    return op.macs(call) if op is not None else 0
