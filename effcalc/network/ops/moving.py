"""Operators that are known to compute nothing: views, allocation, and copies that move data."""

from __future__ import annotations

from effcalc.network.network import OperatorCall
from effcalc.network.ops.core import (
    OnnxCall,
    OnnxNode,
    Op,
    SavedForBackward,
    Saves,
    TorchFunction,
    TorchModule,
    aten,
    gathered,
    nothing_moved,
    only_written,
    overwritten,
    register,
)
from effcalc.network.ops.saving import keeps, keeps_nothing, no_gradient, passes_on

# New names for memory that is there already.
VIEWS = """
    view _unsafe_view _reshape_alias alias as_strided detach diagonal expand lift_fresh permute
    select slice split split_with_sizes squeeze t transpose unbind unfold unsqueeze unsafe_split
    unsafe_split_with_sizes view_as_complex view_as_real _conj _neg_view as_strided_ detach_
    squeeze_ t_ transpose_ unsqueeze_ lift _nested_view_from_buffer _nested_view_from_jagged
    _nested_get_values _values _indices values indices crow_indices col_indices ccol_indices
    row_indices
"""

# Memory filled with values that are known beforehand; an operand gives its shape alone.
FILLS = """
    arange eye full full_like linspace logspace new_full new_ones new_zeros ones ones_like range
    scalar_tensor zeros zeros_like fill fill_ zero zero_ tril_indices triu_indices hann_window
    hamming_window blackman_window kaiser_window bartlett_window fft_fftfreq fft_rfftfreq
    _foreach_zero_
"""

PADS = """
    constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
    replication_pad2d replication_pad3d
"""


def _indices(call: OperatorCall, device: str) -> SavedForBackward:
    """A look-up keeps its indices; the gradient is as large as the table."""
    return SavedForBackward(operands=tuple(range(1, len(call.operands))))


def _pad_saves(call: OperatorCall, device: str) -> SavedForBackward:
    """Constant padding keeps nothing; reflection and replication keep their input."""
    return SavedForBackward(operands=(0,)) if "padding" in call.attrs else SavedForBackward()


def _dropout_saves(call: OperatorCall, device: str) -> SavedForBackward:
    """On CPU the noise in the input's dtype, which multiplies it; on CUDA a mask of bools."""
    x = call.operands[0]
    mask = (x.shape, "bool" if device == "cuda" else x.dtype)
    return SavedForBackward(extra=(mask,), new_storage=True)


def _stochastic_depth_saves(call: OperatorCall, device: str) -> SavedForBackward:
    """One number for each sample, with which the branch is multiplied."""
    x = call.operands[0]
    return SavedForBackward(
        extra=(((x.shape[0], *(1 for _ in x.shape[1:])), x.dtype),), new_storage=True
    )


def _cat_saves(call: OperatorCall, device: str) -> SavedForBackward:
    """Each operand's gradient is a slice of the result's."""
    return SavedForBackward(same=tuple(range(len(call.operands))), slices=True)


def _view(call: OperatorCall) -> TorchModule | TorchFunction:
    """Build a flattening to (N, features), or a channel axis that comes or goes."""
    before, after = len(call.inputs[0].shape), len(call.outputs[0].shape)
    if after == 2:
        return TorchModule("torch.nn:Flatten", {"start_dim": 1})
    return TorchFunction("torch:unsqueeze" if after > before else "torch:squeeze", {"dim": 1})


def _cat(call: OperatorCall) -> TorchFunction:
    return TorchFunction("torch:cat", {"dim": call.attrs["dim"]}, listed=True)


def _pad(call: OperatorCall) -> TorchFunction:
    """Pad the channels of (N, 1, C, H, W) so that a mean of `size` of them keeps C."""
    before = call.attrs["size"] // 2
    after = call.attrs["size"] - 1 - before
    return TorchFunction("torch.nn.functional:pad", {"pad": (0, 0, 0, 0, before, after)})


def _dropout(call: OperatorCall) -> TorchModule:
    return TorchModule("torch.nn:Dropout", {"p": call.attrs["rate"]})


def _stochastic_depth(call: OperatorCall) -> TorchModule:
    return TorchModule("effcalc.models.modules:StochasticDepth", {"p": call.attrs["rate"]})


def _copy(name: str, torch: str, saves: Saves | None = None, onnx: str = "") -> Op:
    """Return the record of an operator that reads each operand and writes each output."""
    return Op(name, aten(torch), free=True, saves=saves, onnx=tuple(onnx.split()))


def _view_from_onnx(node: OnnxNode) -> OnnxCall:
    """Take the tensor alone: a shape is an operand in ONNX."""
    return OnnxCall("view", node.operands[:1], "view")


