"""Candidates (α, β, γ), their costs, and the objective of accuracy and cost.

Tan & Le 2019 (arXiv:1905.11946), section 3.3: STEP 1 fixes φ = 1 and searches α, β, γ with
α·β²·γ² ≈ 2. The objective is MnasNet's (Tan et al. 2019, arXiv:1807.11626, equation 2):
ACC x (COST / T)^w, with w = −0.07.
"""

from __future__ import annotations

import csv
import itertools
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.paths import to_read
from effcalc.base.units import parse_number
from effcalc.network.arch import Arch
from effcalc.scaling.scale import Scaled, by_phi, scaled

MOST_POINTS = 10_000_000
MOST_CANDIDATES = 10_000
_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bases of depth, width and resolution."""

    alpha: float
    beta: float
    gamma: float

    @property
    def product(self) -> float:
        """What MACs grow by in theory at φ = 1: α·β²·γ²."""
        return self.alpha * self.beta**2 * self.gamma**2

    def text(self) -> str:
        """Write the bases for people."""
        return f"α = {self.alpha:g}, β = {self.beta:g}, γ = {self.gamma:g}"

    def scale(self, arch: Arch, phi: float, workers: int, head: bool) -> Scaled:
        """Scale a network by this candidate."""
        return scaled(arch, by_phi(arch, phi, self.alpha, self.beta, self.gamma), workers, head)


def grid(
    alphas: Sequence[float], betas: Sequence[float], gammas: Sequence[float], tolerance: float
) -> list[Candidate]:
    """Return the candidates of a grid with |α·β²·γ² − 2| <= tolerance; there must be one."""
    points = len(alphas) * len(betas) * len(gammas)
    if points > MOST_POINTS:
        raise InputError(f"the grid has {points:,} points; at most {MOST_POINTS:,} are searched")
    every = itertools.starmap(Candidate, itertools.product(alphas, betas, gammas))
    return _check_candidates([c for c in every if near(c, tolerance)], tolerance)


def near(candidate: Candidate, tolerance: float) -> bool:
    """Whether MACs about double, up to the rounding of floats."""
    return abs(candidate.product - 2) <= tolerance + 1e-12


def _check_candidates(candidates: list[Candidate], tolerance: float) -> list[Candidate]:
    if not candidates:
        raise InputError(
            f"no candidate has |α·β²·γ² − 2| <= {tolerance:g}; allow a larger `tolerance` or give "
            "a finer `alpha`, `beta` or `gamma`"
        )
    if len(candidates) > MOST_CANDIDATES:
        raise InputError(
            f"{len(candidates):,} candidates have |α·β²·γ² − 2| <= {tolerance:g}; at most "
            f"{MOST_CANDIDATES:,} are searched: give a smaller `tolerance` or a coarser grid"
        )
    return candidates


def read_accuracies(path: str, tolerance: float) -> tuple[dict[Candidate, float], int]:
    """Read the columns alpha, beta, gamma and accuracy of a CSV file; others are ignored.

    Returns the accuracies of the candidates within the tolerance, and how many are not. Raises
    `InputError` with file and line.
    """
    where = one_line(path)
    try:
        data = to_read(Path(path)).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{where}: is not a CSV file in UTF-8") from None
    if len(data) > _LIMIT:
        raise InputError(f"{where}: is larger than 64 MiB")
    keys = ("alpha", "beta", "gamma", "accuracy")
    accuracies: dict[Candidate, float] = {}
    left_out = 0
    try:
        rows = csv.DictReader(text.splitlines(), strict=True)
        missing = [key for key in keys if key not in (rows.fieldnames or ())]
        if missing:
            raise InputError(
                f"{where}: has no column {', '.join(missing)}; the first line must name alpha, "
                "beta, gamma and accuracy"
            )
        for row in rows:
            line = f"{where}: line {rows.line_num}"
            *bases, accuracy = (parse_number(row[key] or "", f"{line}: {key}") for key in keys)
            candidate = Candidate(*bases)
            if candidate in accuracies:
                raise InputError(f"{line}: is the second for {candidate.text()}")
            check_accuracy(accuracy, line)
            if near(candidate, tolerance):
                accuracies[candidate] = accuracy
            else:
                left_out += 1
    except csv.Error as error:
        raise InputError(f"{where}: is not CSV: {error}") from None
    _check_candidates(list(accuracies), tolerance)
    return accuracies, left_out


def check_accuracy(value: float, where: str) -> None:
    """Refuse a value that is no accuracy: a share or a percentage."""
    if not math.isfinite(value) or not 0 <= value <= 100:
        raise InputError(f"{where}: an accuracy is from 0 to 1, or from 0 to 100, not {value:g}")


# --- cost --------------------------------------------------------------------------------------

COSTS: Mapping[str, tuple[str, Callable[[Scaled], int]]] = {
    "macs": ("MACs of one image", lambda s: s.macs),
    "params": ("parameters", lambda s: s.params),
    "memory": (
        "bytes of weights, buffers and activation peak, one image",
        lambda s: s.weight_bytes + s.buffer_bytes + s.peak_activation_bytes,
    ),
    "communication": ("bytes that each worker sends a step", lambda s: s.gradient_bytes),
}
"""What a candidate's COST may be, besides latency, which is measured."""


