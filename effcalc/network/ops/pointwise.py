"""Element-wise operators, reductions, normalisation, pooling, interpolation, losses.

Each result element counts once, whatever the function costs on a real machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from effcalc.base.units import dtype_bytes
from effcalc.network.network import OperatorCall
from effcalc.network.ops.core import (
    Op,
    SavedForBackward,
    TorchFunction,
    TorchModule,
    Traffic,
    aten,
    first_output_written,
    only_written,
    per_every_output,
    per_output,
    register,
)
from effcalc.network.ops.saving import (
    SAVES,
    keeps,
    keeps_nothing,
    keeps_result,
    no_gradient,
    passes_on,
    product,
    quotient,
)

# Operators with a record of the same name; torch also has most in place (`exp_`). Those that
# blocks add have records of their own, further down.
SAME_NAME = """
    abs acos acosh addcdiv addcmul angle asin asinh atan atan2 atanh bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu clamp
    clamp_max clamp_min clip complex conj_physical copysign cos cosh deg2rad digamma elu eq
    erf erfc erfinv exp exp2 expm1 float_power floor floor_divide fmax fmin fmod frac frexp gcd ge
    gelu glu gt hardshrink hardsigmoid hardswish heaviside hypot i0 igamma igammac
    isfinite isinf isin isnan isneginf isposinf lcm ldexp le leaky_relu lerp lgamma log log10
    log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt
    masked_fill maximum minimum mish mvlgamma nan_to_num ne neg nextafter polar polygamma
    positive rad2deg reciprocal relu6 remainder round rrelu rrelu_with_noise rsqrt rsub
    selu sgn sign signbit sin sinc sinh softplus softshrink sqrt square sub tan tanh
    threshold trunc where xlogy
    special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1
    special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v
    special_chebyshev_polynomial_w special_entr special_erfcx special_hermite_polynomial_h
    special_hermite_polynomial_he special_i0e special_i1 special_i1e special_laguerre_polynomial_l
    special_legendre_polynomial_p special_log_ndtr special_modified_bessel_i0
    special_modified_bessel_i1 special_modified_bessel_k0 special_modified_bessel_k1 special_ndtri
    special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1
    special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u
    special_shifted_chebyshev_polynomial_v special_shifted_chebyshev_polynomial_w
    special_spherical_bessel_j0 special_xlog1py special_zeta

    all amax amin aminmax any argmax argmin bincount bucketize count_nonzero cross cummax cummin
    cumprod cumsum dist equal histc kthvalue logcumsumexp logsumexp max median min mode
    nanmedian nansum norm prod renorm searchsorted segment_reduce sort std std_mean sum topk trace
    var var_mean

    binary_cross_entropy binary_cross_entropy_with_logits huber_loss mse_loss multi_margin_loss
    smooth_l1_loss soft_margin_loss

    bernoulli binomial multinomial poisson

    affine_grid_generator col2im grid_sampler_2d grid_sampler_3d max_unpool2d max_unpool3d
"""

# Random numbers made from nothing: no operand is read.
RANDOM = """
    cauchy exponential geometric log_normal normal rand rand_like randint randint_like randn
    randn_like random randperm uniform