register(
    Op(
        "view",
        aten(VIEWS),
        free=True,
        traffic=nothing_moved,
        build=_view,
        saves=passes_on,
        onnx=("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"),
        from_onnx=_view_from_onnx,
    ),
    Op(
        "fill",
        aten(FILLS),
        free=True,
        traffic=only_written,
        saves=no_gradient,
        onnx=("ConstantOfShape", "Range", "OneHot", "EyeLike"),
    ),
    Op(
        "copy",
        ("aten::copy_", "aten::_foreach_copy_"),
        free=True,
        traffic=overwritten,
        saves=passes_on,
    ),
    # Memory asked for and not touched, and questions about a tensor that read no element of it.
    Op(
        "empty",
        aten(
            "empty empty_like empty_permuted empty_strided new_empty new_empty_strided "
            "_efficientzerotensor"
        ),
        free=True,
        traffic=nothing_moved,
        saves=no_gradient,
    ),
    Op(
        "resize",
        aten("resize resize_ resize_as_ set_ set _resize_output_"),
        free=True,
        traffic=nothing_moved,
        saves=no_gradient,
    ),
    Op(
        "query",
        aten(
            "is_same_size is_pinned is_set_to is_coalesced _has_same_storage_numel dense_dim "
            "sparse_dim _nnz _dimI _dimV _fused_sdp_choice _assert_async _assert_scalar "
            "_assert_tensor_metadata _functional_assert_async _functional_assert_scalar "
            "sym_constrain_range sym_constrain_range_for_size _use_cudnn_ctc_loss record_stream "
            "_print _linalg_check_errors _nested_get_offsets _nested_get_lengths "
            "_nested_get_ragged_idx _nested_get_min_seqlen _nested_get_max_seqlen "
            "_nested_get_jagged_dummy"
        ),
        free=True,
        traffic=nothing_moved,
        saves=no_gradient,
        onnx=("Shape", "Size"),
    ),
    _copy("stack", "stack _stack", keeps_nothing),
    _copy("clone", "clone lift_fresh_copy _lazy_clone", passes_on),
    _copy(
        "to_copy",
        "_to_copy _pin_memory _conj_copy _neg_view_copy",
        keeps_nothing,
        onnx="Cast CastLike",
    ),
    _copy("item", "_local_scalar_dense", no_gradient),
    _copy(
        "pad_backward",
        "reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward "
        "replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward",
    ),
    _copy("flip", "flip", keeps_nothing),
    _copy("roll", "roll", keeps_nothing),
    _copy("rot90", "rot90", keeps_nothing),
    _copy("repeat", "repeat repeat_interleave", keeps_nothing, onnx="Tile"),
    _copy("tril", "tril tril_ triu triu_", keeps_nothing, onnx="Trilu"),
    _copy("diag", "diag_embed block_diag", keeps_nothing),
    _copy(
        "pixel_shuffle",
        "pixel_shuffle pixel_unshuffle channel_shuffle",
        keeps_nothing,
        onnx="DepthToSpace SpaceToDepth",
    ),
    _copy("im2col", "im2col unfold_copy", keeps_nothing),
    _copy(
        "view_copy",
        "view_copy permute_copy transpose_copy t_copy expand_copy slice_copy select_copy "
        "squeeze_copy unsqueeze_copy split_copy split_with_sizes_copy unbind_copy alias_copy "
        "detach_copy diagonal_copy as_strided_copy narrow_copy _reshape_copy "
        "view_as_complex_copy view_as_real_copy",
        keeps_nothing,
        onnx="Transpose Slice Split Expand",
    ),
    _copy(
        "scatter",
        "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_add "
        "index_add_ index_copy index_copy_ index_fill index_fill_ index_put index_put_ "
        "_index_put_impl_ _unsafe_index_put index_reduce index_reduce_ put put_ "
        "masked_scatter masked_scatter_ slice_scatter select_scatter diagonal_scatter "
        "as_strided_scatter embedding_renorm_ _unsafe_masked_index_put_accumulate",
        keeps(1),
        onnx="ScatterND ScatterElements",
    ),
    _copy(
        "view_backward",
        "slice_backward select_backward diagonal_backward unfold_backward "
        "embedding_dense_backward masked_scatter_backward",
    ),
    _copy(
        "nonzero",
        "nonzero nonzero_static masked_select _unique2 unique_dim unique_consecutive",
        no_gradient,
        onnx="NonZero",
    ),
    _copy("pack_sequence", "_pack_padded_sequence"),
    _copy(
        "nested",
        "_nested_tensor_from_mask _nested_from_padded to_padded_tensor "
        "_jagged_to_padded_dense_forward _padded_dense_to_jagged_forward",
    ),
    Op("embedding", aten("embedding"), free=True, traffic=gathered, saves=_indices),
    Op(
        "gather",
        aten("gather index_select index _unsafe_index take _unsafe_masked_index"),
        free=True,
        traffic=gathered,
        saves=_indices,
        onnx=("Gather", "GatherElements", "GatherND"),
    ),
    Op("cat", aten("cat _chunk_cat"), free=True, build=_cat, saves=_cat_saves, onnx=("Concat",)),
    Op("pad", aten(PADS), free=True, build=_pad, saves=_pad_saves, onnx=("Pad",)),
    # At evaluation these are the identity and torch runs nothing.
    Op("dropout", free=True, traffic=nothing_moved, build=_dropout, saves=_dropout_saves),
    Op(
        "stochastic_depth",
        free=True,
        traffic=nothing_moved,
        build=_stochastic_depth,
        saves=_stochastic_depth_saves,
    ),
    # Parameters that no operator reads.
    Op("unused", free=True, traffic=nothing_moved),
)
