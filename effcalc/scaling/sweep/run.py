"""A sweep from its request to its table: its points, which of them are kept, and their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from effcalc.base.condition import Condition
from effcalc.base.condition import condition as read_condition
from effcalc.base.errors import InputError
from effcalc.network.archfile import load
from effcalc.output.formats import Format
from effcalc.output.table import Row, Table, select
from effcalc.scaling.request import Many, ScalingRequest, load_unscaled
from effcalc.scaling.scale import WORKERS
from effcalc.scaling.sweep.chunks import Sweep
from effcalc.scaling.sweep.points import space
from effcalc.scaling.sweep.resume import Journal
from effcalc.scaling.sweep.select import Front, Selection, Top, read_order
from effcalc.scaling.sweep.table import (
    figures_for,
    number_names,
    row_text,
    sweep_columns,
    sweep_rows,
)
from effcalc.scaling.sweep.work import Watch, Work, fingerprint


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What to sweep, and which of the points to keep.

    `random` points are drawn by `seed` instead of all. `where` is a condition; `pareto` names the
    columns of a front, or `top` points are kept in the order of the column `by`.
    """

    network: str
    scaling: ScalingRequest
    random: int | None = None
    seed: int = 0
    workers: int = WORKERS
    where: str | None = None
    pareto: str | None = None
    top: int | None = None
    by: str | None = None

    def as_text(self, sweep: Sweep) -> dict[str, str]:
        """Return what an unfinished sweep must share with the one that resumes it, by option."""
        values = asdict(self)
        scaling = values.pop("scaling")
        scaling["settings"] = scaling.pop("knobs")
        values |= scaling | {"architecture": fingerprint(sweep)}
        return {k.replace("_", "-"): str(v) for k, v in values.items() if v is not None}


class SweepRun:
    """A sweep that is ready to run; `table` has its columns, and no rows yet.

    `columns` are those requested; chunks pass through `watch`. Raises `InputError` for an invalid
    request.
    """

    def __init__(self, request: SweepRequest, columns: str | None, watch: Watch) -> None:
        """Read the request; nothing is computed yet."""
        scaling = request.scaling
        points = space(scaling, request.random, request.seed)
        first, *others = points.settings
        counts = (scaling.classes, scaling.in_channels)
        arch = load_unscaled(request.network, first, *counts, "sweep {} instead")
        archs = (arch, *(load(request.network, knobs, *counts)[0] for knobs in others))
        names = number_names(arch, list(first), points.compound)
        condition, self.selection, used = _choice(request, names)
        notes = (f"scaling rule: {arch.rule}",) if arch.rule else ()
        shown = sweep_columns(arch, list(first), points.compound)
        self.table = Table("sweep", arch.title, shown, (), notes)
        self.shown = select(self.table, columns)
        self.keys = [column.key for column in self.shown.columns]
        wanted = figures_for(used if self.selection else [*self.keys, *used])
        self.sweep = Sweep(points, archs, not scaling.no_head, request.workers, wanted)
        self.work = Work(self.sweep, condition, watch)

    @property
    def length(self) -> int:
        """Number of points."""
        return self.sweep.space.length

    def rows(self, journal: Journal | None = None) -> Iterable[Row]:
        """Return the rows that are kept; without a selection they are computed as they are read."""
        if self.selection is not None:
            kept = self.work.kept(self.selection, journal)
            return list(sweep_rows(kept, self.keys, range(len(kept))))
        return self._streamed() if self.work.condition else Many(self.length, self._streamed)

    def _streamed(self) -> Iterator[Row]:
        for chunk, places in self.work.matching():
            yield from sweep_rows(chunk, self.keys, places)

    def write(self, journal: Journal, format: Format) -> None:
        """Append every row to the journal's file, in a format whose every line is a row."""
        self.work.write(journal, row_text(self.shown, format))


def sweep_table(request: SweepRequest, columns: str | None = None) -> Table:
    """Return the table of a sweep."""
    run = SweepRun(request, columns, lambda chunks, done: chunks)
    return replace(run.table, rows=run.rows())


def _choice(
    request: SweepRequest, names: list[str]
) -> tuple[Condition | None, Selection | None, list[str]]:
    """Read which points are kept, and by which columns."""
    top, by, pareto = request.top, request.by, request.pareto
    if (top is None) != (by is None):
        raise InputError("`top` and `by` go together, such as `top` 20 `by` macs")
    if top is not None and pareto is not None:
        raise InputError("`pareto` and `top` exclude each other; order a front with `sort`")
    condition = None if request.where is None else read_condition(request.where, names, "`where`")
    used = [] if condition is None else sorted(condition.names)
    if pareto is not None:
        orders = [read_order(key, names, "`pareto`") for key in pareto.split(",")]
        return condition, Front(orders), [*used, *(order.key for order in orders)]
    if top is not None:
        order = read_order(by or "", names, "`by`")
        return condition, Top(top, order), [*used, order.key]
    return condition, None, used
