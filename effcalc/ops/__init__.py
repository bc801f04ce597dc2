"""One record per operator; importing this package registers them all."""

from effcalc.ops import matmul, pointwise
from effcalc.ops.core import BY_TORCH, OPS, Cost, Op, cost, macs, register, total

__all__ = [
    "BY_TORCH",
    "OPS",
    "Cost",
    "Op",
    "cost",
    "macs",
    "matmul",
    "pointwise",
    "register",
    "total",
]
