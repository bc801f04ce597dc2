"""Element-wise operators, reductions, softmax, interpolation, losses: a record each.

Each result element counts once, whatever the function costs on a real machine. Records stand in
the order of what autograd keeps for them.
"""

from __future__ import annotations

from effcalc.network.ops.autocast import float32, float32_on_cpu, float32_on_cuda
from effcalc.network.ops.core import Op, Saves, elementwise, register
from effcalc.network.ops.saving import (
    keeps,
    keeps_condition,
    keeps_indices,
    keeps_input_and_result,
    keeps_input_and_second_result,
    keeps_nothing,
    keeps_operands,
    keeps_result,
    no_gradient,
    passes_on,
    result_in_place,
)


def _ops(saves: Saves | None, names: str) -> list[Op]:
    """Return the records of operators of which nothing but the saves is to say."""
    return [elementwise(name, saves) for name in names.split()]


register(
    elementwise("abs", keeps(0), onnx="Abs"),
    elementwise("acos", keeps(0), onnx="Acos", autocast=float32_on_cuda),
    elementwise("acosh", keeps(0), onnx="Acosh"),
    elementwise("asin", keeps(0), onnx="Asin", autocast=float32_on_cuda),
    elementwise("asinh", keeps(0), onnx="Asinh"),
    elementwise("atan", keeps(0), onnx="Atan"),
    elementwise("atanh", keeps(0), onnx="Atanh"),
    elementwise("clamp", keeps(0), onnx="Clip"),
    elementwise("cos", keeps(0), onnx="Cos"),
    elementwise("cosh", keeps(0), onnx="Cosh", autocast=float32_on_cuda),
    elementwise("erf", keeps(0), onnx="Erf"),
    elementwise("erfinv", keeps(0), autocast=float32_on_cuda),
    elementwise("gelu", keeps(0), onnx="Gelu"),
    elementwise("hardsigmoid", keeps(0), onnx="HardSigmoid"),
    elementwise("hardswish", keeps(0), onnx="HardSwish"),
    elementwise("log", keeps(0), onnx="Log", autocast=float32_on_cuda),
    elementwise("log10", keeps(0), autocast=float32_on_cuda),
    elementwise("log1p", keeps(0), autocast=float32_on_cuda),
    elementwise("log2", keeps(0), autocast=float32_on_cuda),
    elementwise("mish", keeps(0), onnx="Mish"),
    elementwise("sin", keeps(0), onnx="Sin"),
    elementwise("sinh", keeps(0), onnx="Sinh", autocast=float32_on_cuda),
    elementwise("softplus", keeps(0), onnx="Softplus", autocast=float32_on_cuda),
    elementwise("threshold", keeps(0), onnx="ThresholdedRelu"),
    *_ops(
        keeps(0),
        "angle clamp_max clamp_min clip digamma erfc glu hardshrink i0 lgamma logit nan_to_num "
        "nansum poisson polygamma relu6 renorm sinc softshrink square var var_mean",
    ),
    elementwise("exp", keeps_result, onnx="Exp", autocast=float32_on_cuda),
    elementwise("expm1", keeps_result, autocast=float32_on_cuda),
    elementwise(
        "log_softmax", keeps_result, torch="_log_softmax", onnx="LogSoftmax", autocast=float32
    ),
    elementwise("reciprocal", keeps_result, onnx="Reciprocal", autocast=float32_on_cuda),
    elementwise("rsqrt", keeps_result, autocast=float32_on_cuda),
    elementwise(
        "softmax",
        keeps_result,
        torch="_softmax _safe_softmax _masked_softmax",
        onnx="Softmax",
        autocast=float32_on_cuda,
    ),
    elementwise("sqrt", keeps_result, onnx="Sqrt"),
    elementwise("tan", keeps_result, onnx="Tan", autocast=float32_on_cuda),
    elementwise("tanh", keeps_result, onnx="Tanh"),
    *_ops(keeps_result, "exp2"),
    elementwise("amax", keeps_input_and_result, onnx="GlobalMaxPool ReduceMax"),
    elementwise("amin", keeps_input_and_result, onnx="ReduceMin"),
    elementwise("cumprod", keeps_input_and_result, autocast=float32_on_cuda),
    elementwise("logcumsumexp", keeps_input_and_result, more="_logcumsumexp"),
    elementwise("logsumexp", keeps_input_and_result, onnx="ReduceLogSumExp"),
    elementwise(
        "norm",
        keeps_input_and_result,
        more="linalg_vector_norm linalg__powsum",
        onnx="LpNormalization ReduceL1 ReduceL2 ReduceSumSquare",
        autocast=float32_on_cuda,
    ),
    elementwise("prod", keeps_input_and_result, onnx="ReduceProd", autocast=float32),
    *_ops(keeps_input_and_result, "copysign sgn std std_mean"),
    elementwise("topk", keeps_indices, onnx="TopK"),
    *_ops(keeps_indices, "kthvalue max median min mode nanmedian sort"),
    elementwise("binary_cross_entropy", keeps_operands, autocast=float32),
    elementwise("cross", keeps_operands, more="linalg_cross"),
    elementwise(
        "grid_sampler_2d",
        keeps_operands,
        more="_grid_sampler_2d_cpu_fallback cudnn_grid_sampler",
        onnx="GridSample",
        autocast=float32_on_cpu,
    ),
    elementwise("grid_sampler_3d", keeps_operands, autocast=float32_on_cpu),
    elementwise("huber_loss", keeps_operands, autocast=float32),
    elementwise("maximum", keeps_operands, onnx="Max"),
    elementwise("minimum", keeps_operands, onnx="Min"),
    elementwise("mse_loss", keeps_operands, autocast=float32),
    elementwise("multi_margin_loss", keeps_operands, autocast=float32),
    elementwise("prelu", keeps_operands, torch="_prelu_kernel", onnx="PRelu"),
    elementwise("remainder", keeps_operands, onnx="Mod"),
    elementwise("smooth_l1_loss", keeps_operands, autocast=float32),
    *_ops(
        keeps_operands,
        "atan2 binary_cross_entropy_with_logits dist float_power fmax fmin fmod hypot lerp "
        "logaddexp logaddexp2 soft_margin_loss xlogy",
    ),
    *_ops(keeps(1, 2), "addcdiv addcmul"),
    *_ops(keeps(1), "masked_fill max_unpool2d max_unpool3d"),
    elementwise("where", keeps_condition, onnx="Where"),
    elementwise("affine_grid_generator", keeps_nothing, more="cudnn_affine_grid_generator"),
    elementwise("conj_physical", keeps_nothing, more="_conj_physical"),
    elementwise("cumsum", keeps_nothing, onnx="CumSum", autocast=float32_on_cuda),
    elementwise("neg", keeps_nothing, onnx="Neg"),
    elementwise("sub", keeps_nothing, onnx="Sub"),
    elementwise(
        "upsample",
        keeps_nothing,
        torch=(
            "upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
            "_upsample_nearest_exact2d _upsample_nearest_exact3d _upsample_bilinear2d_aa "
            "_upsample_bicubic2d_aa _upsample_lanczos2d_aa"
        ),
        onnx="Resize Upsample",
    ),
    *_ops(keeps_nothing, "col2im deg2rad rad2deg rsub trace"),
    elementwise("sum", passes_on, onnx="ReduceSum", autocast=float32_on_cuda),
    *_ops(passes_on, "positive"),
    elementwise("celu", result_in_place, onnx="Celu"),
    elementwise("elu", result_in_place, onnx="Elu"),
    elementwise("leaky_relu", result_in_place, onnx="LeakyRelu"),
    elementwise("selu", result_in_place, onnx="Selu"),
    *_ops(result_in_place, "rrelu rrelu_with_noise"),
    elementwise(
        "adaptive_max_pool",
        keeps_input_and_second_result,
        torch="adaptive_max_pool2d adaptive_max_pool3d",
    ),
    elementwise("cummax", keeps_input_and_second_result, more="_cummax_helper"),
    elementwise("cummin", keeps_input_and_second_result, more="_cummin_helper"),
    elementwise(
        "fractional_max_pool",
        keeps_input_and_second_result,
        torch="fractional_max_pool2d fractional_max_pool3d",
    ),
    elementwise("all", no_gradient, more="_is_all_true"),
    elementwise("any", no_gradient, more="_is_any_true"),
    elementwise("argmax", no_gradient, onnx="ArgMax"),
    elementwise("argmin", no_gradient, onnx="ArgMin"),
    elementwise("bernoulli", no_gradient, more="_fill_mem_eff_dropout_mask_"),
    elementwise("bitwise_and", no_gradient, more="__and__ __iand__", onnx="BitwiseAnd"),
    elementwise("bitwise_left_shift", no_gradient, more="__lshift__ __ilshift__", onnx="BitShift"),
    elementwise("bitwise_not", no_gradient, onnx="BitwiseNot"),
    elementwise("bitwise_or", no_gradient, more="__or__ __ior__", onnx="BitwiseOr"),
    elementwise("bitwise_right_shift", no_gradient, more="__rshift__ __irshift__"),
    elementwise("bitwise_xor", no_gradient, more="__xor__ __ixor__", onnx="BitwiseXor"),
    elementwise("ceil", no_gradient, onnx="Ceil"),
    elementwise("eq", no_gradient, onnx="Equal"),
    elementwise("floor", no_gradient, onnx="Floor"),
    elementwise("ge", no_gradient, onnx="GreaterOrEqual"),
    elementwise("gt", no_gradient, onnx="Greater"),
    elementwise("isinf", no_gradient, onnx="IsInf"),
    elementwise("isnan", no_gradient, onnx="IsNaN"),
    elementwise("le", no_gradient, onnx="LessOrEqual"),
    elementwise("logical_and", no_gradient, onnx="And"),
    elementwise("logical_not", no_gradient, onnx="Not"),
    elementwise("logical_or", no_gradient, onnx="Or"),
    elementwise("logical_xor", no_gradient, onnx="Xor"),
    elementwise("lt", no_gradient, onnx="Less"),
    elementwise("round", no_gradient, onnx="Round"),
    elementwise("sign", no_gradient, onnx="Sign"),
    *_ops(
        no_gradient,
        "bincount binomial bucketize count_nonzero equal floor_divide gcd heaviside histc "
        "isfinite isin isneginf isposinf lcm multinomial ne searchsorted signbit trunc",
    ),
    elementwise("add_relu", torch="_add_relu _add_relu_"),
    elementwise("aminmax", more="_aminmax"),
    elementwise("scale_qkv", torch="_transform_bias_rescale_qkv"),
    elementwise("standard_gamma", torch="_standard_gamma _sample_dirichlet"),
    *_ops(
        None,
        "complex frac frexp igamma igammac ldexp mvlgamma nextafter polar segment_reduce "
        "special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 "
        "special_chebyshev_polynomial_t special_chebyshev_polynomial_u "
        "special_chebyshev_polynomial_v special_chebyshev_polynomial_w special_entr special_erfcx "
        "special_hermite_polynomial_h special_hermite_polynomial_he special_i0e special_i1 "
        "special_i1e special_laguerre_polynomial_l special_legendre_polynomial_p special_log_ndtr "
        "special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0 "
        "special_modified_bessel_k1 special_ndtri special_scaled_modified_bessel_k0 "
        "special_scaled_modified_bessel_k1 special_shifted_chebyshev_polynomial_t "
        "special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v "
        "special_shifted_chebyshev_polynomial_w special_spherical_bessel_j0 special_xlog1py "
        "special_zeta",
    ),
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