"""

# Record -> torch operators that have another name, without "aten::".
GROUPS = {
    "bitwise_and": "__and__ __iand__",
    "bitwise_or": "__or__ __ior__",
    "bitwise_xor": "__xor__ __ixor__",
    "bitwise_left_shift": "__lshift__ __ilshift__",
    "bitwise_right_shift": "__rshift__ __irshift__",
    "conj_physical": "_conj_physical",
    "add_relu": "_add_relu _add_relu_",
    "aminmax": "_aminmax",
    "cross": "linalg_cross",
    "cummax": "_cummax_helper",
    "cummin": "_cummin_helper",
    "logcumsumexp": "_logcumsumexp",
    "prelu": "_prelu_kernel",
    "scale_qkv": "_transform_bias_rescale_qkv",
    "norm": "linalg_vector_norm linalg__powsum",
    "all": "_is_all_true",
    "any": "_is_any_true",
    "grid_sampler_2d": "_grid_sampler_2d_cpu_fallback cudnn_grid_sampler",
    "affine_grid_generator": "cudnn_affine_grid_generator",
    "softmax": "_softmax _safe_softmax _masked_softmax",
    "log_softmax": "_log_softmax",
    "adaptive_max_pool": "adaptive_max_pool2d adaptive_max_pool3d",
    "fractional_max_pool": "fractional_max_pool2d fractional_max_pool3d",
    "upsample": (
        "upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
        "_upsample_nearest_exact2d _upsample_nearest_exact3d _upsample_bilinear2d_aa "
        "_upsample_bicubic2d_aa _upsample_lanczos2d_aa"
    ),
    "bernoulli": "_fill_mem_eff_dropout_mask_",
    "standard_gamma": "_standard_gamma _sample_dirichlet",
}

# As GROUPS; outputs after the first are statistics that the backward pass wants.
WITH_STATISTICS = {
    "layer_norm": "native_layer_norm",
    "group_norm": "native_group_norm",
    "rms_norm": "_fused_rms_norm",
    "weight_norm": "_weight_norm_interface",
    "native_dropout": "native_dropout _fused_dropout",
    "log_sigmoid": "log_sigmoid_forward",
    "nll_loss": "nll_loss_forward nll_loss2d_forward",
    "multilabel_margin_loss": "multilabel_margin_loss_forward",
    "ctc_loss": "_ctc_loss _cudnn_ctc_loss",
}

# Gradients of the above: one result for each element of the first gradient. The torch operators
# have "_backward" at the end.
BACKWARD = """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _ctc_loss _fused_rms_norm _masked_softmax
    _prelu_kernel _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_lanczos2d_aa
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    _weight_norm_interface adaptive_max_pool2d adaptive_max_pool3d avg_pool2d avg_pool3d
    batch_norm binary_cross_entropy cudnn_batch_norm cudnn_grid_sampler elu
    fractional_max_pool2d fractional_max_pool3d gelu glu grid_sampler_2d grid_sampler_3d
    hardshrink hardsigmoid hardswish hardtanh huber_loss leaky_relu log_sigmoid logit
    max_pool2d_with_indices max_pool3d_with_indices miopen_batch_norm mish mse_loss
    multi_margin_loss multilabel_margin_loss native_batch_norm native_dropout native_group_norm
    native_layer_norm nll_loss nll_loss2d rrelu_with_noise sigmoid silu smooth_l1_loss
    soft_margin_loss softplus softshrink tanh threshold upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_trilinear3d
"""

# Operators over lists of tensors, as optimizers use them.
FOREACH = """
    abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp
    expm1 floor frac lerp lgamma log log10 log1p log2 max maximum minimum mul neg norm pow powsum
    reciprocal round rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc
"""


def _both(name: str) -> tuple[str, ...]:
    """Return torch's operator and its in-place variant, which not every one has."""
    return (f"aten::{name}", f"aten::{name}_")


def _bag_traffic(call: OperatorCall) -> Traffic:
    """Traffic of an embedding bag: one row for each index. Operands: weight (V, D), indices."""
    weight, indices = call.operands[:2]
    rest = first_output_written(replace(call, operands=call.operands[1:]))
    n = indices.numel * weight.shape[-1]
    return rest._replace(
        read=rest.read + n, read_bytes=rest.read_bytes + n * dtype_bytes(weight.dtype)
    )


def _activation(path: str, *attrs: str) -> Callable[[OperatorCall], TorchModule]:
    """Build an activation, which overwrites its input where the layer says so."""
    return lambda call: TorchModule(
        path, {**{name: call.attrs[name] for name in attrs}, "inplace": call.memory == "inplace"}
    )


def _arithmetic(name: str, second: str = "other") -> Callable[[OperatorCall], TorchFunction]:
    """Build `torch.add` and its like: of two tensors, or of a tensor and the layer's `value`."""

    def build(call: OperatorCall) -> TorchFunction:
        path = f"torch:Tensor.{name}_" if call.memory == "inplace" else f"torch:{name}"
        return TorchFunction(path, {second: call.attrs["value"]} if "value" in call.attrs else {})

    return build


def _sigmoid(call: OperatorCall) -> TorchModule:
    return TorchModule("torch.nn:Sigmoid", {})


def _mean(call: OperatorCall) -> TorchModule:
    """Build a global average pool, which torch computes as a mean."""
    return TorchModule("torch.nn:AdaptiveAvgPool2d", {"output_size": 1})


def _avg_pool(call: OperatorCall) -> TorchModule:
    """Average `size` neighbouring channels of (N, 1, C, H, W)."""
    return TorchModule(
        "torch.nn:AvgPool3d", {"kernel_size": (call.attrs["size"], 1, 1), "stride": 1}
    )


def _adaptive_avg_pool(call: OperatorCall) -> TorchModule:
    return TorchModule("torch.nn:AdaptiveAvgPool2d", {"output_size": call.attrs["size"]})


def _max_pool(call: OperatorCall) -> TorchModule:
    arguments = {name: call.attrs[name] for name in ("stride", "padding", "ceil_mode")}
    return TorchModule("torch.nn:MaxPool2d", {"kernel_size": call.attrs["kernel"], **arguments})


def _batch_norm(call: OperatorCall) -> TorchModule:
    _, channels, *sides = call.outputs[0].shape
    return TorchModule(f"torch.nn:BatchNorm{len(sides)}d", {"num_features": channels})


