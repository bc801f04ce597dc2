"""What papers print about a network, beside what effcalc computes for the same one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from effcalc.base.units import parse_bytes, parse_count
from effcalc.deployment.sizes import parse_compression, pieces, stored
from effcalc.network.arch import Arch, Published
from effcalc.network.archfile import load
from effcalc.network.catalog import index
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.published import at_scaling
from effcalc.scaling.scale import Scaled


class Claim(NamedTuple):
    """One figure as a paper prints it, and the network it is about.

    `figure` names a property of `Scaled`; `value` is what `printed` says, as a number.
    """

    published: Published
    scaled: Scaled
    figure: str
    printed: str
    value: int

    @property
    def computed(self) -> int:
        """Effcalc's figure; where the paper compressed the weights, by its compression."""
        if self.published.storage:
            storage = parse_compression(self.published.storage, "storage")
            return stored(pieces(self.scaled.network), storage).total
        return int(getattr(self.scaled, self.figure))

    @property
    def difference(self) -> float:
        """The paper's figure over effcalc's, less 1."""
        return self.value / self.computed - 1

    @property
    def verdict(self) -> str:
        """Whether effcalc's figure, rounded to the digits printed, is the one printed.

        "yes", "no", or "as MiB" for a size in "MB" that reproduces with 2^20 bytes alone.
        """
        slack = half_a_digit(self.printed, self.value)
        if abs(self.value - self.computed) <= slack:
            return "yes"
        mebi = 2**20 / 10**6
        if self.printed.endswith("MB") and abs(self.value * mebi - self.computed) <= slack * mebi:
            return "as MiB"
        return "no"


def half_a_digit(printed: str, value: int) -> float:
    """Half a unit of the last digit of a figure as printed ("4.8MB" was from 4.75 to 4.85 MB)."""
    number = "".join(c for c in printed if c.isdigit() or c == ".")
    decimals = len(number.partition(".")[2])
    return value / float(number) * 0.5 * 10.0**-decimals


_FIGURES = (
    ("params", "params", parse_count),
    ("macs", "macs", parse_count),
    ("weights", "weight_bytes", parse_bytes),
)


def claims(table: str = "") -> Iterator[Claim]:
    """Yield every figure published in the built-in files, or those of one paper's table."""
    for arch in files():
        for entry in arch.published:
            if table.lower() not in entry.table.lower():
                continue
            at = at_scaling(arch, entry)
            for key, figure, parse in _FIGURES:
                printed = getattr(entry, key)
                if printed:
                    yield Claim(entry, at, figure, printed, parse(printed))


def files() -> Iterator[Arch]:
    """Yield the first network of each built-in file."""
    for name, entry in index().items():
        if entry.network == entry.path.stem == name:
            yield load(name)[0]


def papers_table(claims: Iterable[Claim], title: str, single: bool = False) -> Table:
    """Published figures beside effcalc's; `single` says that all are of one table."""
    columns = (
        Column("table", "table", "text", "the paper's table", default=not single),
        Column("label", "network", "text", "as the paper names it"),
        Column("figure", "figure", "text", "what is counted"),
        Column("printed", "printed", "text", "by the paper"),
        Column("computed", "effcalc", "int", "effcalc's exact figure"),
        Column("difference", "off by", "change", "the paper's over effcalc's"),
        Column("verdict", "same", "text", "within the digits printed"),
        Column("top1", "top-1 %", "number", "as published", default=False),
        Column("top5", "top-5 %", "number", "as published", default=False),
    )
    names = {"params": "params", "macs": "MACs", "weight_bytes": "weights"}
    rows: list[Row] = [
        {
            "table": claim.published.table,
            "label": claim.published.label,
            "figure": names[claim.figure],
            "printed": claim.printed,
            "computed": claim.computed,
            "difference": claim.difference * 100,
            "verdict": claim.verdict,
            "top1": claim.published.top1,
            "top5": claim.published.top5,
        }
        for claim in claims
    ]
    notes = (
        "same: effcalc's figure, rounded to the digits printed, is the one printed; as MiB: it is "
        "when the paper's MB are 2^20 bytes",
    )
    return Table("papers", title, columns, rows, notes, layout="rows")
