// Channels-last halves on the tensor cores, with offsets and mask from a tensor.

#include "deform_conv.h"
#include "deform_conv_hwc8.h"
#include "implicit_gemm.cuh"

namespace fairmot {
namespace {

// Strides of offsets and mask: element (image, channel, pixel) is at image * n + channel * c + pixel * p.
struct Strides {
    int64_t n;
    int c;
    int p;
};

struct Hwc8Params {
    GemmParams gemm;
    half const* offset;
    half const* mask;
    Strides offset_strides, mask_strides;
    int mask_channel;  // of the first mask value
    bool has_mask, mask_is_logit;
};

template <typename T, bool kDense>
__global__ void __launch_bounds__(T::threads, T::min_blocks) deform_conv_hwc8(Hwc8Params const p) {
    extern __shared__ __align__(1024) unsigned char smem[];
    ImplicitGemm<T, kDense> gemm(p.gemm, smem);
    gemm.load_b(0);

    Geometry const& g = p.gemm.geometry;
    int const m = threadIdx.x % T::block_m;
    int image, row, column;
    bool const valid = gemm.locate_pixel(m, image, row, column);
    int const pixel = row * g.out_width + column;
    if (threadIdx.x < T::block_m) {
        gemm.output_pixel[m] = valid ? image * g.out_pixels + pixel : -1;
    }
    half const* const delta = p.offset + image * p.offset_strides.n + static_cast<int64_t>(pixel) * p.offset_strides.p;
    half const* const masks = p.mask + image * p.mask_strides.n + static_cast<int64_t>(pixel) * p.mask_strides.p +
                              p.mask_channel * p.mask_strides.c;
    int const points = gemm.points();
    constexpr int kStep = T::threads / T::block_m;
    constexpr int kInFlight = 3;  // sampling points whose offsets are loaded before the first is used
    for (int first = threadIdx.x / T::block_m; first < points; first += kInFlight * kStep) {
        half delta_y[kInFlight], delta_x[kInFlight], mask[kInFlight];
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
            int const point = first + i * kStep;
            bool const predicate = valid && point < points;
            delta_y[i] = predicate ? delta[2 * point * p.offset_strides.c] : half();
            delta_x[i] = predicate ? delta[(2 * point + 1) * p.offset_strides.c] : half();
            mask[i] = predicate && p.has_mask ? masks[point * p.mask_strides.c] : half(1.0f);
        }
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
            int const point = first + i * kStep;
            if (point < points) {
                float const factor = p.mask_is_logit ? sigmoid(__half2float(mask[i])) : __half2float(mask[i]);
                gemm.set_sample(point, m, valid, image, row, column, __half2float(delta_y[i]), __half2float(delta_x[i]),
                                factor);
            }
        }
    }
    __syncthreads();
    gemm.run();
}

template <typename T>
cudaError_t launch(Hwc8Params const& p, int split_k, cudaStream_t stream) {
    Geometry const& g = p.gemm.geometry;
    bool const dense = g.taps == 9 && g.kernel_width == 3 && g.offset_groups == 1 && p.gemm.chunks % 8 == 0 &&
                       p.gemm.out_channels % T::block_n == 0;
    auto* const kernel = dense ? deform_conv_hwc8<T, true> : deform_conv_hwc8<T, false>;
    return launch_tiles<T>(kernel, p, T::smem_bytes(g.taps * g.offset_groups), split_k, stream);
}

// (o, c, taps) -> (k_tiles, o, 64), see DeformConvTensors; the bias to float32, zeros if there is none.
__global__ void pack_weights(half const* weight, half const* bias, half* packed, float* packed_bias, int channels,
                             int taps, int out_channels, int total) {
    int const i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < out_channels) {
        packed_bias[i] = bias ? __half2float(bias[i]) : 0.0f;
    }
    if (i >= total) {
        return;
    }
    int const o = i / kBlockK % out_channels;
    int const k = i / (kBlockK * out_channels) * kBlockK + i % kBlockK;
    int const tap = k / channels;
    int const channel = k - tap * channels;
    packed[i] = tap < taps ? weight[(static_cast<int64_t>(o) * channels + channel) * taps + tap] : __float2half(0.0f);
}

}  // namespace

size_t deformConvHwc8Workspace(DeformConvShape const& s) {
    int const k_tiles = k_tiles_of(s.kernel_height * s.kernel_width, s.in_channels);
    return s.out_channels * (sizeof(float) + static_cast<size_t>(k_tiles) * kBlockK * sizeof(half));
}

cudaError_t deformConvHwc8(DeformConvShape const& s, DeformConvOptions const& options, DeformConvTensors const& t,
                           void* workspace, cudaStream_t stream) {
    Hwc8Params p{};
    p.gemm.geometry = geometry_of(s);
    int const points = p.gemm.geometry.taps * s.offset_groups;
    int const out_pixels = p.gemm.geometry.out_pixels;
    p.gemm.x = static_cast<unsigned char const*>(t.x);
    p.gemm.y = static_cast<half*>(t.y);
    p.gemm.batch = s.batch;
    p.gemm.chunks = s.in_channels / kChunk;
    p.gemm.chunks_per_group = p.gemm.chunks / s.offset_groups;
    p.gemm.out_channels = s.out_channels;
    p.gemm.k_tiles = k_tiles_of(p.gemm.geometry.taps, s.in_channels);
    p.gemm.relu = options.relu;
    p.offset = static_cast<half const*>(t.offset);
    if (options.fused) {
        int const channels = (3 * points + kChunk - 1) / kChunk * kChunk;
        p.offset_strides = p.mask_strides = {static_cast<int64_t>(out_pixels) * channels, 1, channels};
        p.mask = p.offset;
        p.mask_channel = 2 * points;
        p.has_mask = p.mask_is_logit = true;
        p.gemm.weight = static_cast<half const*>(t.weight);
        p.gemm.bias = static_cast<float const*>(t.bias);
    } else {
        p.offset_strides = {static_cast<int64_t>(out_pixels) * 2 * points, out_pixels, 1};
        p.mask_strides = {static_cast<int64_t>(out_pixels) * points, out_pixels, 1};
        p.mask = static_cast<half const*>(t.mask);
        p.has_mask = t.mask != nullptr;
        auto* const packed_bias = static_cast<float*>(workspace);
        auto* const packed = reinterpret_cast<half*>(packed_bias + s.out_channels);
        int const total = p.gemm.k_tiles * s.out_channels * kBlockK;
        pack_weights<<<(total + 255) / 256, 256, 0, stream>>>(
            static_cast<half const*>(t.weight), static_cast<half const*>(t.bias), packed, packed_bias, s.in_channels,
            p.gemm.geometry.taps, s.out_channels, total);
        p.gemm.weight = packed;
        p.gemm.bias = packed_bias;
    }
    Tactic const tactic = choose_tactic(s.batch, s.out_height, s.out_width, s.out_channels, p.gemm.k_tiles, points);
    switch (tactic.tile) {
        case 0:
            return launch<Tile0>(p, tactic.split_k, stream);
        case 1:
            return launch<Tile1>(p, tactic.split_k, stream);
        case 2:
            return launch<Tile2>(p, tactic.split_k, stream);
        case 3:
            return launch<Tile3>(p, tactic.split_k, stream);
        default:
            return launch<Tile4>(p, tactic.split_k, stream);
    }
}

}  // namespace fairmot
