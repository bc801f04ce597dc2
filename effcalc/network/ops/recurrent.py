"""Recurrent layers as fused operators; unfused ones show as matrix products and activations.

`elementwise` counts the results of the unfused cell, gate by gate, so that fused and unfused have
the same figures: of h units a step of an LSTM has 13h (sums of two projections 4h, four gate
activations 4h, three products, a sum and a tanh of the cell 5h), a GRU 10h, a plain RNN 2h.
"""

from __future__ import annotations

import math
from itertools import takewhile

from effcalc.network.network import OperatorCall
from effcalc.network.ops.core import OnnxCall, OnnxNode, Op, per_output, register

# Modes as torch numbers them: RNN with ReLU, RNN with tanh, LSTM, GRU; gates of each.
_GATES = {0: 1, 1: 1, 2: 4, 3: 3}
_RESULTS = {0: 2, 1: 2, 2: 13, 3: 10}


def _steps(call: OperatorCall) -> int:
    """Time steps x batch. Shape: x (T, N, I), or (steps, I) of a packed sequence."""
    *steps, _ = call.operands[0].shape
    return math.prod(steps)


def _matrices(call: OperatorCall) -> list[tuple[int, ...]]:
    """Shapes of the weight matrices.

    oneDNN's operator runs one layer in one direction, its two matrices come after x. cuDNN's has
    all weights after x, biases among them, and then hidden states of three dimensions.
    """
    if call.op.startswith("lstm_layer"):
        return [t.shape for t in call.operands[1:3]]
    weights = takewhile(lambda t: len(t.shape) < 3, call.operands[1:])
    return [t.shape for t in weights if len(t.shape) == 2]


def recurrent_macs(call: OperatorCall) -> int:
    """Each step multiplies every weight matrix once, in every layer and direction."""
    return _steps(call) * sum(rows * columns for rows, columns in _matrices(call))


def recurrent_elementwise(call: OperatorCall) -> int:
    """Results of the cells; each layer and direction has a matrix for x and one for h."""
    mode = int(call.attrs["mode"])
    size = int(call.attrs["hidden_size"])
    cells = sum(rows == _GATES[mode] * size for rows, _ in _matrices(call)) // 2
    return _steps(call) * cells * _RESULTS[mode] * size


def recurrent_backward_macs(call: OperatorCall) -> int:
    """Two products like the forward's: one for the gradient of states, one of weights."""
    return 2 * recurrent_macs(call)


def lstm_cell_elementwise(call: OperatorCall) -> int:
    """Step of an LSTM whose projections are done: 13 results a unit, as unfused."""
    return _RESULTS[2] * call.outputs[0].numel


def gru_cell_elementwise(call: OperatorCall) -> int:
    """Step of a GRU whose projections are done: 10 results a unit, as unfused."""
    return _RESULTS[3] * call.outputs[0].numel


def _from_onnx(node: OnnxNode) -> OnnxCall:
    """X (T, N, I), W (directions, gates·h, I), R (directions, gates·h, h), as torch's fused one."""
    data, w, r, *rest = node.operands
    matrices = [t._replace(shape=t.shape[1:]) for t in (w, r)]
    each = tuple(t._replace(param=f"{t.param}[{i}]") for i in range(w.shape[0]) for t in matrices)
    flat = tuple(t._replace(shape=(math.prod(t.shape),)) for t in rest)
    mode, size = {"RNN": 1, "LSTM": 2, "GRU": 3}[node.type], int(node.attrs["hidden_size"])
    attrs = {"mode": mode, "hidden_size": size}
    return OnnxCall("recurrent", (data, *each, *flat), attrs=attrs)


register(
    Op(
        "lstm_layer",
        ("aten::mkldnn_rnn_layer",),
        macs=recurrent_macs,
        elementwise=recurrent_elementwise,
    ),
    Op(
        "recurrent",
        ("aten::_cudnn_rnn", "aten::miopen_rnn"),
        macs=recurrent_macs,
        elementwise=recurrent_elementwise,
        onnx=("RNN", "LSTM", "GRU"),
        from_onnx=_from_onnx,
    ),
    *(
        Op(
            f"{name}_backward",
            torch,
            macs=recurrent_backward_macs,
            elementwise=recurrent_elementwise,
        )
        for name, torch in (
            ("lstm_layer", ("aten::mkldnn_rnn_layer_backward",)),
            ("recurrent", ("aten::_cudnn_rnn_backward", "aten::miopen_rnn_backward")),
        )
    ),
    Op("lstm_cell", ("aten::_thnn_fused_lstm_cell",), elementwise=lstm_cell_elementwise),
    Op(
        "lstm_cell_backward", ("aten::_thnn_fused_lstm_cell_backward_impl",), elementwise=per_output
    ),
    Op("gru_cell", ("aten::_thnn_fused_gru_cell",), elementwise=gru_cell_elementwise),
    Op("gru_cell_backward", ("aten::_thnn_fused_gru_cell_backward",), elementwise=per_output),
)