def _batch_norm_saves(call: OperatorCall, device: str) -> SavedForBackward:
    """Input, weight and running statistics; mean and inverse deviation of C channels each.

    A layer that a block describes has no results for the two, which have the weight's dtype.
    """
    if len(call.outputs) > 1:
        return SavedForBackward(operands=(0,), outputs=tuple(range(1, len(call.outputs))))
    channels = call.outputs[0].shape[1:2]
    dtype = next((t.dtype for t in call.operands[1:]), "float32")
    return SavedForBackward(operands=(0,), made=((channels, dtype), (channels, dtype)))


def _power(call: OperatorCall, device: str) -> SavedForBackward:
    """Base, and of a tensor exponent that and the result; g · (e · x^(e-1)) needs two more."""
    if len(call.operands) > 1:
        return SavedForBackward(operands=(0, 1), outputs=(0,), apart=True, scratch=2)
    return SavedForBackward(operands=(0,), apart=True, scratch=2)


# Operators that blocks add to a network, which torch builds as a module or calls as a function.
register(
    *(
        Op(name, aten(names), elementwise=per_output, build=build, saves=saves)
        for name, names, build, saves in (
            ("relu", "relu relu_", _activation("torch.nn:ReLU"), keeps_result),
            (
                "hardtanh",
                "hardtanh hardtanh_",
                _activation("torch.nn:Hardtanh", "min_val", "max_val"),
                keeps(0),
            ),
            ("silu", "silu silu_", _activation("torch.nn:SiLU"), keeps(0)),
            ("sigmoid", "sigmoid sigmoid_", _sigmoid, keeps_result),
            ("add", "add add_", _arithmetic("add"), passes_on),
            ("mul", "mul mul_", _arithmetic("mul"), product),
            ("div", "div div_ true_divide", _arithmetic("div"), quotient),
            ("pow", "pow pow_", _arithmetic("pow", "exponent"), _power),
            ("mean", "mean", _mean, keeps_nothing),
            ("avg_pool", "avg_pool1d avg_pool2d avg_pool3d", _avg_pool, keeps(0)),
            (
                "adaptive_avg_pool",
                "_adaptive_avg_pool2d _adaptive_avg_pool3d mkldnn_adaptive_avg_pool2d",
                _adaptive_avg_pool,
                keeps(0),
            ),
            (
                "max_pool",
                "max_pool2d_with_indices max_pool3d_with_indices mkldnn_max_pool2d "
                "mkldnn_max_pool3d",
                _max_pool,
                lambda call, device: SavedForBackward(operands=(0,), outputs=(1,)),
            ),
        )
    ),
    Op(
        "batch_norm",
        aten(
            "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
            "_native_batch_norm_legit_functional _batch_norm_with_update _batch_norm_no_update "
            "_batch_norm_with_update_functional cudnn_batch_norm miopen_batch_norm"
        ),
        elementwise=per_output,
        traffic=first_output_written,
        build=_batch_norm,
        saves=_batch_norm_saves,
    ),
)

_same = {name: _both(name) for name in SAME_NAME.split()}
_groups = {name: aten(names) for name, names in GROUPS.items()}

register(
    *(
        Op(
            name,
            (*_same.get(name, ()), *_groups.get(name, ())),
            elementwise=per_output,
            saves=SAVES.get(name),
        )
        for name in dict.fromkeys((*_same, *_groups))
    ),
    *(
        Op(
            name,
            aten(names),
            elementwise=per_output,
            traffic=first_output_written,
            saves=SAVES.get(name),
        )
        for name, names in WITH_STATISTICS.items()
    ),
    *(
        Op(name, _both(name), elementwise=per_output, traffic=only_written, saves=no_gradient)
        for name in RANDOM.split()
    ),
    *(
        Op(f"{name.lstrip('_')}_backward", (f"aten::{name}_backward",), elementwise=per_output)
        for name in BACKWARD.split()
    ),
    *(
        Op(f"{name}_backward", (f"aten::_{name}_backward_data",), elementwise=per_output)
        for name in ("softmax", "log_softmax")
    ),
    *(
        Op(
            f"foreach_{name}",
            (f"aten::_foreach_{name}", f"aten::_foreach_{name}_"),
            elementwise=per_every_output,
        )
        for name in FOREACH.split()
    ),
    Op(
        "embedding_bag",
        ("aten::_embedding_bag", "aten::_embedding_bag_forward_only"),
        elementwise=per_output,
        traffic=_bag_traffic,
    ),
    Op(
        "embedding_bag_backward",
        ("aten::_embedding_bag_dense_backward", "aten::_embedding_bag_backward"),
        elementwise=per_output,
    ),
)
