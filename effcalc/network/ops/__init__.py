"""One record per operator; importing this package registers them all."""

from effcalc.network.ops import attention, fourier, matmul, moving, pointwise, recurrent, vision
from effcalc.network.ops.core import (
    BY_TORCH,
    OPS,
    Cost,
    Op,
    TorchFunction,
    TorchModule,
    cost,
    macs,
    register,
    total,
)
from effcalc.network.ops.custom import formula

__all__ = [
    "BY_TORCH",
    "OPS",
    "Cost",
    "Op",
    "TorchFunction",
    "TorchModule",
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
