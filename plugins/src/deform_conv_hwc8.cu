// Channels-last halves on the tensor cores.

#include "deform_conv.h"
#include "deform_conv_hwc8.h"
#include "deform_conv_tile.cuh"

namespace fairmot {
namespace {

// Where offsets and mask lie: element (image, channel, pixel) is at image * n + channel * c + pixel * p.
struct Strides {
    int64_t n;
    int c;
    int p;
};

struct Hwc8Params {
    Product product;
    half const* offset;
    half const* mask;
    Strides offset_strides, mask_strides;
    int mask_channel;  // of the first mask value
    bool has_mask, mask_is_logit;
};

template <typename T, bool kDense>
__global__ void __launch_bounds__(T::threads, T::blocks) deform_conv_hwc8(Hwc8Params const p) {
    extern __shared__ __align__(1024) unsigned char shared[];
    Worker<T, kDense> worker(p.product, shared);
    worker.fetch_weights(0);

    Geometry const& g = p.product.geometry;
    int const m = threadIdx.x % T::block_m;
    int image, row, column;
    bool const valid = worker.locate(m, image, row, column);
    int const pixel = row * g.out_width + column;
    if (threadIdx.x < T::block_m) {
        worker.row_pixel[m] = valid ? image * g.out_pixels + pixel : -1;
    }
    half const* const delta = p.offset + image * p.offset_strides.n + static_cast<int64_t>(pixel) * p.offset_strides.p;
    half const* const masks = p.mask + image * p.mask_strides.n + static_cast<int64_t>(pixel) * p.mask_strides.p +
                              p.mask_channel * p.mask_strides.c;
    int const entries = worker.entries();
    constexpr int kStep = T::threads / T::block_m;
    constexpr int kBatch = 3;  // entries whose offsets are read before the first is used
    for (int first = threadIdx.x / T::block_m; first < entries; first += kBatch * kStep) {
        half delta_y[kBatch], delta_x[kBatch], mask[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            int const entry = first + i * kStep;
            bool const wanted = valid && entry < entries;
            delta_y[i] = wanted ? delta[2 * entry * p.offset_strides.c] : half();
            delta_x[i] = wanted ? delta[(2 * entry + 1) * p.offset_strides.c] : half();
            mask[i] = wanted && p.has_mask ? masks[entry * p.mask_strides.c] : half(1.0f);
        }
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            int const entry = first + i * kStep;
            if (entry < entries) {
                float const factor = p.mask_is_logit ? logistic(__half2float(mask[i])) : __half2float(mask[i]);
                worker.place_tap(entry, m, valid, image, row, column, __half2float(delta_y[i]),
                                 __half2float(delta_x[i]), factor);
            }
        }
    }
    __syncthreads();
    worker.run();
}

template <typename T>
cudaError_t launch(Hwc8Params const& p, int splits, cudaStream_t stream) {
    Geometry const& g = p.product.geometry;
    bool const dense = g.taps == 9 && g.kernel_width == 3 && g.offset_groups == 1 && p.product.vectors % 8 == 0 &&
                       p.product.out_channels % T::block_n == 0;
    auto* const kernel = dense ? deform_conv_hwc8<T, true> : deform_conv_hwc8<T, false>;
    return launch_tiles<T>(kernel, p, T::shared_bytes(g.taps * g.offset_groups), splits, stream);
}

// (o, c, taps) -> (stages, o, 64), see DeformConvTensors; the bias to float32, zeros if there is none.
__global__ void pack_weights(half const* weight, half const* bias, half* packed, float* packed_bias, int channels,
                             int taps, int out_channels, int total) {
    int const i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < out_channels) {
        packed_bias[i] = bias ? __half2float(bias[i]) : 0.0f;
    }
    if (i >= total) {
        return;
    }
    int const o = i / kStage % out_channels;
    int const k = i / (kStage * out_channels) * kStage + i % kStage;
    int const tap = k / channels;
    int const channel = k - tap * channels;
    packed[i] = tap < taps ? weight[(static_cast<int64_t>(o) * channels + channel) * taps + tap] : __float2half(0.0f);
}

}  // namespace

size_t deformConvHwc8Workspace(DeformConvShape const& s) {
    int const stages = stages_of(s.kernel_height * s.kernel_width, s.in_channels);
    return s.out_channels * (sizeof(float) + static_cast<size_t>(stages) * kStage * sizeof(half));
}

cudaError_t deformConvHwc8(DeformConvShape const& s, DeformConvOptions const& options, DeformConvTensors const& t,
                           void* workspace, cudaStream_t stream) {
    Hwc8Params p{};
    p.product.geometry = geometry_of(s);
    int const entries = p.product.geometry.taps * s.offset_groups;
    int const out_pixels = p.product.geometry.out_pixels;
    p.product.x = static_cast<unsigned char const*>(t.x);
    p.product.y = static_cast<half*>(t.y);
    p.product.batch = s.batch;
    p.product.vectors = s.in_channels / kVector;
    p.product.vectors_per_group = p.product.vectors / s.offset_groups;
    p.product.out_channels = s.out_channels;
    p.product.stages = stages_of(p.product.geometry.taps, s.in_channels);
    p.product.relu = options.relu;
    p.offset = static_cast<half const*>(t.offset);
    if (options.fused) {
        int const channels = (3 * entries + kVector - 1) / kVector * kVector;
        p.offset_strides = p.mask_strides = {static_cast<int64_t>(out_pixels) * channels, 1, channels};
        p.mask = p.offset;
        p.mask_channel = 2 * entries;
        p.has_mask = p.mask_is_logit = true;
        p.product.weight = static_cast<half const*>(t.weight);
        p.product.bias = static_cast<float const*>(t.bias);
    } else {
        p.offset_strides = {static_cast<int64_t>(out_pixels) * 2 * entries, out_pixels, 1};
        p.mask_strides = {static_cast<int64_t>(out_pixels) * entries, out_pixels, 1};
        p.mask = static_cast<half const*>(t.mask);
        p.has_mask = t.mask != nullptr;
        auto* const packed_bias = static_cast<float*>(workspace);
        auto* const packed = reinterpret_cast<half*>(packed_bias + s.out_channels);
        int const total = p.product.stages * s.out_channels * kStage;
        pack_weights<<<(total + 255) / 256, 256, 0, stream>>>(
            static_cast<half const*>(t.weight), static_cast<half const*>(t.bias), packed, packed_bias, s.in_channels,
            p.product.geometry.taps, s.out_channels, total);
        p.product.weight = packed;
        p.product.bias = packed_bias;
    }
    Tactic const tactic = choose_tactic(s.batch, s.out_height, s.out_width, s.out_channels, p.product.stages, entries);
    switch (tactic.tile) {
        case 0:
            return launch<Tile0>(p, tactic.splits, stream);
        case 1:
            return launch<Tile1>(p, tactic.splits, stream);
        case 2:
            return launch<Tile2>(p, tactic.splits, stream);
        case 3:
            return launch<Tile3>(p, tactic.splits, stream);
        default:
            return launch<Tile4>(p, tactic.splits, stream);
    }
}

}  // namespace fairmot
