"""The TensorRT plugins: their CUDA C++ in `src/`, its build and the built library."""
