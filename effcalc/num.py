"""Arithmetic that runs unchanged on Python numbers and on NumPy arrays.

Python ints are exact at any size; arrays make a sweep over millions of points fast. Every formula
in effcalc is written once, with these functions and Python's own operators. NumPy is never
imported here unless the caller already passed an array.
"""

from __future__ import annotations

import math
from typing import Any

# Annotations elsewhere say `int`; a sweep passes int64 arrays through the same lines.


class Split(Exception):  # noqa: N818 - control flow of a sweep, not an error
    """Points of an array call take different branches; the caller parts them by `mask`."""

    def __init__(self, mask: Any) -> None:
        """Keep the bool array `mask`."""
        super().__init__("the points differ")
        self.mask = mask


def uniform(condition: Any) -> bool:
    """Return a condition as one bool; raise `Split` where an array holds both."""
    if isinstance(condition, bool):
        return condition
    if condition.all():
        return True
    if not condition.any():
        return False
    raise Split(condition)


def floor(x: Any) -> Any:
    """Round down to an integer (exact for any finite float)."""
    if isinstance(x, int | float):
        return math.floor(x)
    import numpy as np

    return np.floor(x).astype(np.int64)


def ceil(x: Any) -> Any:
    """Round up to an integer (exact for any finite float)."""
    return -floor(-x)


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two values, element by element on arrays."""
    if isinstance(a, int | float) and isinstance(b, int | float):
        return max(a, b)
    import numpy as np

    return np.maximum(a, b)


def round_channels(channels: Any, divisor: int, keep: float = 0.9) -> Any:
    """Round a width to the nearest multiple of `divisor`, at least one, losing at most 10%.

    Halves round up, and one more step is taken where rounding kept less than `keep` of the
    width: the rule of the authors' released EfficientNet, MobileNetV2 and MnasNet code.
    """
    nearest = maximum(divisor, floor(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor * (nearest < keep * channels)


def round_repeats(repeats: int, depth: Any) -> Any:
    """Repeats of a stage at depth d: ceil(n·d).

    The 1e-9 keeps a product that is whole but for its last bit from gaining a block (√2²·3 is
    6.000000000000001 in floating point).
    """
    return ceil(repeats * depth - 1e-9)


def round_pixels(pixels: int, resolution: Any) -> Any:
    """Pixels of one side at resolution r: the nearest whole number, halves up."""
    return floor(pixels * resolution + 0.5)
