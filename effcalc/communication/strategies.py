"""Ways to train on many workers: each a function from a network to the collectives it runs.

A strategy returns the phases of a run; the last is the steady step, the one that repeats. Sizes
are payload bytes. To add one: a function and a record in `STRATEGIES`, which names how torch
trains it where it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from effcalc.base.errors import InputError, named, one_of
from effcalc.base.units import dtype_bytes
from effcalc.communication import buckets
from effcalc.communication.core import Collective, Phase
from effcalc.communication.model import FORWARD, UNITS, Model, Unit, size_of, units
from effcalc.communication.pipeline import PipelineStage, cut
from effcalc.network.network import Param


@dataclass(frozen=True, slots=True)
class Setup:
    """How a strategy is run.

    `dtype` is what gradients, gathered weights and a pipeline's activations are sent as.
    `accumulate` micro-batches make a step; `unit` is what is sharded as one; `reshard` frees
    gathered weights after the forward pass; `batch` images go to each worker at a step. A
    pipeline cuts all workers' images into `micro_batches`, by default four for each stage.
    """

    dtype: str = "float32"
    accumulate: int = 1
    unit: str = "block"
    reshard: bool = True
    batch: int = 1
    micro_batches: int | None = None


class Plan(NamedTuple):
    """The phases of a run, and the stages and micro-batches where it is a pipeline."""

    phases: tuple[Phase, ...]
    stages: tuple[PipelineStage, ...] = ()
    micro_batches: int = 1

    @property
    def steady(self) -> Phase:
        """The step that repeats."""
        return self.phases[-1]


class Strategy(NamedTuple):
    """A strategy, where it is described, what it sends, and how torch runs it.

    `trainer` names the function of `communication/live` that trains it on real ranks, as
    `module:function`, since this module needs no torch; None where --verify cannot run it.
    `pipelined` says that a step has micro-batches of its own.
    """

    name: str
    help: str
    source: str
    plan: Callable[[Model, Setup, int], Plan]
    trainer: str | None = None
    pipelined: bool = False


def _backward(share: float, setup: Setup, micro_batch: int | None = None) -> float:
    """Share of a step's compute done when `share` of a micro-batch's backward is; by default
    the last one's."""
    at = setup.accumulate - 1 if micro_batch is None else micro_batch
    return (at + FORWARD + (1 - FORWARD) * share) / setup.accumulate


def _forward(share: float, setup: Setup, micro_batch: int) -> float:
    return (micro_batch + FORWARD * share) / setup.accumulate


# --- data parallel -----------------------------------------------------------------------------


def ddp(model: Model, setup: Setup, n: int) -> Plan:
    """DistributedDataParallel of torch 2.14.1 (Li et al. 2020): all-reduces of buckets.

    The constructor compares the shapes of the parameters and broadcasts rank 0's parameters and
    buffers. Each step broadcasts the buffers before its first micro-batch. The second step
    broadcasts first how the buckets were rebuilt.
    """
    count = Collective("all_gather", 8 * n, "number of parameters", 8)
    constructor, *steps = _ddp(model, setup)
    return Plan((Phase("constructor", (count, *constructor.collectives)), *steps))


@lru_cache(maxsize=8)
def _ddp(model: Model, setup: Setup) -> tuple[Phase, ...]:
    """What is the same for any number of workers."""
    shapes = 8 * sum(2 * len(p.shape) for p in model.params)  # sizes and strides, int64
    constructor = (
        Collective("broadcast", shapes, "shapes of parameters", 8),
        *_broadcasts((*model.params, *model.buffers), "parameters and buffers"),
    )
    buffers = tuple(_broadcasts(model.buffers, "buffers"))
    grouped = buckets.rebuilt(model)
    rebuild = (
        Collective("broadcast", 4 * (len(model.params) + 1), "order of parameters", 4),
        Collective("broadcast", 4 * len(grouped), "sizes of buckets", 4),
    )
    steady = (*buffers, *_averaged(grouped, "all_reduce", setup))
    return (
        Phase("constructor", constructor),
        Phase("first step", (*buffers, *_averaged(buckets.first(model), "all_reduce", setup))),
        Phase("second step", (*rebuild, *steady)),
        Phase("steady step", steady),
    )


def _broadcasts(tensors: tuple[Param, ...], what: str) -> list[Collective]:
    """Broadcasts before the compute, which waits for them."""
    return [
        Collective("broadcast", size, what, element, needed=0.0)
        for size, element in buckets.coalesced(tensors)
    ]


