"""What torch.autocast does about an operator: the rules that records share.

Source: https://docs.pytorch.org/docs/stable/amp.html, the operator lists of CPU and CUDA.
"""

from __future__ import annotations

from effcalc.network.network import OperatorCall
from effcalc.network.ops.core import Precision


def low(call: OperatorCall, device: str) -> Precision:
    """Rule of an operator whose operands are cast to the lower precision."""
    return "low"


def float32(call: OperatorCall, device: str) -> Precision:
    """Rule of an operator whose operands are cast to float32."""
    return "float32"


def float32_on_cpu(call: OperatorCall, device: str) -> Precision:
    """Rule of an operator that is on the float32 list of CPU alone."""
    return "float32" if device == "cpu" else "widest"


def float32_on_cuda(call: OperatorCall, device: str) -> Precision:
    """Rule of an operator that is on the float32 list of CUDA alone."""
    return "float32" if device == "cuda" else "widest"


def float32_statistics(call: OperatorCall, device: str) -> Precision:
    """Rule of a normalisation: its statistics are float32, whatever it normalises."""
    return "statistics"


def float32_norm_on_cuda(call: OperatorCall, device: str) -> Precision:
    """Rule of a normalisation that is on the float32 list of CUDA."""
    return "float32" if device == "cuda" else "statistics"
