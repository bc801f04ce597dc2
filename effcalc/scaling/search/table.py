"""Tables of a search: candidates (α, β, γ), what they cost, how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from effcalc.base.units import Unit, Value
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.scale import Scaled
from effcalc.scaling.search.candidates import Candidate, ranking, reward
from effcalc.scaling.tables.scaling import BASES, COSTS, GROWTH, SCALING

_FIGURES = (*SCALING[1:], *COSTS, GROWTH[1])
_SHOWN = {"pixels", "params", "macs", "growth"}
_UNITS: Mapping[str, Unit] = {
    "memory": "bytes",
    "communication": "bytes",
    "latency": "seconds",
}


def search_table(
    title: str,
    candidates: Sequence[Candidate],
    networks: Sequence[Scaled],
    costs: Sequence[float],
    accuracies: Mapping[int, float],
    failed: Mapping[int, str],
    cost: str,
    target: float,
    exponent: float,
    notes: Sequence[str] = (),
) -> Table:
    """One row for each candidate: the best first, then those without a result in their order.

    `accuracies` and `failed` are by the place of a candidate.
    """
    ranked = bool(accuracies or failed)
    columns = (
        *BASES,
        Column("product", "α·β²·γ²", "number", "growth in theory"),
        *(figure.column(_SHOWN) for figure in _FIGURES),
        Column("cost", "cost", _UNITS.get(cost, "count"), cost, default=cost in _UNITS and ranked),
        Column("accuracy", "accuracy", "number", "as evaluated", default=ranked),
        Column("reward", "reward", "number", "ACC × (COST/T)^w", default=ranked),
        Column("failed", "failed", "text", "why there is no accuracy", default=bool(failed)),
    )
    rows = []
    for i, (candidate, scaled) in enumerate(zip(candidates, networks, strict=True)):
        accuracy = accuracies.get(i)
        row: dict[str, Value] = {
            "alpha": candidate.alpha,
            "beta": candidate.beta,
            "gamma": candidate.gamma,
            "product": candidate.product,
            "cost": costs[i],
            "accuracy": accuracy,
            "reward": None if accuracy is None else reward(accuracy, costs[i], target, exponent),
            "failed": failed.get(i),
        }
        rows.append(row | {figure.key: figure.value(scaled) for figure in _FIGURES})
    ordered: list[Row] = [rows[i] for i in ranking(costs, accuracies, target, exponent)]
    ordered += [row for i, row in enumerate(rows) if i not in accuracies]
    chart = "effcalc.scaling.plots.front:front"
    return Table("search", title, columns, ordered, tuple(notes), layout="rows", chart=chart)