def reward(accuracy: float, cost: float, target: float, exponent: float) -> float:
    """ACC x (COST / T)^w; with both papers' w = −0.07 twice the cost weighs 5% of accuracy."""
    return accuracy * math.pow(cost / target, exponent)


def ranking(
    costs: Sequence[float], accuracies: Mapping[int, float], target: float, exponent: float
) -> list[int]:
    """Places of the candidates with an accuracy, the highest reward first."""
    return sorted(accuracies, key=lambda i: (-reward(accuracies[i], costs[i], target, exponent), i))


# --- text with a candidate's values in it ------------------------------------------------------

_FIELD = re.compile(r"\{([a-z_]\w*)\}")
_FIELDS = ("alpha", "beta", "gamma", "phi", "d", "w", "r", "px", "network")


def fields(network: str, scaled: Scaled, candidate: Candidate) -> dict[str, str]:
    """Values that a command or a file name can have in it, as text."""
    height, width = scaled.scaling.image_size
    return {
        "alpha": f"{candidate.alpha:.12g}",
        "beta": f"{candidate.beta:.12g}",
        "gamma": f"{candidate.gamma:.12g}",
        "phi": f"{scaled.scaling.phi:.12g}",
        "d": repr(scaled.scaling.depth),
        "w": repr(scaled.scaling.width),
        "r": repr(scaled.scaling.resolution),
        "px": str(height) if height == width else f"{height}x{width}",
        "network": network,
    }


def filled(text: str, values: Mapping[str, str], option: str) -> str:
    """Put values in the place of `{d}` and the like; other braces stay as they are."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            raise InputError(
                f"{option}: there is no value {{{name}}}{suggest(name, _FIELDS)}; known: "
                + ", ".join(f"{{{f}}}" for f in _FIELDS)
            )
        return values[name]

    return _FIELD.sub(value, text)


def command(text: str) -> list[str]:
    """Split a command as a shell would, but run none; values are filled into its words later."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"`evaluate`: {one_line(text)!r} cannot be split: {error}") from None
    if not words:
        raise InputError("`evaluate`: give a command, such as 'train.sh {d} {w} {px}'")
    for word in words:
        filled(word, dict.fromkeys(_FIELDS, ""), "`evaluate`")
    return words


def ranges(candidates: Iterable[Candidate]) -> tuple[tuple[float, float], ...]:
    """Return the least and largest α, β and γ."""
    columns = zip(*((c.alpha, c.beta, c.gamma) for c in candidates), strict=True)
    return tuple((min(values), max(values)) for values in map(tuple, columns))
