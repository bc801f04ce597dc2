"""What autograd keeps: the rules that records share, and those of element-wise operators by name.

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
    """Rule of a product: each factor for the other's gradient; a number is kept apart from it."""
    if len(call.operands) == 1:
        return SavedForBackward()
    return SavedForBackward(if_other_needs_grad=True, apart=True)


def quotient(call: OperatorCall, device: str) -> SavedForBackward:
    """Rule of x / y, whose second gradient is -g · ((x / y) / y): three results on the way."""
    if len(call.operands) == 1:
        return SavedForBackward()
    return SavedForBackward(if_other_needs_grad=True, apart=True, scratch=3)


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


_BY_RULE: dict[Saves, str] = {
    keeps(0): (
        "abs acos acosh angle asin asinh atan atanh clamp clamp_max clamp_min clip cos cosh "
        "digamma erf erfc erfinv gelu glu hardshrink hardsigmoid hardswish i0 lgamma log log10 "
        "log1p log2 logit mish nan_to_num nansum poisson polygamma relu6 renorm sin sinc sinh "
        "softplus softshrink square threshold var var_mean"
    ),
    keeps_result: "exp exp2 expm1 reciprocal rsqrt sqrt tan tanh softmax log_softmax",
    keeps_input_and_result: (
        "amax amin logcumsumexp logsumexp norm prod cumprod std std_mean sgn copysign"
    ),
    keeps_indices: "kthvalue max min median mode nanmedian sort topk",
    keeps_operands: (
        "atan2 fmax fmin hypot logaddexp logaddexp2 maximum minimum remainder fmod xlogy lerp "
        "cross dist binary_cross_entropy binary_cross_entropy_with_logits huber_loss mse_loss "
        "multi_margin_loss smooth_l1_loss soft_margin_loss grid_sampler_2d grid_sampler_3d prelu "
        "float_power"
    ),
    keeps(1, 2): "addcdiv addcmul",
    keeps(1): "masked_fill max_unpool2d max_unpool3d",
    lambda call, device: SavedForBackward(operands=(0,), apart=True): "where",
    keeps_nothing: (
        "neg rsub sub deg2rad rad2deg cumsum trace col2im affine_grid_generator upsample "
        "conj_physical"
    ),
    lambda call, device: SavedForBackward(same=(0,)): "sum positive",
    result_in_place: "celu elu leaky_relu rrelu rrelu_with_noise selu",
    statistics: "layer_norm group_norm rms_norm weight_norm",
    lambda call, device: SavedForBackward(operands=(0,), outputs=(1,)): (
        "cummax cummin adaptive_max_pool fractional_max_pool log_sigmoid nll_loss "
        "multilabel_margin_loss"
    ),
    lambda call, device: SavedForBackward(outputs=(1,)): "native_dropout",
    no_gradient: (
        "all any argmax argmin bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or "
        "bitwise_right_shift bitwise_xor bucketize ceil count_nonzero eq equal floor "
        "floor_divide ge gt heaviside histc isfinite isin isinf isnan isneginf isposinf le "
        "logical_and logical_not logical_or logical_xor lt ne round searchsorted sign signbit "
        "trunc bernoulli binomial multinomial gcd lcm"
    ),
}

SAVES: dict[str, Saves] = {name: rule for rule, names in _BY_RULE.items() for name in names.split()}
"""The rules of the records that are made from a list of names."""
