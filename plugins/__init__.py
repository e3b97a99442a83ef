"""CUDA code: the TensorRT plugins and their build, the letterbox and decode kernels and what launches them."""