def _averaged(grouped: Sequence[buckets.Bucket], op: str, setup: Setup) -> list[Collective]:
    """One collective for each bucket, ready when its last gradient is."""
    return [
        Collective(
            op,
            size_of(bucket.params, setup.dtype),
            f"gradients, bucket {i}",
            dtype_bytes(setup.dtype),
            ready=_backward(bucket.ready, setup),
        )
        for i, bucket in enumerate(grouped, 1)
    ]


def parameter_server(model: Model, setup: Setup, n: int) -> Plan:
    """Workers push gradients to one server and pull the weights (Iandola et al. 2016, FireCaffe).

    The server is one more machine; all workers share its link, so its time grows with n.
    """
    size = size_of(model.params, setup.dtype)
    element = dtype_bytes(setup.dtype)
    both = (
        Collective("push", size, "gradients to the server", element, ready=1.0),
        Collective("pull", size, "weights from the server", element, ready=1.0),
    )
    return Plan((Phase("steady step", both),))


# --- sharded -----------------------------------------------------------------------------------


def zero_1(model: Model, setup: Setup, n: int) -> Plan:
    """Optimizer state sharded (Rajbhandari et al. 2020, ZeRO, section 5.1).

    A reduce-scatter of the gradients, by DDP's buckets, and after the update an all-gather of
    the weights: as much as an all-reduce.
    """
    scattered = _averaged(buckets.rebuilt(model), "reduce_scatter", setup)
    return Plan((Phase("steady step", (*scattered, _weights(model, setup))),))


def zero_2(model: Model, setup: Setup, n: int) -> Plan:
    """Gradients sharded too (ZeRO, section 5.2): each micro-batch's are reduce-scattered."""
    grouped = buckets.rebuilt(model)
    scattered = [
        c._replace(ready=_backward(b.ready, setup, i))
        for i in range(setup.accumulate)
        for b, c in zip(grouped, _averaged(grouped, "reduce_scatter", setup), strict=True)
    ]
    return Plan((Phase("steady step", (*scattered, _weights(model, setup))),))


def _weights(model: Model, setup: Setup) -> Collective:
    """The all-gather of updated weights, which nothing hides."""
    size = size_of(model.params, setup.dtype)
    element = dtype_bytes(setup.dtype)
    return Collective("all_gather", size, "updated weights", element, ready=1.0)


def zero_3(model: Model, setup: Setup, n: int) -> Plan:
    """Weights sharded too (ZeRO, section 5.3): gathered in the forward pass and in the backward.

    With the reduce-scatter of gradients that is 1.5 times an all-reduce. Sizes are not padded.
    """
    sizes = [size_of(u.params, setup.dtype) for u in units(model, setup.unit)]
    return _sharded(model, setup, sizes)


