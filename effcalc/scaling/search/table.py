"""Tables of a search: candidates (α, β, γ), what they cost, how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from effcalc.base.units import Unit, Value
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.scale import Scaled
from effcalc.scaling.search.candidates import COSTS as COST_KINDS
from effcalc.scaling.search.candidates import Candidate, ranking, reward
from effcalc.scaling.tables.scaling import BASES, COSTS, GROWTH, SCALING

_FIGURES = (*SCALING[1:], *COSTS, GROWTH[1])
_SHOWN = {"pixels", "params", "macs", "growth"}
_UNITS: Mapping[str, Unit] = {
    "memory": "bytes",
    "communication": "bytes",
    "latency": "seconds",
}


@dataclass(frozen=True, slots=True)
class Objective:
    """ACC x (COST / target)^exponent; `cost` names a figure of `COSTS`, or is "latency"."""

    cost: str
    target: float
    exponent: float

    def describe(self) -> str:
        """Write the objective for people."""
        latency = self.cost == "latency"
        what = "latency of a saved profile" if latency else COST_KINDS[self.cost][0]
        return f"reward: accuracy × (COST/T)^{self.exponent:g}; COST: {what}"


@dataclass(frozen=True, slots=True)
class Results:
    """Candidates, with the network and the cost of each.

    `accuracies` and `failed` (causes) are by the place of a candidate.
    """

    candidates: Sequence[Candidate]
    networks: Sequence[Scaled]
    costs: Sequence[float]
    objective: Objective
    accuracies: Mapping[int, float] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def ranked(self) -> list[int]:
        """Places of the candidates with an accuracy, the highest reward first."""
        objective = self.objective
        return ranking(self.costs, self.accuracies, objective.target, objective.exponent)


def search_table(title: str, results: Results) -> Table:
    """One row for each candidate: the best first, then those without a result in their order."""
    accuracies, failed = results.accuracies, results.failed
    cost, ranked = results.objective.cost, bool(accuracies or failed)
    columns = (
        *BASES,
        Column("product", "α·β²·γ²", "number", "growth in theory"),
        *(figure.column(_SHOWN) for figure in _FIGURES),
        Column("cost", "cost", _UNITS.get(cost, "count"), cost, default=cost in _UNITS and ranked),
        Column("accuracy", "accuracy", "number", "as evaluated", default=ranked),
        Column("reward", "reward", "number", "ACC × (COST/T)^w", default=ranked),
        Column("failed", "failed", "text", "why there is no accuracy", default=bool(failed)),
    )
    rows = [_row(results, i) for i in range(len(results.candidates))]
    ordered = [rows[i] for i in results.ranked()]
    ordered += [row for i, row in enumerate(rows) if i not in accuracies]
    notes = (*results.notes, *([results.objective.describe()] if accuracies else []))
    chart = "effcalc.scaling.plots.front:front"
    return Table("search", title, columns, ordered, notes, layout="rows", chart=chart)


def _row(results: Results, place: int) -> Row:
    candidate, cost = results.candidates[place], results.costs[place]
    accuracy, objective = results.accuracies.get(place), results.objective
    row: dict[str, Value] = {
        "alpha": candidate.alpha,
        "beta": candidate.beta,
        "gamma": candidate.gamma,
        "product": candidate.product,
        "cost": cost,
        "accuracy": accuracy,
        "reward": None
        if accuracy is None
        else reward(accuracy, cost, objective.target, objective.exponent),
        "failed": results.failed.get(place),
    }
    return row | {figure.key: figure.value(results.networks[place]) for figure in _FIGURES}
