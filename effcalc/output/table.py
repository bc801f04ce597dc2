"""Tables: the one shape in which every result leaves effcalc.

A `Table` holds exact Python values; how they are written is the business of `formats/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from effcalc.base.display import shown
from effcalc.base.errors import InputError, named
from effcalc.base.units import DEFAULT_DIGITS, Unit, Value, format_count

Row: TypeAlias = Mapping[str, Value]
Layout: TypeAlias = Literal["auto", "rows", "record"]

SORT_LIMIT = 1_000_000
"""Rows that `sorted_by` holds in memory at most."""

CONVENTIONS: Mapping[str, str] = MappingProxyType(
    {
        "MACs": "multiply-accumulates of convolutions, linear layers and matrix products, "
        'which papers print as "FLOPs"',
        "FLOPs": "2 × MACs + other arithmetic",
        "MB": "10^6 bytes",
    }
)
"""What the words in a table mean; stated with every table, in every format but CSV."""


class Column(NamedTuple):
    """One column: its key in rows, CSV and JSON, its heading, unit and meaning."""

    key: str
    title: str
    unit: Unit = "text"
    help: str = ""  # what the figure means, in a few words
    default: bool = True  # shown to people when no columns are asked for


@dataclass(frozen=True)
class Table:
    """A result: columns, and rows that map a column's key to an exact value.

    `rows` may be any iterable, also one that makes its rows as they are read; a row without a
    column's key has no figure there. `total` is a last row that the rows sum to. With the
    layout "auto" a single row shows in the terminal as a list of figures and their meanings.
    """

    kind: str  # what the table is, for programs: "scale", "compare"
    title: str
    columns: tuple[Column, ...]
    rows: Iterable[Row]
    notes: tuple[str, ...] = ()
    total: Row | None = None
    command: str = ""  # the command line that made it
    conventions: Mapping[str, str] = field(default_factory=lambda: CONVENTIONS)
    environment: Mapping[str, Value] | None = None  # of measured values: device, versions
    layout: Layout = "auto"
    chart: str = ""  # the function that draws it, "package.module:name", where one does

    def __post_init__(self) -> None:
        keys = [column.key for column in self.columns]
        if not keys or len(set(keys)) != len(keys):
            raise ValueError(f"a table needs columns, each with its own key, not {keys}")

    def render(self, format: str = "table", digits: int = DEFAULT_DIGITS) -> str:
        """Return the whole table as text in one of the formats of `formats.FORMATS`."""
        text: str = shown(self, format, digits)
        return text

    def _repr_html_(self) -> str | None:
        fragment: str = shown(self, "html", DEFAULT_DIGITS, True) if self._can_repeat() else ""
        return fragment or None

    def _repr_markdown_(self) -> str | None:
        return self.render("markdown") if self._can_repeat() else None

    def _can_repeat(self) -> bool:
        """Whether showing the table leaves its rows to be read again."""
        return iter(self.rows) is not self.rows


def select(table: Table, columns: str | None) -> Table:
    """Return the table with the named columns alone: `a,b,c` in that order, or `all`.

    None leaves the choice to the format: people get the default columns, programs get all.
    """
    if columns is None:
        return table
    known = {column.key: column for column in table.columns}
    if columns.strip() == "all":
        keys = list(known)
    else:
        keys = list(dict.fromkeys(key.strip() for key in columns.split(",")))
    chosen = tuple(find_column(known, key, "`columns`")._replace(default=True) for key in keys)
    return replace(table, columns=chosen)


def sorted_by(table: Table, key: str | None) -> Table:
    """Return the table with its rows ordered by one column: `key`, or `-key` for largest first.

    Equal rows keep their order, and rows without a figure come last either way. A table of
    more than `SORT_LIMIT` rows is refused.
    """
    if key is None:
        return table
    descending = key.startswith("-")
    column = find_column({c.key: c for c in table.columns}, key.removeprefix("-"), "`sort`")
    rows = take(table.rows, SORT_LIMIT, "sorting")
    filled = [row for row in rows if _sortable(row.get(column.key))]
    empty = [row for row in rows if not _sortable(row.get(column.key))]
    filled.sort(key=lambda row: _order(row[column.key]), reverse=descending)
    return replace(table, rows=(*filled, *empty))


def take(rows: Iterable[Row], limit: int, what: str) -> list[Row]:
    """Read up to `limit` rows into memory; more is an `InputError` that `what` starts."""
    if isinstance(rows, Sized) and len(rows) > limit:
        raise InputError(_too_many(what, limit, len(rows)))
    taken = list(islice(rows, limit + 1))
    if len(taken) > limit:
        raise InputError(_too_many(what, limit, None))
    return taken


def stream(table: Table) -> Iterator[list[Value]]:
    """Yield each row's values in the order of the columns."""
    keys = [column.key for column in table.columns]
    for row in table.rows:
        yield [row.get(key) for key in keys]


def _too_many(what: str, limit: int, rows: int | None) -> str:
    more = "more" if rows is None else format_count(rows)
    return (
        f"{what} holds at most {limit:,} rows and this has {more}; "
        "`format` csv and `format` json without `sort` write any number"
    )


def find_column(known: Mapping[str, Column], key: str, option: str) -> Column:
    """Return the column of that key, which `option` asks for; raise `InputError` for none."""
    return named(key, known, "column", option)


def _sortable(value: Value) -> bool:
    return value is not None and value == value  # a NaN is not equal to itself


def _order(value: Value) -> tuple[bool, Any]:
    return isinstance(value, str), value