def fully_shard(model: Model, setup: Setup, n: int) -> Plan:
    """torch's `fully_shard` (FSDP2) of each unit, as torch 2.14.1 does it.

    Each parameter is split along its first dimension into n parts of equal rows, the last ones
    padded, so a gathered unit has n·⌈rows/n⌉ rows of each. The next unit is gathered while one
    computes. With `reshard` weights are freed after the forward pass and gathered once more.
    """
    sizes = []
    for unit in units(model, setup.unit):
        size = 0
        for p in unit.params:
            rows = p.shape[0] if p.shape else 1
            padded = -(-rows // n) * n * (p.numel // rows)
            size += padded * dtype_bytes(setup.dtype)
        sizes.append(size)
    return _sharded(model, setup, sizes)


def _sharded(model: Model, setup: Setup, sizes: list[int]) -> Plan:
    """Gather unit by unit, one ahead of the compute, and reduce-scatter behind the backward."""
    sharded = units(model, setup.unit)
    element = dtype_bytes(setup.dtype)
    steps: list[Collective] = []
    last = len(sharded) - 1
    for i in range(setup.accumulate):
        for at, (unit, size) in enumerate(zip(sharded, sizes, strict=True)):
            ahead = sharded[at - 1].before if at else 0.0
            steps.append(
                Collective(
                    "all_gather",
                    size,
                    f"{unit.name}, forward",
                    element,
                    ready=_forward(ahead, setup, i),
                    needed=_forward(unit.before, setup, i),
                )
            )
        for at in range(last, -1, -1):
            # The backward of a unit starts where those of the units after it end.
            if setup.reshard:
                # The last unit's backward starts at once; each other was asked for one before.
                for other in (last, last - 1) if at == last else (at - 1,):
                    steps += _regathered(sharded, sizes, other, element, setup, i)
            steps.append(
                Collective(
                    "reduce_scatter",
                    sizes[at],
                    f"{sharded[at].name}, gradients",
                    element,
                    ready=_backward(1 - sharded[at].before, setup, i),
                )
            )
    return Plan((Phase("steady step", tuple(steps)),))


def _regathered(
    sharded: tuple[Unit, ...], sizes: list[int], at: int, element: int, setup: Setup, i: int
) -> list[Collective]:
    """The gather of a unit for its backward, asked for when the unit after it starts its own."""
    if at < 0:
        return []
    starts = 1 - sharded[at].before - sharded[at].share
    after = sharded[min(at + 1, len(sharded) - 1)]
    return [
        Collective(
            "all_gather",
            sizes[at],
            f"{sharded[at].name}, backward",
            element,
            ready=_backward(1 - after.before - after.share, setup, i),
            needed=_backward(starts, setup, i),
        )
    ]


# --- pipeline ----------------------------------------------------------------------------------


def pipeline(model: Model, setup: Setup, n: int) -> Plan:
    """GPipe (Huang et al. 2019, section 2.2): a stage of the network for each worker.

    All workers' images make the mini-batch, cut into micro-batches. Activations cross each cut
    forward, their gradients back. Cuts balance the MACs.
    """
    images = setup.batch * n
    count = min(4 * n, images) if setup.micro_batches is None else setup.micro_batches
    if count > images:
        raise InputError(
            f"`micro_batches`: {count} are more than the {images} images of {n} workers; "
            "give fewer, or a larger `batch`"
        )
    stages = cut(model, n, setup.dtype)
    small, larger = divmod(images, count)
    sends = []
    for at, stage in enumerate(stages[:-1]):
        for per, times in ((small + 1, larger), (small, count - larger)):
            if times and stage.cut_bytes:
                there = Collective(
                    "send",
                    stage.cut_bytes * per,
                    f"activations, stage {at + 1} to {at + 2}",
                    dtype_bytes(setup.dtype),
                    times,
                    at,
                    at + 1,
                )
                back = there._replace(
                    what=f"their gradients, stage {at + 2} to {at + 1}", root=at + 1, peer=at
                )
                sends += [there, back]
    return Plan((Phase("steady step", tuple(sends)),), stages, count)


# --- all of them -------------------------------------------------------------------------------

STRATEGIES = {
    s.name: s
    for s in (
        Strategy(
            "ddp",
            "all-reduce of gradient buckets, as torch's DDP",
            "Li et al. 2020",
            ddp,
            trainer="effcalc.communication.live.train:ddp",
        ),
        Strategy(
            "parameter-server",
            "push gradients to a server, pull weights",
            "Iandola et al. 2016, FireCaffe, on parameter servers",
            parameter_server,
        ),
        Strategy("zero-1", "optimizer state sharded", "Rajbhandari et al. 2020, 5.1", zero_1),
        Strategy("zero-2", "gradients sharded too", "Rajbhandari et al. 2020, 5.2", zero_2),
        Strategy("zero-3", "weights sharded too", "Rajbhandari et al. 2020, 5.3", zero_3),
        Strategy(
            "fully-shard",
            "torch's fully_shard",
            "torch 2.14.1, measured",
            fully_shard,
            trainer="effcalc.communication.live.train:fully_shard",
        ),
        Strategy(
            "pipeline",
            "a stage of the network each",
            "Huang et al. 2019, GPipe",
            pipeline,
            pipelined=True,
        ),
    )
}


def find_strategy(name: str, option: str = "`strategy`") -> Strategy:
    """Return a strategy by name; raises `InputError`."""
    return named(name, STRATEGIES, "strategy", option)


def check(setup: Setup, strategy: Strategy) -> None:
    """Refuse what a strategy has no use for; raises `InputError`."""
    one_of(setup.unit, UNITS, "`unit`")
    if strategy.pipelined and setup.accumulate > 1:
        raise InputError("`accumulate`: a pipeline has micro-batches of its own: `micro_batches` 8")
    if not strategy.pipelined and setup.micro_batches is not None:
        raise InputError("`micro_batches` is for `strategy` pipeline; others have `accumulate` 4")
