// Small channels-last operations of FairMOT's neck and heads that TensorRT has no fast kernel for.
#pragma once

#include <cuda_runtime_api.h>

namespace fairmot {

// y = depthwise transposed convolution of x (kernel 2 f, stride f, padding f / 2) + skip; accumulated in float32.
//
// x (batch, height, width, channels) halves, weight (2 f, 2 f, channels) halves, skip and y
// (batch, f height, f width, channels) halves; channels a multiple of 8, factor even.
cudaError_t upsampleAdd(int batch, int channels, int height, int width, int factor, void const* x, void const* weight,
                        void const* skip, void* y, cudaStream_t stream);

// y = x / max(1e-12, length of x over the channels), as torch.nn.functional.normalize.
//
// x (batch, height, width, channels) halves, y (batch, channels, height, width) float32; channels a multiple of 8.
cudaError_t normalizeEmbedding(int batch, int channels, int height, int width, void const* x, float* y,
                               cudaStream_t stream);

}  // namespace fairmot
