"""The letterbox and decode kernels on the GPU, their compilation and launch."""
