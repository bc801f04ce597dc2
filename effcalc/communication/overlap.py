"""How long a step takes when communication overlaps compute, and how much is exposed.

Compute is spread over a step by FLOPs, a third of them in the forward pass. Collectives run one
at a time in the order they are issued, each as soon as its data is ready (Li et al. 2020, section
3.2.3); what needs a collective that has not ended waits.
"""

from __future__ import annotations

from typing import NamedTuple

from effcalc.communication.collectives import Algorithm, collective_cost
from effcalc.communication.core import Cluster, Collective
from effcalc.communication.strategies import Plan


class StepTime(NamedTuple):
    """Seconds of one step.

    `ideal` is the compute of one worker were all of it useful and evenly spread, `compute` what
    the slowest worker is busy for, a pipeline's bubble included, `exposed` the communication that
    compute does not hide. `bubble` is the share of a pipeline's time that a stage idles.
    """

    ideal: float
    compute: float
    exposed: float
    bubble: float | None = None

    @property
    def seconds(self) -> float:
        """Time of the step."""
        return self.compute + self.exposed

    @property
    def efficiency(self) -> float:
        """Useful compute over all the time: 1 where workers are never held up."""
        return self.ideal / self.seconds if self.seconds else 1.0


def step(plan: Plan, algorithm: Algorithm, cluster: Cluster, compute: float) -> StepTime:
    """Time the steady step of a plan whose compute takes a worker `compute` seconds alone."""
    if plan.stages:
        return _pipelined(plan, algorithm, cluster, compute)
    times = [
        cluster.seconds(collective_cost(algorithm, c, cluster)) for c in plan.steady.collectives
    ]
    return StepTime(compute, compute, exposed(plan.steady.collectives, times, compute))


def exposed(collectives: tuple[Collective, ...], times: list[float], compute: float) -> float:
    """Seconds for which a step of `compute` seconds waits for its collectives."""
    free = 0.0  # when the link is
    stalls: dict[float, float] = {}  # where in the compute, and for how long
    for c, spent in zip(collectives, times, strict=True):
        if not spent:
            continue
        start = max(free, c.ready * compute + _waited(stalls, c.ready))
        free = start + spent
        late = free - (c.needed * compute + _waited(stalls, c.needed) + stalls.get(c.needed, 0.0))
        if late > 0:
            stalls[c.needed] = stalls.get(c.needed, 0.0) + late
    return sum(stalls.values())


def _waited(stalls: dict[float, float], at: float) -> float:
    """Seconds waited before a point of the compute."""
    return sum(late for where, late in stalls.items() if where < at)


def seconds(plan: Plan, algorithm: Algorithm, cluster: Cluster) -> float:
    """Time of a steady step's communication alone, were there no compute.

    One collective after another; a pipeline's cuts work at the same time.
    """
    if plan.stages:
        return _rounds(plan) * _between(plan, algorithm, cluster)
    costs = (collective_cost(algorithm, c, cluster) for c in plan.steady.collectives)
    return sum(map(cluster.seconds, costs))


def _rounds(plan: Plan) -> int:
    """How often a pipeline passes activations on: once less than its m + p − 1 rounds."""
    return plan.micro_batches + len(plan.stages) - 2


def _between(plan: Plan, algorithm: Algorithm, cluster: Cluster) -> float:
    """Seconds of the slowest cut's two messages: activations there, gradients back."""
    cuts: dict[int, float] = {}
    seen = set()
    for c in plan.steady.collectives:
        # Where micro-batches are uneven, the larger comes first.
        if (c.root, c.peer) not in seen:
            seen.add((c.root, c.peer))
            once = cluster.seconds(collective_cost(algorithm, c._replace(repeats=1), cluster))
            cuts[min(c.root, c.peer)] = cuts.get(min(c.root, c.peer), 0.0) + once
    return max(cuts.values(), default=0.0)


def _pipelined(plan: Plan, algorithm: Algorithm, cluster: Cluster, compute: float) -> StepTime:
    """m + p − 1 rounds as long as the slowest stage's, with a cut's two messages between them.

    Huang et al. 2019, section 2.3: of m + p − 1 rounds a stage idles p − 1.
    """
    p, m = len(plan.stages), plan.micro_batches
    macs = [stage.macs for stage in plan.stages]
    share = max(macs) / sum(macs) if any(macs) else 1 / p
    slowest = share * compute * p / m  # all workers' images pass every stage
    rounds = m + p - 1
    waits = _rounds(plan) * _between(plan, algorithm, cluster)
    return StepTime(compute, rounds * slowest, waits, (p - 1) / rounds)
