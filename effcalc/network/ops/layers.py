"""What networks are built of beside products: activations, sums, pools, normalisations, bags.

Each result element counts once. Most are operators that blocks add to a network, which torch builds
as a module or calls as a function.
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
    Autocast,
    Op,
    Precision,
    SavedForBackward,
    Saves,
    TorchFunction,
    TorchModule,
    Traffic,
    aten,
    first_output_written,
    per_output,
    register,
    widest,
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
    Op(
        "relu",
        aten("relu relu_"),
        elementwise=per_output,
        build=_activation("torch.nn:ReLU"),
        saves=keeps_result,
        onnx=("Relu",),
    ),
    Op(
        "hardtanh",
        aten("hardtanh hardtanh_"),
        elementwise=per_output,
        build=_activation("torch.nn:Hardtanh", "min_val", "max_val"),
        saves=keeps(0),
    ),
    Op(
        "silu",
        aten("silu silu_"),
        elementwise=per_output,
        build=_activation("torch.nn:SiLU"),
        saves=keeps(0),
        onnx=("Swish",),
    ),
    Op(
        "sigmoid",
        aten("sigmoid sigmoid_"),
        elementwise=per_output,
        build=_sigmoid,
        saves=keeps_result,
        onnx=("Sigmoid",),
    ),
    Op(
        "add",
        aten("add add_"),
        elementwise=per_output,
        build=_arithmetic("add"),
        saves=passes_on,
        onnx=("Add", "Sum"),
    ),
    Op(
        "mul",
        aten("mul mul_"),
        elementwise=per_output,
        build=_arithmetic("mul"),
        saves=product,
        onnx=("Mul",),
    ),
    Op(
        "div",
        aten("div div_ true_divide"),
        elementwise=per_output,
        build=_arithmetic("div"),
        saves=quotient,
        onnx=("Div",),
    ),
    Op(
        "pow",
        aten("pow pow_"),
        elementwise=per_output,
        build=_arithmetic("pow", "exponent"),
        saves=_power,
        autocast=float32_on_cuda,
        onnx=("Pow",),
    ),
    Op(
        "mean",
        aten("mean"),
        elementwise=per_output,
        build=_mean,
        saves=keeps_nothing,
        onnx=("GlobalAveragePool", "ReduceMean"),
    ),
    Op(
        "avg_pool",
        aten("avg_pool1d avg_pool2d avg_pool3d"),
        elementwise=per_output,
        build=_avg_pool,
        saves=keeps(0),
        autocast=_avg_pool_autocast,
        onnx=("AveragePool", "LpPool"),
    ),
    Op(
        "adaptive_avg_pool",
        aten("_adaptive_avg_pool2d _adaptive_avg_pool3d mkldnn_adaptive_avg_pool2d"),
        elementwise=per_output,
        build=_adaptive_avg_pool,
        saves=keeps(0),
    ),
    Op(
        "max_pool",
        aten("max_pool2d_with_indices max_pool3d_with_indices mkldnn_max_pool2d mkldnn_max_pool3d"),
        elementwise=per_output,
        build=_max_pool,
        saves=keeps_input_and_second_result,
        onnx=("MaxPool",),
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
        autocast=float32_statistics,
        onnx=("BatchNormalization", "LRN"),
    ),
)


def _with_statistics(
    name: str,
    torch: str,
    saves: Saves | None = None,
    autocast: Autocast = widest,
    onnx: str = "",
) -> Op:
    """Return the record of an operator whose later results are for the backward pass alone."""
    return Op(
        name,
        aten(torch),
        elementwise=per_output,
        traffic=first_output_written,
        saves=saves,
        autocast=autocast,
        onnx=tuple(onnx.split()),
    )


register(
    _with_statistics(
        "layer_norm", "native_layer_norm", statistics, float32_norm_on_cuda, "LayerNormalization"
    ),
    _with_statistics(
        "group_norm",
        "native_group_norm",
        statistics,
        float32_norm_on_cuda,
        "GroupNormalization InstanceNormalization",
    ),
    _with_statistics(
        "rms_norm",
        "_fused_rms_norm",
        statistics,
        float32_statistics,
        "RMSNormalization SimplifiedLayerNormalization",
    ),
    _with_statistics("weight_norm", "_weight_norm_interface", statistics),
    _with_statistics("native_dropout", "native_dropout _fused_dropout", keeps_second_result),
    _with_statistics("log_sigmoid", "log_sigmoid_forward", keeps_input_and_second_result),
    _with_statistics(
        "nll_loss", "nll_loss_forward nll_loss2d_forward", keeps_input_and_second_result, float32
    ),
    _with_statistics(
        "multilabel_margin_loss", "multilabel_margin_loss_forward", keeps_input_and_second_result
    ),
    _with_statistics("ctc_loss", "_ctc_loss _cudnn_ctc_loss"),
    Op(
        "embedding_bag",
        aten("_embedding_bag _embedding_bag_forward_only"),
        elementwise=per_output,
        traffic=_bag_traffic,
    ),
    Op(
        "embedding_bag_backward",
        aten("_embedding_bag_dense_backward _embedding_bag_backward"),
        elementwise=per_output,
    ),
)
