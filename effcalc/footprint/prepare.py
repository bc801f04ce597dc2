"""A network as the layers that one step runs: precision, what training changes, the loss."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

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
        network = _with_loss(_renewed(network, step.device))
    if step.dtype == "bf16":
        network = _converted(network)
    elif step.dtype == "amp":
        network = _autocast(network, step.device)
    return replace(network, deaths=_lifetimes(network, step.train))


def _renewed(network: Network, device: str) -> Network:
    """Give layers that are the identity at evaluation alone (dropout) memory of their own."""
    first = next((call.block for call in network.calls if call.block != call.stage), "")
    fresh = _numbers(network)
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
                outputs = (call.outputs[0]._replace(storage=next(fresh)), *call.outputs[1:])
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
    fresh = _numbers(network)
    logits = network.outputs[0]
    n, classes, *pixels = (*logits.shape, 1)[: max(2, len(logits.shape))]
    labels = _made(fresh, (n, *pixels), "int64")
    log = _made(fresh, (n, classes, *pixels), logits.dtype)
    loss, weight = (_made(fresh, (), logits.dtype) for _ in range(2))
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


def _made(fresh: Iterable[int], shape: tuple[int, ...], dtype: str) -> Tensor:
    number = next(iter(fresh))
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
    """Insert the casts of torch.autocast, and follow the dtypes that result.

    Weights are cast once and stay cached until autocast ends (the attribute "cached"). Operators
    on neither list take their operands as they are, and make the wider of their dtypes.
    """
    fresh = _numbers(network)
    dtypes: dict[int, str] = {}
    cached: dict[str, Tensor] = {}
    halved: set[int] = set()
    calls: list[OperatorCall] = []

    def cast(call: OperatorCall, t: Tensor, dtype: str) -> Tensor:
        if t.dtype not in (LOW, HIGH) or t.dtype == dtype:
            return t
        if t.param in cached:
            return cached[t.param]
        made = _made(fresh, t.shape, dtype)
        attrs = {"autocast": True, "cached": bool(t.param)}
        calls.append(
            OperatorCall(
                call.name,
                "to_copy",
                (t,),
                (made,),
                (),
                attrs,
                "new",
                call.stage,
                call.block,
                call.count,
            )
        )
        if t.param:
            cached[t.param] = made
        return made

    for call in network.calls:
        operands = [t._replace(dtype=dtypes.get(t.id, t.dtype)) for t in call.operands]
        precision = _precision(call, device)
        if precision == "low":
            dtype = LOW
            operands = [cast(call, t, LOW) for t in operands[::-1]][::-1]
        elif precision == "float32":
            dtype = HIGH
            operands = [cast(call, t, HIGH) for t in operands]
        else:
            read = {t.dtype for t in operands if not t.param and t.shape and _is_float(t)}
            dtype = LOW if read == {LOW} else HIGH
        outputs = []
        for i, t in enumerate(call.outputs):
            if dtype == LOW and t.dtype == HIGH and not (i and precision == "statistics"):
                t = t._replace(dtype=LOW)
                halved.add(t.storage)
            dtypes[t.id] = t.dtype
            outputs.append(t)
        calls.append(replace(call, operands=tuple(operands), outputs=tuple(outputs)))
    return replace(
        network,
        calls=tuple(calls),
        outputs=tuple(t._replace(dtype=dtypes.get(t.id, t.dtype)) for t in network.outputs),
        storage_bytes=_sizes(network, halved),
    )


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
    observed = _moved(network) if network.deaths else {}
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
    for mine, theirs in zip(parts, maker.split("."), strict=False):
        if mine != theirs:
            break
        shared += 1
    return ".".join(parts[: shared + 1])


def _moved(network: Network) -> dict[int, int]:
    """Observed deaths, in the numbers of layers as they are now that casts are among them."""
    places = [i for i, call in enumerate(network.calls) if not _is_cast(call)]
    return {s: places[min(i, len(places) - 1)] for s, i in network.deaths.items()}
