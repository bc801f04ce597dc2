"""One record per operator; importing this package registers them all."""

from effcalc.ops import attention, fourier, matmul, moving, pointwise, recurrent, vision
from effcalc.ops.core import BY_TORCH, OPS, Cost, Function, Module, Op, cost, macs, register, total
from effcalc.ops.custom import formula

__all__ = [
    "BY_TORCH",
    "OPS",
    "Cost",
    "Function",
    "Module",
    "Op",
    "attention",
    "cost",
    "formula",
    "fourier",
    "macs",
    "matmul",
    "moving",
    "pointwise",
    "recurrent",
    "register",
    "total",
    "vision",
]
