"""Any model as a `Network`, and a `Network` as a model: torch, ONNX and .pt2, in and out."""
