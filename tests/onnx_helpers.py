"""ONNX files for tests: small graphs by hand, and a small model as torch exports it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

NODE = helper.make_node


class Net(nn.Module):
    """A convolution with shape arithmetic, a block, attention over positions, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = self.pool(torch.relu(x + self.conv(x)))
        x = x + nn.functional.interpolate(x[..., ::2, ::2], scale_factor=2.0)
        t = x.reshape(x.shape[0], x.shape[1], -1).transpose(1, 2)
        t = self.norm(t + self.attention(t, t, t, need_weights=False)[0])
        return self.head(t.mean(1))


def exported(path: Path, *, dynamo: bool, dynamic: bool = False, external: bool = False) -> Any:
    torch.manual_seed(1)
    model = Net().eval()
    shapes: dict[str, Any] = {}
    if dynamic and dynamo:
        shapes["dynamic_shapes"] = {"x": {0: torch.export.Dim("batch")}}
    elif dynamic:
        shapes = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters' own code
        torch.onnx.export(
            model, (torch.rand(2, 3, 16, 16),), str(path), dynamo=dynamo, verbose=False,
            external_data=external, **shapes,
        )  # fmt: skip
    return model


def written(path: Path, nodes: list[Any], *initializers: Any) -> str:
    """Write a graph from x (1, 4) to y."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, (1, 4))], [value("y", TensorProto.FLOAT, None)],
        list(initializers),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


def floats(name: str, *shape: int) -> Any:
    values = np.random.default_rng(len(shape)).normal(size=shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def longs(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def elsewhere(name: str, location: str, *dims: int) -> Any:
    """An initializer whose data is in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor
