"""Scaled dot product attention, fused, in every backend, and the fused multi-head attention.

Attention that torch runs step by step (the math backend, which meta tensors get) shows as its
matrix products and softmax, all positions computed. A fused kernel skips what a causal mask
closes, as far as its blocks allow, and is counted as it computes.
"""

from __future__ import annotations

import math

from effcalc.network.network import OperatorCall
from effcalc.network.ops.autocast import low
from effcalc.network.ops.core import (
    OnnxCall,
    OnnxNode,
    Op,
    first_output_written,
    register,
    widest,
)

CPU_KEY_BLOCK = 512
"""Keys of one block of torch's CPU kernel; a block that a causal mask cuts is computed whole."""


def positions(queries: int, keys: int, causal: bool, cpu: bool = False) -> int:
    """Pairs of a query and a key that one head computes.

    Causal: query i sees keys 0 to i. On CPU each block of queries (256 of them from 768 on, 64
    from 192 on, otherwise 32) computes whole blocks of 512 keys, as many as its last query
    needs. GPU kernels skip tiles whose size depends on the device, and are counted by the
    triangle itself, the least that they can do.
    """
    if not causal:
        return queries * keys
    if not cpu:
        full = max(0, queries - keys)  # queries that see every key
        rest = queries - full
        return rest * (rest + 1) // 2 + full * keys
    block = 256 if queries >= 768 else 64 if queries >= 192 else 32
    pairs = 0
    for first in range(0, queries, block):
        rows = min(block, queries - first)
        seen = min(first + rows, keys)
        pairs += rows * min(keys, math.ceil(seen / CPU_KEY_BLOCK) * CPU_KEY_BLOCK)
    return pairs


def _pairs(call: OperatorCall, first: int) -> int:
    """Pairs of all heads. Shapes: q (N, H, L, E), k (N, Hk, S, E); grouped keys are shared."""
    q, k = call.operands[first : first + 2]
    n, heads, queries, _ = q.shape
    causal = bool(call.attrs.get("is_causal"))
    return n * heads * positions(queries, k.shape[-2], causal, "_cpu" in call.op)


def attention_macs(call: OperatorCall) -> int:
    """Scores q·kᵀ, E each, and their product with v, Ev each. Operands: q, k, v (N, Hk, S, Ev)."""
    return _pairs(call, 0) * (call.operands[0].shape[-1] + call.operands[2].shape[-1])


def attention_softmax(call: OperatorCall) -> int:
    """One softmax result for each pair."""
    return _pairs(call, 0)


def attention_backward_macs(call: OperatorCall) -> int:
    """Five products: the scores recomputed, and the gradients of q, k (E each), v and p (Ev each).

    Operands: gradient of the output, q, k, v, ...
    """
    e, ev = call.operands[1].shape[-1], call.operands[3].shape[-1]
    return _pairs(call, 1) * (3 * e + 2 * ev)


def attention_backward_softmax(call: OperatorCall) -> int:
    """The probabilities recomputed, and the gradient of the scores: two results for each pair."""
    return 2 * _pairs(call, 1)


def multi_head_macs(call: OperatorCall) -> int:
    """Fused multi-head attention: one projection to q, k, v, attention, output projection.

    Shapes: q (N, L, D), k (N, S, D); weights (3D, D) and (D, D).
    """
    q, k = call.operands[:2]
    n, queries, d = q.shape
    _, keys, _ = k.shape
    project_in = n * (queries + 2 * keys) * d * d
    return project_in + 2 * n * queries * keys * d + n * queries * d * d


def multi_head_softmax(call: OperatorCall) -> int:
    """One softmax result for each query, key and head."""
    n, queries, _ = call.operands[0].shape
    return n * int(call.attrs["num_head"]) * queries * call.operands[1].shape[1]


def encoder_layer_macs(call: OperatorCall) -> int:
    """Fused transformer encoder layer: attention and a feed-forward network of two layers.

    Shapes: src (N, L, D); weights by the schema's order: (3D, D), (D, D), ..., (F, D), (D, F).
    """
    src = call.operands[0]
    n, length, d = src.shape
    weights = sum(t.numel for t in call.operands[1:] if len(t.shape) == 2 and d in t.shape)
    return n * length * weights + 2 * n * length * length * d


def encoder_layer_elementwise(call: OperatorCall) -> int:
    """Softmax, two sums, two norms, and the activation of F features."""
    n, length, d = call.operands[0].shape
    # Of the matrices (3D, D), (D, D), (F, D), (D, F) the third is the feed-forward's first.
    hidden = [t for t in call.operands[1:] if len(t.shape) == 2][2].shape[0]
    heads = int(call.attrs["num_heads"])
    return n * heads * length * length + n * length * (4 * d + hidden)


def _from_onnx(node: OnnxNode) -> OnnxCall:
    if any(len(t.shape) != 4 for t in node.operands[:3]):
        raise ValueError("attention over packed heads")
    causal = bool(node.attrs.get("is_causal", 0))
    return OnnxCall("attention", node.operands, attrs={"is_causal": causal})


_FUSED = ("flash", "efficient", "cudnn", "fused")
_SUFFIX = {"fused": "_attention_overrideable"}

register(
    *(
        Op(
            f"attention_{backend}",
            (f"aten::_scaled_dot_product_{backend}{_SUFFIX.get(backend, '_attention')}",),
            macs=attention_macs,
            elementwise=attention_softmax,
            traffic=first_output_written,
            autocast=widest if backend == "fused" else low,
        )
        for backend in _FUSED
    ),
    *(
        Op(
            f"attention_{backend}_backward",
            (f"aten::_scaled_dot_product_{backend}{_SUFFIX.get(backend, '_attention')}_backward",),
            macs=attention_backward_macs,
            elementwise=attention_backward_softmax,
        )
        for backend in _FUSED
    ),
    # Of an ONNX file, whatever runs it.
    Op(
        "attention",
        macs=attention_macs,
        elementwise=attention_softmax,
        autocast=low,
        onnx=("Attention",),
        from_onnx=_from_onnx,
    ),
    Op(
        "attention_flash_cpu",
        ("aten::_scaled_dot_product_flash_attention_for_cpu",),
        macs=attention_macs,
        elementwise=attention_softmax,
        traffic=first_output_written,
        autocast=low,
    ),
    Op(
        "attention_flash_cpu_backward",
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward",),
        macs=attention_backward_macs,
        elementwise=attention_backward_softmax,
    ),
    Op(
        "multi_head_attention",
        ("aten::_native_multi_head_attention",),
        macs=multi_head_macs,
        elementwise=multi_head_softmax,
    ),
    Op(
        "transformer_encoder_layer",
        ("aten::_transformer_encoder_layer_fwd",),
        macs=encoder_layer_macs,
        elementwise=encoder_layer_elementwise,
    ),
)
