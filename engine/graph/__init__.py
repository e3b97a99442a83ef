"""Rewrites of the ONNX graph that TensorRT or a CPU backend needs; imports neither TensorRT nor PyTorch."""
