"""Element-wise, normalisation, pooling and data-movement operators."""

from __future__ import annotations

from effcalc.ops.core import Op, nothing_moved, per_output, register

# One result per output element, whatever the function costs on a real machine.
register(
    *(
        Op(name, torch, elementwise=per_output)
        for name, torch in (
            ("relu", ("aten::relu", "aten::relu_")),
            ("hardtanh", ("aten::hardtanh", "aten::hardtanh_")),
            ("silu", ("aten::silu", "aten::silu_")),
            ("sigmoid", ("aten::sigmoid", "aten::sigmoid_")),
            ("add", ("aten::add", "aten::add_")),
            ("mul", ("aten::mul", "aten::mul_")),
            ("div", ("aten::div", "aten::div_")),
            ("pow", ("aten::pow", "aten::pow_")),
            ("mean", ("aten::mean",)),
            ("avg_pool", ("aten::avg_pool2d", "aten::avg_pool3d")),
            ("adaptive_avg_pool", ("aten::_adaptive_avg_pool2d", "aten::_adaptive_avg_pool3d")),
            ("max_pool", ("aten::max_pool2d_with_indices", "aten::max_pool3d_with_indices")),
            ("batch_norm", ("aten::native_batch_norm", "aten::_native_batch_norm_legit")),
        )
    )
)

# Known to compute nothing; the first two move data, views and dropout at evaluation do not.
register(
    Op("cat", ("aten::cat",), free=True),
    Op("pad", ("aten::constant_pad_nd",), free=True),
    Op("view", ("aten::view", "aten::_unsafe_view"), free=True, traffic=nothing_moved),
    Op("dropout", free=True, traffic=nothing_moved),
    Op("unused", free=True, traffic=nothing_moved),
)
