// Modulated deformable convolution, DCNv2 (Zhu et al., "Deformable ConvNets v2", arXiv:1811.11168), on CUDA.
//
// Whatever the type of the tensors, sampling points, bilinear weights and accumulators are float32.
#pragma once

#include <cstddef>
#include <cuda_runtime_api.h>

namespace fairmot {

enum class DataType : int { kFloat, kHalf };

// kHwc8: halves (n, h, w, c) with c rounded up to a multiple of 8. kLinear: (n, c, h, w).
enum class Layout : int { kLinear, kHwc8 };

struct DeformConvShape {
    int batch, in_channels, in_height, in_width;
    int out_channels, out_height, out_width;
    int kernel_height, kernel_width;
    int stride_y, stride_x;
    int pad_top, pad_left;
    int dilation_y, dilation_x;
    int groups, offset_groups;
};

// Standard operands: offset (n, 2 taps offset_groups, h', w') with (dy, dx) per tap, mask (n, taps offset_groups, h',
// w') already through the sigmoid or null for ones, weight (o, c / groups, kh, kw), bias (o) or null; all of `type`,
// linear.
//
// Fused: `offset` is the output of the offset convolution (kHwc8: the offsets as above, then the logits of the mask),
// `mask` is null, `weight` is packed (k-tiles, o, 64) halves and `bias` float32. Packed: element j of k-tile t is the
// weight of k = 64 t + j = tap * in_channels + channel, 0 beyond the last; k-tiles = ceil(taps in_channels / 64).
struct DeformConvTensors {
    void const* x;
    void const* offset;
    void const* mask;
    void const* weight;
    void const* bias;
    void* y;
};

struct DeformConvOptions {
    DataType type;
    Layout layout;  // of x and y; kHwc8 indexes tensors with 32 bits, see expectIndexable() in operation.h
    bool fused;
    bool relu;  // max(0, y)
};

// Whether `deformConv` supports these: kHwc8 needs halves, groups == 1, out_channels and in_channels / offset_groups
// multiples of 8, and at most 64 taps over all offset groups; fused needs kHwc8.
bool deformConvSupports(DeformConvShape const& shape, DeformConvOptions const& options);

// Bytes of workspace.
size_t deformConvWorkspace(DeformConvShape const& shape, DeformConvOptions const& options);

// Launches on `stream`; neither allocates nor waits. Returns cudaErrorInvalidValue for what is not supported.
cudaError_t deformConv(DeformConvShape const& shape, DeformConvOptions const& options, DeformConvTensors const& tensors,
                       void* workspace, cudaStream_t stream);

}  // namespace fairmot
