"""What a strategy costs on a cluster: the figures of one row of `effcalc comm`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from effcalc.base.errors import InputError, one_line
from effcalc.communication.collectives import ALGORITHMS, Algorithm, phase_cost, phase_rank
from effcalc.communication.core import Cluster, CollectiveCost, Phase, RankTraffic
from effcalc.communication.model import Model
from effcalc.communication.overlap import StepTime, seconds, step
from effcalc.communication.strategies import Plan, Setup, Strategy, check
from effcalc.hardware.files import Device, Link

MAX_WORKERS = 10**9
_SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class CommPrediction:
    """One strategy on one cluster.

    `compute` is the seconds of one worker's step without communication, None where not known.
    Bytes are payload. What varies from rank to rank is given as the mean over the ranks.
    """

    model: Model
    strategy: Strategy
    setup: Setup
    algorithm: Algorithm
    cluster: Cluster
    plan: Plan
    compute: float | None = None

    def phase_cost(self, phase: Phase, algorithm: Algorithm | None = None) -> CollectiveCost:
        """All ranks together, for one phase."""
        return phase_cost(algorithm or self.algorithm, phase, self.cluster)

    def phase_rank(
        self, phase: Phase, rank: int, algorithm: Algorithm | None = None
    ) -> RankTraffic:
        """One rank, for one phase; rank n is a parameter server."""
        return phase_rank(algorithm or self.algorithm, phase, self.cluster, rank)

    @cached_property
    def steady(self) -> CollectiveCost:
        """All ranks together, at each step."""
        return self.phase_cost(self.plan.steady)

    @cached_property
    def gloo(self) -> CollectiveCost:
        """What torch's gloo sends at each step for the same collectives."""
        return self.phase_cost(self.plan.steady, ALGORITHMS["gloo"])

    @cached_property
    def startup(self) -> int:
        """Bytes that all ranks send once: the phases before the steady step, over its own."""
        once = self.plan.phases[:-1]
        steps = sum(phase.name.endswith("step") for phase in once)
        return sum(self.phase_cost(phase).sent for phase in once) - steps * self.steady.sent

    @property
    def startup_first(self) -> int:
        """Bytes that rank 0, from which broadcasts start, sends once; see `startup`."""
        once = self.plan.phases[:-1]
        steps = sum(phase.name.endswith("step") for phase in once)
        each = self.phase_rank(self.plan.steady, 0).sent
        return sum(self.phase_rank(phase, 0).sent for phase in once) - steps * each

    def mean(self, value: int) -> int | float:
        """The mean over the ranks, whole where it is."""
        share = Fraction(value, self.cluster.workers)
        return share.numerator if share.denominator == 1 else float(share)

    @property
    def seconds(self) -> float:
        """Time of the steady step's communication alone."""
        if self.cluster.workers == 1:
            return 0.0
        return seconds(self.plan, self.algorithm, self.cluster)

    @cached_property
    def step(self) -> StepTime | None:
        """The step in time, where the compute is known."""
        if self.compute is None:
            return None
        if self.cluster.workers == 1:
            return StepTime(self.compute, self.compute, 0.0, 0.0 if self.plan.stages else None)
        return step(self.plan, self.algorithm, self.cluster, self.compute)


@dataclass(frozen=True, slots=True)
class Cases:
    """What is to be predicted: every combination of these.

    `compute` has the seconds of one batch for each setup, None where not known; `links` are those
    within a node of `per_node` workers and between nodes.
    """

    workers: Iterable[int | float]
    strategies: Sequence[Strategy]
    algorithms: Sequence[Algorithm]
    setups: Sequence[Setup]
    compute: Sequence[float | None]
    links: tuple[Link, Link]
    per_node: int | None = None


def predictions(model: Model, cases: Cases) -> Iterator[CommPrediction]:
    """Predict every case as it is read, by number of workers first.

    Raises `InputError` for one that is not possible.
    """
    inner, outer = cases.links
    for workers in cases.workers:
        n = _workers(workers)
        group = min(cases.per_node or n, n)
        cluster = Cluster(n, group, inner if cases.per_node else outer, outer)
        for strategy in cases.strategies:
            for setup, batch_seconds in zip(cases.setups, cases.compute, strict=True):
                check(setup, strategy)
                plan = strategy.plan(model, setup, n)
                spent = None if batch_seconds is None else batch_seconds * setup.accumulate
                for algorithm in cases.algorithms:
                    if algorithm.name == "hierarchical" and n % group:
                        raise InputError(
                            f"`per_node`: {n:,} workers are no whole number of nodes of {group:,}; "
                            "the hierarchical algorithm needs one"
                        )
                    yield CommPrediction(model, strategy, setup, algorithm, cluster, plan, spent)


def _workers(value: int | float) -> int:
    if not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise InputError(
            f"`workers`: {value:g} is not a whole number from 1 to {MAX_WORKERS:,}"
            if isinstance(value, float) or value < 10**15
            else f"`workers`: at most {MAX_WORKERS:,}"
        )
    return value


def compute_seconds(model: Model, device: Device, mfu: float, precision: str, images: int) -> float:
    """Seconds to train on `images` images: three forward passes' FLOPs at a share of the peak.

    A multiply-accumulate is two FLOPs; the backward pass does twice the forward's. `mfu` is the
    share of the dense peak that is reached, above 0. Raises `InputError` for a device without a
    peak of that precision.
    """
    short = _SHORT.get(precision, precision)
    if short not in device.peaks:
        known = ", ".join(device.peaks) or "none"
        raise InputError(
            f"`precision`: {device.name} has no {one_line(short, 40)} peak; it has: {known}"
        )
    return 3 * 2 * model.forward_macs() * images / (device.peaks[short] * mfu)
