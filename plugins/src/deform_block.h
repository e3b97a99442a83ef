// FairMOT's deformable block as one kernel: the convolution that predicts offsets and mask, the deformable convolution
// that uses them, and the ReLU. Both 3x3 with stride, padding and dilation 1; one offset group.
#pragma once

#include <cuda_runtime_api.h>

namespace fairmot {

// x (n, h, w, c) and y (n, h, w, o) halves. weight: packed as in DeformConvTensors, bias float32 (o,). offset_weight
// and offset_bias alike, with 32 outputs: 18 offsets (dy, dx per tap), 9 logits of the mask, 5 zeros.
struct DeformBlockTensors {
    void const* x;
    void const* offset_weight;
    void const* offset_bias;
    void const* weight;
    void const* bias;
    void* y;
};

// Channel counts must be multiples of 8.
bool deformBlockSupports(int in_channels, int out_channels);

// Launches on `stream`; neither allocates nor waits. Offsets and mask stay float32 and are never rounded to halves.
cudaError_t deformBlock(int batch, int in_channels, int height, int width, int out_channels, bool relu,
                        DeformBlockTensors const& tensors, cudaStream_t stream);

}  // namespace fairmot
