"""A network as the layers that one step runs: precision, what training changes, the loss."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from effcalc.footprint.step import StepSettings
from effcalc.network.network import Network, OperatorCall, Tensor, spread
from effcalc.network.ops import OPS
from effcalc.network.ops.core import Precision

LOW, HIGH = "bfloat16", "float32"


def prepared(network: Network, step: StepSettings) -> Network:
    """Return the network whose layers the step runs, first and last repeats written out.

    A training step ends with the cross entropy of the network's result and integer labels
    (mean over the batch; over all pixels where the result is an image).
    """
    network = spread(network)
    if step.train:
        network = _with_loss(_with_new_storages(network, step.device))
    if step.dtype == "bf16":
        network = _converted(network)
    elif step.dtype == "amp":
        network = _autocast(network, step.device)
    return replace(network, deaths=_lifetimes(network, step.train))


def _with_new_storages(network: Network, device: str) -> Network:
    """Give layers that are the identity at evaluation alone (dropout) memory of their own."""
    first = next((call.block for call in network.calls if call.block != call.stage), "")
    numbers = _numbers(network)
    storages: dict[int, int] = {}
    calls = []
    changed = False
    for call in network.calls:
        op = OPS.get(call.op)
        new_storage = bool(op and op.saves and op.saves(call, device).new_storage)
        if new_storage and call.op == "stochastic_depth" and call.block == first:
            new_storage = False  # its rate is 0
        changed |= new_storage
        if changed:
            operands = tuple(
                t._replace(storage=storages.get(t.id, t.storage)) for t in call.operands
            )
            outputs = call.outputs
            if new_storage:
                outputs = (call.outputs[0]._replace(storage=next(numbers)), *call.outputs[1:])
            elif call.memory != "new":
                outputs = (call.outputs[0]._replace(storage=operands[0].storage), *call.outputs[1:])
            storages.update((t.id, t.storage) for t in outputs)
            memory = "new" if new_storage else call.memory
            call = replace(call, operands=operands, outputs=outputs, memory=memory)
        calls.append(call)
    outputs = tuple(t._replace(storage=storages.get(t.id, t.storage)) for t in network.outputs)
    return replace(network, calls=tuple(calls), outputs=outputs)


def _numbers(network: Network) -> itertools.count[int]:
    """Numbers that no tensor or storage of a network has."""
    tensors = (
        *network.inputs,
        *(t for call in network.calls for t in (*call.operands, *call.outputs)),
    )
    return itertools.count(max((max(t.id, t.storage) for t in tensors), default=0) + 1)


def _with_loss(network: Network) -> Network:
    """Append the loss, and the labels that it reads to the inputs."""
    numbers = _numbers(network)
    logits = network.outputs[0]
    n, classes, *pixels = (*logits.shape, 1)[: max(2, len(logits.shape))]
    labels = _tensor(numbers, (n, *pixels), "int64")
    log = _tensor(numbers, (n, classes, *pixels), logits.dtype)
    loss, weight = (_tensor(numbers, (), logits.dtype) for _ in range(2))
    calls = (
        OperatorCall("loss", "log_softmax", (logits,), (log,)),
        OperatorCall("loss", "nll_loss", (log, labels), (loss, weight)),
    )
    return replace(
        network,
        inputs=(*network.inputs, labels),
        outputs=(loss,),
        calls=(*(call for call in network.calls if call.op != "unused"), *calls),
    )


def _tensor(numbers: Iterator[int], shape: tuple[int, ...], dtype: str) -> Tensor:
    number = next(numbers)
    return Tensor(number, shape, dtype, number)


def _lowered(t: Tensor) -> Tensor:
    return t._replace(dtype=LOW) if t.dtype == HIGH else t


def _converted(network: Network) -> Network:
    """`model.to(bfloat16)`, and images of it; what is not float32 stays."""
    calls = tuple(
        replace(
            call,
            operands=tuple(map(_lowered, call.operands)),
            outputs=tuple(map(_lowered, call.outputs)),
            params=tuple(p._replace(dtype=LOW) if p.dtype == HIGH else p for p in call.params),
        )
        for call in network.calls
    )
    sizes = _sizes(network, {t.storage for call in calls for t in call.outputs if t.dtype == LOW})
    return replace(
        network,
        inputs=tuple(map(_lowered, network.inputs)),
        outputs=tuple(map(_lowered, network.outputs)),
        calls=calls,
        storage_bytes=sizes,
    )


def _sizes(network: Network, halved: set[int]) -> Mapping[int, int]:
    """Observed sizes of storages, half where they now hold bfloat16."""
    return {s: n // 2 if s in halved else n for s, n in network.storage_bytes.items()}


def _autocast(network: Network, device: str) -> Network:
    """Insert the casts of torch.autocast, and follow the dtypes that result."""
    casts = _Casts(_numbers(network))
    calls: list[OperatorCall] = []
    for call in network.calls:
        calls += casts.applied(call, _precision(call, device))
    return replace(
        network,
        calls=tuple(calls),
        outputs=tuple(map(casts.followed, network.outputs)),
        storage_bytes=_sizes(network, casts.halved),
    )


@dataclass
class _Casts:
    """The casts of torch.autocast, inserted call by call.

    Weights are cast once and stay cached until autocast ends (the attribute "cached"). `dtypes` are
    those that results now have, `halved` the storages that now hold bfloat16.
    """

    numbers: Iterator[int]
    dtypes: dict[int, str] = field(default_factory=dict)
    cached: dict[str, Tensor] = field(default_factory=dict)
    halved: set[int] = field(default_factory=set)

    def followed(self, t: Tensor) -> Tensor:
        """Return a tensor in the dtype that it now has."""
        return t._replace(dtype=self.dtypes.get(t.id, t.dtype))

    def applied(self, call: OperatorCall, precision: Precision) -> list[OperatorCall]:
        """Return a call after the casts of its operands, in the dtypes that it now has."""
        casts: list[OperatorCall] = []
        operands = [self.followed(t) for t in call.operands]
        if precision == "low":
            dtype = LOW
            operands = [self._cast(call, t, LOW, casts) for t in operands[::-1]][::-1]
        elif precision == "float32":
            dtype = HIGH
            operands = [self._cast(call, t, HIGH, casts) for t in operands]
        else:
            read = {t.dtype for t in operands if not t.param and t.shape and _is_float(t)}
            dtype = LOW if read == {LOW} else HIGH
        outputs = []
        for i, t in enumerate(call.outputs):
            if dtype == LOW and t.dtype == HIGH and not (i and precision == "statistics"):
                t = t._replace(dtype=LOW)
                self.halved.add(t.storage)
            self.dtypes[t.id] = t.dtype
            outputs.append(t)
        return [*casts, replace(call, operands=tuple(operands), outputs=tuple(outputs))]

    def _cast(self, call: OperatorCall, t: Tensor, dtype: str, casts: list[OperatorCall]) -> Tensor:
        """Return an operand in `dtype`, and add the cast to `casts` where it needs one."""
        if not _is_float(t) or t.dtype == dtype:
            return t
        if t.param in self.cached:
            return self.cached[t.param]
        result = _tensor(self.numbers, t.shape, dtype)
        attrs = {"autocast": True, "cached": bool(t.param)}
        casts.append(
            replace(
                call,
                op="to_copy",
                operands=(t,),
                outputs=(result,),
                params=(),
                attrs=attrs,
                memory="new",
            )
        )
        if t.param:
            self.cached[t.param] = result
        return result


def _precision(call: OperatorCall, device: str) -> Precision:
    op = OPS.get(call.op)
    return op.autocast(call, device) if op is not None else "widest"


def _is_float(t: Tensor) -> bool:
    return t.dtype in (LOW, HIGH)


def _lifetimes(network: Network, train: bool) -> Mapping[int, int]:
    """Last layer of each storage, beside what autograd keeps.

    Built modules drop a value after its last use; while they train, a group of layers is called
    with its arguments, and Python's call holds those until the group returns.
    """
    calls = network.calls
    end = len(calls)
    observed = _shifted_deaths(network) if network.deaths else {}
    last = dict(observed)
    ends: dict[str, int] = {}
    for i, call in enumerate(calls):
        parts = call.name.split(".")
        for depth in range(1, len(parts) + 1):
            ends[".".join(parts[:depth])] = i
    makers: dict[int, str] = {}
    for i, call in enumerate(calls):
        for t in call.operands:
            if t.storage < 0 or t.storage in observed:
                continue
            held = i
            if train and not network.deaths:
                held = max(i, ends[_group(makers.get(t.id, ""), call.name)])
            last[t.storage] = max(last.get(t.storage, 0), held)
        for t in call.outputs:
            makers[t.id] = call.name
            if t.storage not in observed:
                last[t.storage] = max(last.get(t.storage, 0), i)
    for call in calls:
        if call.attrs.get("cached"):
            last[call.outputs[0].storage] = end
    if train:
        # The loss is called with the network's result, and casts it for the whole call.
        called = [*calls[-2].operands, *(calls[-3].operands if _is_cast(calls[-3]) else ())]
        for t in called:
            if t.storage in last:
                last[t.storage] = max(last[t.storage], end - 1)
    for t in (*network.inputs, *network.outputs):  # the caller holds them
        last[t.storage] = end
    return last


def _is_cast(call: OperatorCall) -> bool:
    return "autocast" in call.attrs


def _group(maker: str, reader: str) -> str:
    """Name of the outermost group around `reader` that `maker` is not in; or of `reader`."""
    parts = reader.split(".")
    shared = 0
    for ours, theirs in zip(parts, maker.split("."), strict=False):
        if ours != theirs:
            break
        shared += 1
    return ".".join(parts[: shared + 1])


def _shifted_deaths(network: Network) -> dict[int, int]:
    """Observed deaths, in the numbers of calls with casts among them."""
    places = [i for i, call in enumerate(network.calls) if not _is_cast(call)]
    return {s: places[min(i, len(places) - 1)] for s, i in network.deaths.items()}
