"""What autograd keeps: the rules that records share.

Source: torch 2.14's derivatives.yaml (which tensors a derivative's formula reads), of which a test
reads torch's own copy; operators in place by VariableType, which copies an operand that is about
to be overwritten and that its own derivative reads.
"""

from __future__ import annotations

from effcalc.network.network import OperatorCall
from effcalc.network.ops.core import SavedForBackward, Saves


def keeps(*operands: int) -> Saves:
    """Rule of an operator whose backward reads these operands."""
    saved = SavedForBackward(operands=operands)
    return lambda call, device: saved


def keeps_operands(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator whose backward reads every operand."""
    return SavedForBackward(operands=tuple(range(len(call.operands))))


def keeps_result(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator whose backward reads its result."""
    return SavedForBackward(outputs=(0,))


def keeps_input_and_result(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator whose backward reads its first operand and its result."""
    return SavedForBackward(operands=(0,), outputs=(0,))


def keeps_indices(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of a choice along an axis, which keeps the places; over all elements, both ends."""
    if len(call.outputs) > 1:
        return SavedForBackward(outputs=(1,))
    return SavedForBackward(operands=(0,), outputs=(0,))


def keeps_nothing(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator whose backward reads the gradient alone, and makes a new one."""
    return SavedForBackward()


def passes_on(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator whose operands' gradients lie in its result's."""
    return SavedForBackward(same=tuple(range(len(call.operands))))


def no_gradient(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator that is not differentiable."""
    return SavedForBackward(differentiable=False)


def product(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of a product: each factor for the other's gradient; a number is no tensor."""
    if len(call.operands) == 1:
        return SavedForBackward()
    return SavedForBackward(if_other_needs_grad=True, per_operand=True)


def quotient(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of x / y, whose second gradient is -g · ((x / y) / y): three results on the way."""
    if len(call.operands) == 1:
        return SavedForBackward()
    return SavedForBackward(if_other_needs_grad=True, per_operand=True, scratch=3)


def result_in_place(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an activation that can be undone: in place its backward reads the result."""
    return (
        SavedForBackward(outputs=(0,))
        if call.memory == "inplace"
        else SavedForBackward(operands=(0,))
    )


def statistics(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of a normalisation: its input and affine weight, and the statistics after the result."""
    outputs = tuple(range(1, len(call.outputs)))
    return SavedForBackward(operands=tuple(range(len(call.operands))), outputs=outputs)


def keeps_input_and_second_result(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator whose second result is for the backward: indices, a divisor."""
    return SavedForBackward(operands=(0,), outputs=(1,))


def keeps_second_result(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of an operator whose second result is a mask that the gradient is multiplied by."""
    return SavedForBackward(outputs=(1,))


def keeps_condition(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of a choice by a condition, the first operand."""
    return SavedForBackward(operands=(0,), per_operand=True)
