"""The largest scaling whose real, rounded cost fits a budget (Tan & Le 2019, equation 2).

The paper maximises accuracy over (d, w, r) under a limit on memory and FLOPs; effcalc invents no
accuracy, so it gives the largest compound scaling that fits beside the largest in each dimension
alone. Cost is a step function, so the answer is found on a grid: φ, d and w in steps of 0.001,
resolution in whole pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

from effcalc.base.errors import InputError
from effcalc.network.arch import Arch
from effcalc.scaling.figures import macs
from effcalc.scaling.scale import Scaled, Scaling, build, by_phi, by_ratios, scaled

STEPS = 1000  # grid points to 1; k / 1000 is the very float that a user types
_FAR = 1 << 40  # grid steps; what still fits there does not depend on the dimension

BUDGETS: Mapping[str, str] = {
    "macs": "MACs",
    "params": "parameters",
    "weight_bytes": "weights",
    "peak_activation_bytes": "peak activations",
}
"""Figures of `Scaled` that a budget can limit, and what people call them."""

KINDS: Mapping[str, str] = {
    "phi": "compound (φ)",
    "depth": "depth only",
    "width": "width only",
    "resolution": "resolution only",
}
"""What can be scaled, and what people call it."""

Budget = Mapping[str, int]

Bases = tuple[float, float, float]
"""α, β and γ."""


class Fit(NamedTuple):
    """The largest scaling of one kind that fits: `scaled` is None where none does.

    `unlimited` says that the budget does not limit this dimension at all.
    """

    kind: str
    value: float | None
    scaled: Scaled | None
    unlimited: bool = False


def solve(arch: Arch, budget: Budget, bases: Bases, workers: int, head: bool = True) -> list[Fit]:
    """Return the largest φ, and the largest depth, width and resolution alone, within a budget.

    Raises `InputError` where not even the smallest network of any kind fits.
    """

    def over(scaled: Scaled) -> bool:
        if budget.keys() == {"macs"}:
            return macs(scaled.network) > budget["macs"]
        return any(getattr(scaled, key) > limit for key, limit in budget.items())

    fits = largest(arch, over, bases, workers, head)
    if all(fit.scaled is None and not fit.unlimited for fit in fits):
        limits = ", ".join(f"{BUDGETS[k]} of {v:,}" for k, v in budget.items())
        raise InputError(
            f"no scaling of {arch.name} fits {limits}; allow more, or try another network"
        )
    return fits


def largest(
    arch: Arch,
    over: Callable[[Scaled], bool],
    bases: Bases,
    workers: int,
    head: bool = True,
    kinds: Collection[str] = KINDS,
) -> list[Fit]:
    """Return the largest scaling of each kind that is not `over` a limit, which must grow with it.

    One after another as in `kinds`; a kind of which none fits has no `scaled`.
    """
    by_phi(arch, 0, *bases)  # bad bases are an error, not a network that does not fit
    height, width = arch.image_size

    def pixels(k: int) -> Scaling:
        return by_ratios(arch, image_size=(k, max(1, round(width * k / height))))

    # Scaling at grid point k, grid point of the unscaled network, grid points to 1.
    grids: dict[str, tuple[Callable[[int], Scaling], int, int]] = {
        "phi": (lambda k: by_phi(arch, k / STEPS, *bases), 0, STEPS),
        "depth": (lambda k: by_ratios(arch, k / STEPS), STEPS, STEPS),
        "width": (lambda k: by_ratios(arch, width=k / STEPS), STEPS, STEPS),
        "resolution": (pixels, height, height),
    }
    fits = []
    for kind in kinds:
        scaling_at, base, unit = grids[kind]
        state = partial(_state, arch, scaling_at, base, over, head)
        best, unlimited = search(state, base, lowest=None if kind == "phi" else 1)
        if unlimited:
            fits.append(Fit(KINDS[kind], None, None, True))
        elif best is None:
            fits.append(Fit(KINDS[kind], None, None))
        else:
            fits.append(
                Fit(KINDS[kind], best / unit, scaled(arch, scaling_at(best), workers, head))
            )
    return fits


def _state(
    arch: Arch,
    scaling_at: Callable[[int], Scaling],
    base: int,
    over: Callable[[Scaled], bool],
    head: bool,
    k: int,
) -> int:
    """Return 0 where grid point k fits, 1 where it is too large and -1 where it cannot be built."""
    try:
        scaling = scaling_at(k)
        net = build(arch, scaling, head=head)
    except InputError:
        return 1 if k > base else -1
    return int(over(Scaled(arch, scaling, net, 1, head)))


def search(state: Callable[[int], int], base: int, lowest: int | None) -> tuple[int | None, bool]:
    """Return the largest grid point that fits, and whether the budget never ends."""
    here = state(base)
    if here < 0:
        return None, False
    low, high, step = base, base, 1
    if here == 0:
        while state(high) == 0:
            low, high, step = high, base + step, step * 2
            if step > _FAR:
                return None, True
    else:
        while state(low) > 0:
            if low == lowest or step > _FAR:
                return None, False
            high, low, step = low, base - step, step * 2
            low = low if lowest is None else max(low, lowest)
    # Between a point that fits, or that is too small to be built, and one that is too large.
    fits = low if state(low) == 0 else None
    while high - low > 1:
        middle = (low + high) // 2
        outcome = state(middle)
        if outcome > 0:
            high = middle
        else:
            low = middle
            fits = middle if outcome == 0 else fits
    return fits, False
