// Any type, layout (n, c, h, w), groups: an implicit GEMM of float32 FMAs, without tensor cores.

#include "deform_conv_general.h"
#include "sampling.cuh"

#include <cstdint>
#include <cuda_fp16.h>

namespace fairmot {
namespace {

constexpr int kBlockM = 64;  // pixels
constexpr int kBlockN = 64;  // output channels
constexpr int kBlockK = 16;  // (channel, tap) pairs per k-tile
constexpr int kThreads = 256;

template <typename T>
struct GeneralParams {
    T const* x;
    T const* offset;
    T const* mask;
    T const* weight;
    T const* bias;
    T* y;
    Geometry geometry;
    int channels, out_channels, groups;
    int64_t pixels;  // over the whole batch
    bool relu;
};

template <typename T>
__global__ void __launch_bounds__(kThreads) deform_conv_general(GeneralParams<T> const p) {
    __shared__ float columns[kBlockK][kBlockM];
    __shared__ float weights[kBlockK][kBlockN + 1];
    Geometry const& g = p.geometry;
    int const thread = threadIdx.x;
    int const group = blockIdx.z;
    int const channels = p.channels / p.groups;
    int const outputs = p.out_channels / p.groups;
    int const first_output = blockIdx.y * kBlockN;
    int const k_size = channels * g.taps;

    int const m = thread % kBlockM;  // consecutive threads sample neighboring pixels
    int64_t const index = static_cast<int64_t>(blockIdx.x) * kBlockM + m;
    bool const valid = index < p.pixels;
    int64_t const image = valid ? index / g.out_pixels : 0;
    int const pixel = valid ? static_cast<int>(index - image * g.out_pixels) : 0;
    int const out_row = pixel / g.out_width;
    int const out_column = pixel - out_row * g.out_width;
    int const points = g.taps * g.offset_groups;
    T const* const offset = p.offset + image * 2 * points * g.out_pixels + pixel;
    T const* const mask = p.mask ? p.mask + image * points * g.out_pixels + pixel : nullptr;
    T const* const x = p.x + image * p.channels * g.height * g.width;

    float accumulators[4][4] = {};
    int const row = thread / 16 * 4;     // of the pixels
    int const column = thread % 16 * 4;  // of the output channels
    for (int k0 = 0; k0 < k_size; k0 += kBlockK) {
        for (int k = thread / kBlockM; k < kBlockK; k += kThreads / kBlockM) {
            float value = 0.0f;
            if (valid && k0 + k < k_size) {
                int const tap = (k0 + k) % g.taps;
                int const channel = group * channels + (k0 + k) / g.taps;
                int64_t const point = channel / (p.channels / g.offset_groups) * g.taps + tap;
                float const delta_y = static_cast<float>(offset[2 * point * g.out_pixels]);
                float const delta_x = static_cast<float>(offset[(2 * point + 1) * g.out_pixels]);
                float const factor = mask ? static_cast<float>(mask[point * g.out_pixels]) : 1.0f;
                Sample const at = locate_sample(g, out_row, out_column, tap, g.kernel_width, delta_y, delta_x, factor);
                int const top = max(at.y, 0), bottom = min(at.y + 1, g.height - 1);
                int const left = max(at.x, 0), right = min(at.x + 1, g.width - 1);
                T const* const plane = x + static_cast<int64_t>(channel) * g.height * g.width;
                value = at.w00 * static_cast<float>(plane[top * g.width + left]) +
                        at.w01 * static_cast<float>(plane[top * g.width + right]) +
                        at.w10 * static_cast<float>(plane[bottom * g.width + left]) +
                        at.w11 * static_cast<float>(plane[bottom * g.width + right]);
            }
            columns[k][m] = value;
        }
        for (int i = thread; i < kBlockK * kBlockN; i += kThreads) {
            int const k = i % kBlockK;
            int const o = first_output + i / kBlockK;
            bool const inside = k0 + k < k_size && o < outputs;
            weights[k][i / kBlockK] =
                inside ? static_cast<float>(p.weight[(static_cast<int64_t>(group) * outputs + o) * k_size + k0 + k])
                       : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kBlockK; ++k) {
            float a[4], b[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                a[i] = columns[k][row + i];
                b[i] = weights[k][column + i];
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    accumulators[i][j] += a[i] * b[j];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int64_t const at = static_cast<int64_t>(blockIdx.x) * kBlockM + row + i;
        if (at >= p.pixels) {
            break;
        }
        int64_t const to_image = at / g.out_pixels;
        int64_t const to_pixel = at - to_image * g.out_pixels;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (first_output + column + j < outputs) {
                int const o = group * outputs + first_output + column + j;
                float const sum = accumulators[i][j] + (p.bias ? static_cast<float>(p.bias[o]) : 0.0f);
                p.y[(to_image * p.out_channels + o) * g.out_pixels + to_pixel] =
                    static_cast<T>(p.relu ? fmaxf(sum, 0.0f) : sum);
            }
        }
    }
}

template <typename T>
cudaError_t launch_general(DeformConvShape const& s, DeformConvOptions const& options, DeformConvTensors const& t,
                           cudaStream_t stream) {
    GeneralParams<T> p{};
    p.x = static_cast<T const*>(t.x);
    p.offset = static_cast<T const*>(t.offset);
    p.mask = static_cast<T const*>(t.mask);
    p.weight = static_cast<T const*>(t.weight);
    p.bias = static_cast<T const*>(t.bias);
    p.y = static_cast<T*>(t.y);
    p.geometry = geometry_of(s);
    p.channels = s.in_channels;
    p.out_channels = s.out_channels;
    p.groups = s.groups;
    p.pixels = static_cast<int64_t>(s.batch) * p.geometry.out_pixels;
    p.relu = options.relu;
    int const outputs = s.out_channels / s.groups;
    dim3 const grid(static_cast<unsigned>((p.pixels + kBlockM - 1) / kBlockM), (outputs + kBlockN - 1) / kBlockN,
                    s.groups);
    deform_conv_general<T><<<grid, kThreads, 0, stream>>>(p);
    return cudaGetLastError();
}

}  // namespace

cudaError_t deformConvGeneral(DeformConvShape const& shape, DeformConvOptions const& options,
                              DeformConvTensors const& tensors, cudaStream_t stream) {
    return options.type == DataType::kFloat ? launch_general<float>(shape, options, tensors, stream)
                                            : launch_general<half>(shape, options, tensors, stream);
}

}  // namespace fairmot
