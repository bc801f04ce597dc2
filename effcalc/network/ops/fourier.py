"""Fast Fourier transforms: arithmetic that is neither a matrix product nor element-wise.

Convention, as the FFTW authors' benchmarks use it: 5 N log2 N floating-point operations for a
complex transform of N points, half of that where input or output is real. Of a transform over
several axes N is the product of their sizes.
"""

from __future__ import annotations

import math

from effcalc.network.network import OperatorCall, Tensor
from effcalc.network.ops.autocast import float32_on_cpu
from effcalc.network.ops.core import Op, register


def _flops(grid: Tensor, axes: tuple[int, ...], real: bool) -> int:
    """Operations of all transforms over `axes` of a tensor that holds the full grid."""
    n = math.prod(grid.shape[axis] for axis in axes)
    return round(grid.numel * (2.5 if real else 5) * math.log2(n)) if n > 1 else 0


def complex_flops(call: OperatorCall) -> int:
    """5 N log2 N for each transform."""
    return _flops(call.operands[0], tuple(call.attrs["dim"]), False)


def real_input_flops(call: OperatorCall) -> int:
    """2.5 N log2 N for each transform, N by the real input."""
    return _flops(call.operands[0], tuple(call.attrs["dim"]), True)


def real_output_flops(call: OperatorCall) -> int:
    """2.5 N log2 N for each transform, N by the real output."""
    return _flops(call.outputs[0], tuple(call.attrs["dim"]), True)


register(
    Op("fft", ("aten::_fft_c2c",), flops_other=complex_flops, autocast=float32_on_cpu),
    Op("rfft", ("aten::_fft_r2c",), flops_other=real_input_flops, autocast=float32_on_cpu),
    Op("irfft", ("aten::_fft_c2r",), flops_other=real_output_flops, autocast=float32_on_cpu),
)
