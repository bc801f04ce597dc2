"""Random numbers, the gradients of element-wise operators, and operators over lists of tensors."""

from __future__ import annotations

from effcalc.network.ops.core import (
    Op,
    aten,
    elementwise,
    only_written,
    per_every_output,
    register,
)
from effcalc.network.ops.saving import no_gradient

# Random numbers made from nothing: no operand is read.
RANDOM = """
    cauchy exponential geometric log_normal normal rand rand_like randint randint_like randn
    randn_like random randperm uniform
"""

# Gradients of element-wise operators: one result for each element of the first gradient. torch's
# operators have "_backward" at the end.
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

register(
    *(elementwise(name, no_gradient, traffic=only_written) for name in RANDOM.split()),
    *(
        elementwise(f"{name.lstrip('_')}_backward", torch=f"{name}_backward")
        for name in BACKWARD.split()
    ),
    *(
        elementwise(f"{name}_backward", torch=f"_{name}_backward_data")
        for name in ("softmax", "log_softmax")
    ),
    *(
        Op(
            f"foreach_{name}",
            aten(f"_foreach_{name} _foreach_{name}_"),
            elementwise=per_every_output,
        )
        for name in FOREACH.split()
    ),
)
