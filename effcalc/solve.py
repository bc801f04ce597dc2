"""The largest scaling whose real, rounded cost fits a budget (Tan & Le 2019, equation 2).

The paper maximises accuracy over (d, w, r) under a limit on memory and FLOPs; effcalc invents no
accuracy, so it gives the largest compound scaling that fits beside the largest in each dimension
alone. Cost is a step function, so the answer is found on a grid: φ, d and w in steps of 0.001,
resolution in whole pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from effcalc.arch import Arch
from effcalc.errors import InputError
from effcalc.figures import macs
from effcalc.scaling import Scaled, Scaling, build, by_phi, by_ratios, scaled

STEPS = 1000  # grid points to 1; k / 1000 is the very float that a user types
_FAR = 1 << 40  # grid steps; what still fits there does not depend on the dimension

BUDGETS: Mapping[str, str] = {
    "macs": "MACs",
    "params": "parameters",
    "weight_bytes": "weights",
    "peak_activation_bytes": "peak activations",
}
"""Figures of `Scaled` that a budget can limit, and what people call them."""

Budget = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest scaling of one kind that fits: `scaled` is None where none does.

    `unlimited` says that the budget does not limit this dimension at all.
    """

    kind: str
    value: float | None
    scaled: Scaled | None
    unlimited: bool = False


def solve(
    arch: Arch,
    budget: Budget,
    alpha: float,
    beta: float,
    gamma: float,
    workers: int,
    head: bool = True,
) -> list[Fit]:
    """Return the largest φ, and the largest depth, width and resolution alone, within a budget.

    Raises `InputError` where not even the smallest network of any kind fits.
    """
    by_phi(arch, 0, alpha, beta, gamma)  # bad bases are an error, not a network that does not fit
    height, width = arch.image_size

    def pixels(k: int) -> Scaling:
        return by_ratios(arch, image_size=(k, max(1, round(width * k / height))))

    # Kind -> scaling at grid point k, grid point of the unscaled network, grid points to 1.
    grids: dict[str, tuple[Callable[[int], Scaling], int, int]] = {
        "compound (φ)": (lambda k: by_phi(arch, k / STEPS, alpha, beta, gamma), 0, STEPS),
        "depth only": (lambda k: by_ratios(arch, k / STEPS), STEPS, STEPS),
        "width only": (lambda k: by_ratios(arch, width=k / STEPS), STEPS, STEPS),
        "resolution only": (pixels, height, height),
    }
    fits = []
    for kind, (at, base, unit) in grids.items():
        state = partial(_state, arch, at, base, budget, head)
        found, unlimited = largest(state, base, lowest=None if kind.startswith("compound") else 1)
        if unlimited:
            fits.append(Fit(kind, None, None, True))
        elif found is None:
            fits.append(Fit(kind, None, None))
        else:
            fits.append(Fit(kind, found / unit, scaled(arch, at(found), workers, head)))
    if all(fit.scaled is None and not fit.unlimited for fit in fits):
        limits = ", ".join(f"{BUDGETS[k]} of {v:,}" for k, v in budget.items())
        raise InputError(
            f"no scaling of {arch.name} fits {limits}; allow more, or try another network"
        )
    return fits


def _state(
    arch: Arch, at: Callable[[int], Scaling], base: int, budget: Budget, head: bool, k: int
) -> int:
    """Return 0 where grid point k fits, 1 where it is too large and -1 where it cannot be built."""
    try:
        scaling = at(k)
        net = build(arch, scaling, head=head)
    except InputError:
        return 1 if k > base else -1
    if budget.keys() == {"macs"}:
        return int(macs(net) > budget["macs"])
    result = Scaled(arch, scaling, net, 1, head)
    return int(any(getattr(result, key) > limit for key, limit in budget.items()))


def largest(state: Callable[[int], int], base: int, lowest: int | None) -> tuple[int | None, bool]:
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
        found = state(middle)
        if found > 0:
            high = middle
        else:
            low = middle
            fits = middle if found == 0 else fits
    return fits, False
