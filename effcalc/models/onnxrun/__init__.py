"""Run an ONNX file's graph by torch's operators: one function for each operator of ONNX."""
