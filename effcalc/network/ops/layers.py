"""Activations, sums, pools and normalisations: most are operators that blocks add to a network.

Each result element counts once. torch builds them as a module or calls them as a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from effcalc.base.units import dtype_bytes
from effcalc.network.network import OperatorCall
from effcalc.network.ops.autocast import (
    float32,
    float32_norm_on_cuda,
    float32_on_cuda,
    float32_statistics,
)
from effcalc.network.ops.core import (
    Precision,
    SavedForBackward,
    TorchFunction,
    TorchModule,
    Traffic,
    elementwise,
    first_output_written,
    register,
)
from effcalc.network.ops.saving import (
    keeps,
    keeps_input_and_second_result,
    keeps_nothing,
    keeps_result,
    keeps_second_result,
    passes_on,
    product,
    quotient,
    statistics,
)


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
    return SavedForBackward(operands=(0,), extra=((channels, dtype), (channels, dtype)))


def _power(call: OperatorCall, device: str) -> SavedForBackward:
    """Base, and of a tensor exponent that and the result; g · (e · x^(e-1)) needs two more."""
    if len(call.operands) > 1:
        return SavedForBackward(operands=(0, 1), outputs=(0,), per_operand=True, scratch=2)
    return SavedForBackward(operands=(0,), per_operand=True, scratch=2)


def _avg_pool_autocast(call: OperatorCall, device: str) -> Precision:
    """On CPU the pool over three axes is on the float32 list."""
    return "float32" if device == "cpu" and len(call.operands[0].shape) == 5 else "widest"


register(
    elementwise("relu", keeps_result, build=_activation("torch.nn:ReLU"), onnx="Relu"),
    elementwise("hardtanh", keeps(0), build=_activation("torch.nn:Hardtanh", "min_val", "max_val")),
    elementwise("silu", keeps(0), build=_activation("torch.nn:SiLU"), onnx="Swish"),
    elementwise("sigmoid", keeps_result, build=_sigmoid, onnx="Sigmoid"),
    elementwise("add", passes_on, build=_arithmetic("add"), onnx="Add Sum"),
    elementwise("mul", product, build=_arithmetic("mul"), onnx="Mul"),
    elementwise("div", quotient, more="true_divide", build=_arithmetic("div"), onnx="Div"),
    elementwise(
        "pow",
        _power,
        build=_arithmetic("pow", "exponent"),
        autocast=float32_on_cuda,
        onnx="Pow",
    ),
    elementwise(
        "mean", keeps_nothing, torch="mean", build=_mean, onnx="GlobalAveragePool ReduceMean"
    ),
    elementwise(
        "avg_pool",
        keeps(0),
        torch="avg_pool1d avg_pool2d avg_pool3d",
        build=_avg_pool,
        autocast=_avg_pool_autocast,
        onnx="AveragePool LpPool",
    ),
    elementwise(
        "adaptive_avg_pool",
        keeps(0),
        torch="_adaptive_avg_pool2d _adaptive_avg_pool3d mkldnn_adaptive_avg_pool2d",
        build=_adaptive_avg_pool,
    ),
    elementwise(
        "max_pool",
        keeps_input_and_second_result,
        torch="max_pool2d_with_indices max_pool3d_with_indices mkldnn_max_pool2d mkldnn_max_pool3d",
        build=_max_pool,
        onnx="MaxPool",
    ),
)

# Results after the first are statistics, masks or scratch for the backward pass alone.
register(
    elementwise(
        "batch_norm",
        _batch_norm_saves,
        torch=(
            "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
            "_native_batch_norm_legit_functional _batch_norm_with_update _batch_norm_no_update "
            "_batch_norm_with_update_functional cudnn_batch_norm miopen_batch_norm"
        ),
        traffic=first_output_written,
        build=_batch_norm,
        autocast=float32_statistics,
        onnx="BatchNormalization LRN",
    ),
    elementwise(
        "layer_norm",
        statistics,
        torch="native_layer_norm",
        traffic=first_output_written,
        autocast=float32_norm_on_cuda,
        onnx="LayerNormalization",
    ),
    elementwise(
        "group_norm",
        statistics,
        torch="native_group_norm",
        traffic=first_output_written,
        autocast=float32_norm_on_cuda,
        onnx="GroupNormalization InstanceNormalization",
    ),
    elementwise(
        "rms_norm",
        statistics,
        torch="_fused_rms_norm",
        traffic=first_output_written,
        autocast=float32_statistics,
        onnx="RMSNormalization SimplifiedLayerNormalization",
    ),
    elementwise(
        "nll_loss",
        keeps_input_and_second_result,
        torch="nll_loss_forward nll_loss2d_forward",
        traffic=first_output_written,
        autocast=float32,
    ),
    *(
        elementwise(name, saves, torch=torch, traffic=first_output_written)
        for name, saves, torch in (
            ("weight_norm", statistics, "_weight_norm_interface"),
            ("native_dropout", keeps_second_result, "native_dropout _fused_dropout"),
            ("log_sigmoid", keeps_input_and_second_result, "log_sigmoid_forward"),
            (
                "multilabel_margin_loss",
                keeps_input_and_second_result,
                "multilabel_margin_loss_forward",
            ),
            ("ctc_loss", None, "_ctc_loss _cudnn_ctc_loss"),
        )
    ),
    elementwise(
        "embedding_bag",
        torch="_embedding_bag _embedding_bag_forward_only",
        traffic=_bag_traffic,
    ),
    elementwise(
        "embedding_bag_backward",
        torch="_embedding_bag_dense_backward _embedding_bag_backward",
    ),
)
