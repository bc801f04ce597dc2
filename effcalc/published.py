"""What papers print about a network, beside what effcalc computes for the same one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from effcalc.arch import Arch, Published
from effcalc.archfile import load
from effcalc.archindex import index
from effcalc.scaling import Scaled, by_ratios, released, scaled
from effcalc.units import parse_bytes, parse_count


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
            from effcalc.deploy.sizes import parse_compression, pieces, stored

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


def at_scaling(arch: Arch, entry: Published) -> Scaled:
    """Return the network that a published entry is about."""
    knobs = {k: str(v) for k, v in entry.knobs.items()}
    name = entry.network
    if arch.name != name or knobs:
        own = arch.file if arch.file.find("/") >= 0 else ""
        arch, _ = load(f"{own}:{name}" if own else name, knobs)
    if entry.variant:
        return scaled(arch, released(arch, arch.variant(entry.variant)))
    return scaled(arch, by_ratios(arch, entry.depth, entry.width, entry.resolution))


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


def accuracy(at: Scaled) -> Published | None:
    """Return the published entry with an accuracy for exactly this network, if there is one."""
    for entry in at.arch.published:
        if (entry.top1 is None and entry.top5 is None) or entry.storage:
            continue
        if entry.network == at.arch.name and _same(at, entry):
            return entry
    return None


def _same(at: Scaled, entry: Published) -> bool:
    """Whether an entry is about this very network."""
    wanted = {k.name: k.default for k in at.arch.knobs}
    wanted |= at.arch.preset
    wanted |= entry.knobs
    if dict(at.arch.settings) != wanted or not at.head:
        return False
    if entry.variant:
        target = released(at.arch, at.arch.variant(entry.variant))
    else:
        target = by_ratios(at.arch, entry.depth, entry.width, entry.resolution)
    mine = (at.scaling.depth, at.scaling.width)
    theirs = (target.depth, target.width)
    same = all(math.isclose(a, b) for a, b in zip(mine, theirs, strict=True))
    return same and at.scaling.image_size == target.image_size
