"""The largest scalings within a budget, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from effcalc.base.units import format_count
from effcalc.network.arch import Arch
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.solve import BUDGETS, Budget, Fit
from effcalc.scaling.tables.scaling import COSTS, SCALING, row_of


def _limit(value: int) -> str:
    """Write a limit exactly while that can be read."""
    return f"{value:,}" if value < 10**15 else format_count(value)


def budget_table(arch: Arch, fits: Sequence[Fit], budget: Budget) -> Table:
    """The largest scaling of each kind that fits a budget."""
    limits = ", ".join(f"{BUDGETS[k]} ≤ {_limit(v)}" for k, v in budget.items())
    figures = (*SCALING, *COSTS)
    shown = {"depth", "width", "pixels", "params", "macs", *budget}
    columns = (
        Column("kind", "scaled", "text", "what is scaled"),
        *(f.column(shown) for f in figures),
        Column("used", "used", "percent", "of the tightest limit"),
    )
    rows: list[Row] = []
    for fit in fits:
        if fit.scaled is None:
            answer = "no limit" if fit.unlimited else "none fits"
            rows.append({"kind": f"{fit.kind}: {answer}"})
            continue
        scaled = fit.scaled
        share = max(getattr(scaled, key) * 100 / limit for key, limit in budget.items())
        rows.append(
            {"kind": f"{fit.kind} = {fit.value:.4g}", **row_of(figures, scaled), "used": share}
        )
    notes = [
        "largest on a grid: φ, depth and width in steps of 0.001, resolution in whole pixels",
    ]
    if any(fit.unlimited for fit in fits):
        notes.append("no limit: what is limited does not grow with this dimension")
    if any(fit.scaled is None and not fit.unlimited for fit in fits):
        notes.append("none fits: not even the smallest network of this kind does")
    title = f"{arch.title} within {limits}"
    return Table("budget", title, columns, rows, tuple(notes), layout="rows")
