"""A profile against a saved one: what got slower, and what is noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from effcalc.base.errors import InputError, one_line
from effcalc.base.units import Value
from effcalc.output.table import Column, Row, Table

_KEYS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "profile": (("batch", "dtype", "mode"), "latency"),
    "profile-layers": (("name",), "time"),
}
"""By kind of table: the columns that identify a row, and the column of its time."""

_SAME = ("device", "torch", "runtime", "threads", "cpu", "driver", "cuda", "tf32", "layout",
         "caches", "compiled", "OMP_WAIT_POLICY")  # fmt: skip


def check_comparable(old: Table, per: str | None, where: str) -> None:
    """Refuse a saved table that the new profile cannot be compared with; raises `InputError`."""
    wanted = {None: "profile", "layer": "profile-layers", "module": "profile-layers"}.get(per, "")
    if not wanted:
        raise InputError(f"`against` compares latencies or layers, not `per` {per}")
    if old.kind != wanted:
        how = "effcalc profile" if per is None else f"effcalc profile `per` {per}"
        raise InputError(
            f"`against`: {one_line(where)} holds a {one_line(old.kind, 40)!r} table; "
            f"save one with {how} `output` FILE.json"
        )


def against_table(old: Table, new: Table, where: str) -> Table:
    """Compare two tables of one kind row by row.

    A row is slower, or faster, where the 95% intervals of the two medians do not overlap;
    else the difference is within the noise of the runs.
    """
    keys, time = _KEYS[new.kind]
    before = {tuple(row.get(key) for key in keys): row for row in old.rows}
    after = {tuple(row.get(key) for key in keys): row for row in new.rows}
    columns = [next(c for c in new.columns if c.key == key) for key in keys]
    rows: list[Row] = []
    for key in dict.fromkeys((*after, *before)):
        named = dict(zip(keys, key, strict=True))
        rows.append({**named, **_compare(before.get(key), after.get(key), time)})
    total = None
    if old.total is not None and new.total is not None:
        total = {keys[0]: "total", **_compare(old.total, new.total, time)}
    return Table(
        "profile-against",
        f"{new.title}, against {one_line(PurePath(where).name)}",
        (
            *columns,
            Column("before", "before", "seconds", "saved"),
            Column("after", "after", "seconds", "now"),
            Column("change", "change", "change", "of the time"),
            Column("verdict", "verdict", "text", "by the 95% intervals of both"),
            Column("before_low", "from", "seconds", "95% interval, saved", default=False),
            Column("before_high", "to", "seconds", "95% interval, saved", default=False),
            Column("after_low", "from", "seconds", "95% interval, now", default=False),
            Column("after_high", "to", "seconds", "95% interval, now", default=False),
        ),
        rows,
        (*_differences(old.environment or {}, new.environment or {}), *new.notes),
        total=total,
        environment=new.environment,
        layout="rows",
    )


def _compare(old: Row | None, new: Row | None, time: str) -> Row:
    if old is None or new is None:
        side, row, what = ("after", new, "new") if old is None else ("before", old, "gone")
        return {side: None if row is None else row.get(time), "verdict": what}
    was, now = old.get(time), new.get(time)
    compared: dict[str, Value] = {
        "before": was,
        "after": now,
        "before_low": old.get("low"),
        "before_high": old.get("high"),
        "after_low": new.get("low"),
        "after_high": new.get("high"),
    }
    numbers = [_number(compared[key]) for key in compared]
    if numbers[0] is None or numbers[1] is None or not numbers[0]:
        return {**compared, "verdict": "no figure"}
    compared["change"] = 100 * (numbers[1] / numbers[0] - 1)
    _, _, old_low, old_high, new_low, new_high = numbers
    if old_low is None or old_high is None or new_low is None or new_high is None:
        return {**compared, "verdict": "no interval"}
    compared["verdict"] = (
        "slower" if new_low > old_high else "faster" if new_high < old_low else "within noise"
    )
    return compared


def _number(value: Value) -> float | None:
    """A time read from a file, which may hold anything."""
    return float(value) if isinstance(value, int | float) and value >= 0 else None


def _differences(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[str]:
    changed = [
        f"{key} {one_line(old.get(key, 'unset'), 60)} → {one_line(new.get(key, 'unset'), 60)}"
        for key in _SAME
        if old.get(key) != new.get(key)
    ]
    return [f"not the same: {', '.join(changed)}"] if changed else []


def slower(table: Table, limit: float) -> list[str]:
    """Name what is slower by more than `limit` percent, and beyond the noise.

    Of a comparison by layer only the whole run counts: among many layers some differ by chance.
    """
    rows = list(table.rows) if table.total is None else [table.total]
    slow = []
    for row in rows:
        change = row.get("change")
        if row.get("verdict") == "slower" and isinstance(change, float) and change > limit:
            name = row.get("name") or f"batch {row.get('batch')}"
            slow.append(f"{one_line(name)} {change:+.1f}%")
    return slow
