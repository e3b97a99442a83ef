// Two kernels. The fast one multiplies on the tensor cores: a thread block owns some output pixels, samples the columns of
// 64 (tap, channel) pairs at a time straight into shared memory while the product of the 64 before runs, and never
// writes them to global memory. The general one takes any type, layout and grouping and multiplies with plain FMAs.

#include "deform_conv.h"

#include <algorithm>
#include <cooperative_groups.h>
#include <cstdint>
#include <cuda_fp16.h>

namespace fairmot {
namespace {

namespace cg = cooperative_groups;

constexpr int kStage = 64;      // (tap, channel) pairs per step of the product
constexpr int kVector = 8;      // halves in one 16-byte access
constexpr int kMaxEntries = 256;  // taps times offset groups; their positions lie in shared memory

// Where offsets and mask lie: element (image, channel, pixel) is at image * n + channel * c + pixel * p.
struct Strides {
    int64_t n;
    int c;
    int p;
};

struct Geometry {
    int height, width;          // of the input
    int out_width, out_pixels;  // of the output
    int kernel_width, taps, offset_groups;
    int stride_y, stride_x, pad_top, pad_left, dilation_y, dilation_x;
};

struct Position {
    int y, x;                    // top left of the four pixels
    float w00, w01, w10, w11;    // their weights, 0 outside the map
};

__device__ __forceinline__ float logistic(float value) { return 1.0f / (1.0f + __expf(-value)); }

// Bilinear position of one tap: DCNv2 reads 0 outside the map and interpolates across its border.
__device__ __forceinline__ Position position(Geometry const& g, int pixel, int tap, float delta_y, float delta_x,
                                             float mask) {
    int const row = pixel / g.out_width;
    int const column = pixel - row * g.out_width;
    int const tap_y = tap / g.kernel_width;
    int const tap_x = tap - tap_y * g.kernel_width;
    float const y = static_cast<float>(row * g.stride_y - g.pad_top + tap_y * g.dilation_y) + delta_y;
    float const x = static_cast<float>(column * g.stride_x - g.pad_left + tap_x * g.dilation_x) + delta_x;
    Position at{0, 0, 0.0f, 0.0f, 0.0f, 0.0f};
    if (!(y > -1.0f && x > -1.0f && y < static_cast<float>(g.height) && x < static_cast<float>(g.width))) {
        return at;
    }
    float const top = floorf(y);
    float const left = floorf(x);
    float const fy = y - top;
    float const fx = x - left;
    at.y = static_cast<int>(top);
    at.x = static_cast<int>(left);
    float const upper = at.y >= 0 ? (1.0f - fy) * mask : 0.0f;
    float const lower = at.y + 1 < g.height ? fy * mask : 0.0f;
    float const near = at.x >= 0 ? 1.0f - fx : 0.0f;
    float const far = at.x + 1 < g.width ? fx : 0.0f;
    at.w00 = upper * near;
    at.w01 = upper * far;
    at.w10 = lower * near;
    at.w11 = lower * far;
    return at;
}

// ---------------------------------------------------------------------------------------------------------------------
// Tensor cores, halves, channels last.

struct Hwc8Params {
    uint4 const* x;
    half const* offset;
    half const* mask;
    half const* weight;
    float const* bias_float;
    half const* bias_half;
    half* y;
    Strides offset_strides, mask_strides;
    Geometry geometry;
    int mask_channel;  // of the first mask value
    bool has_mask, mask_is_logit, relu;
    int vectors;             // channels / 8
    int vectors_per_group;   // of one offset group
    int out_channels;
    int pixels;              // over the whole batch
    int stages;
};

__device__ __forceinline__ uint32_t shared_address(void const* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// 16 bytes from global to shared memory in the background; zeros if not `valid`.
__device__ __forceinline__ void copy_async(void* to, void const* from, bool valid) {
    int const bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;"); }

__device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], half const* address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(address)));
}

__device__ __forceinline__ void multiply(float (&d)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Rows of 64 halves in shared memory; the 16-byte pieces of a row are permuted so that eight rows' same piece, which
// `ldmatrix` reads at once, lie in different banks.
__device__ __forceinline__ int swizzled(int row, int piece) { return row * kStage + ((piece ^ (row & 7)) * kVector); }

__device__ __forceinline__ uint32_t blend(uint32_t a, uint32_t b, uint32_t c, uint32_t d, float4 const& w) {
    float2 const fa = __half22float2(*reinterpret_cast<half2 const*>(&a));
    float2 const fb = __half22float2(*reinterpret_cast<half2 const*>(&b));
    float2 const fc = __half22float2(*reinterpret_cast<half2 const*>(&c));
    float2 const fd = __half22float2(*reinterpret_cast<half2 const*>(&d));
    half2 const sum = __floats2half2_rn(w.x * fa.x + w.y * fb.x + w.z * fc.x + w.w * fd.x,
                                        w.x * fa.y + w.y * fb.y + w.z * fc.y + w.w * fd.y);
    return *reinterpret_cast<uint32_t const*>(&sum);
}

template <int kBlockM, int kBlockN, int kWarpsM, int kWarpsN>
struct Tile {
    static constexpr int threads = kWarpsM * kWarpsN * 32;
    static constexpr int items = kBlockM * (kStage / kVector) / threads;  // 16-byte pieces of columns per thread
    static constexpr int tiles_m = kBlockM / kWarpsM / 16;
    static constexpr int tiles_n = kBlockN / kWarpsN / 8;
    static constexpr int result_stride = kBlockN + 4;
    static constexpr int pipeline_bytes = 2 * (kBlockM + kBlockN) * kStage * 2;
    static constexpr int result_bytes = kBlockM * result_stride * 4;
    static constexpr int front_bytes = pipeline_bytes > result_bytes ? pipeline_bytes : result_bytes;
    static_assert(items * threads == kBlockM * (kStage / kVector), "whole pieces");
    static_assert(tiles_m * kWarpsM * 16 == kBlockM && tiles_n * kWarpsN * 8 == kBlockN && tiles_n % 2 == 0, "whole tiles");

    static size_t shared_bytes(int entries) { return front_bytes + static_cast<size_t>(entries) * kBlockM * 32; }
};

template <int kBlockM, int kBlockN, int kWarpsM, int kWarpsN>
__global__ void __launch_bounds__(Tile<kBlockM, kBlockN, kWarpsM, kWarpsN>::threads)
    deform_conv_hwc8(Hwc8Params const p) {
    using T = Tile<kBlockM, kBlockN, kWarpsM, kWarpsN>;
    extern __shared__ __align__(128) unsigned char shared[];
    half* const columns = reinterpret_cast<half*>(shared);    // 2 x (kBlockM, 64)
    half* const weights = columns + 2 * kBlockM * kStage;     // 2 x (kBlockN, 64)
    float* const result = reinterpret_cast<float*>(shared);   // (kBlockM, result_stride), when the product is done
    int4* const corner = reinterpret_cast<int4*>(shared + T::front_bytes);                            // (entries, kBlockM)
    int const entries = p.geometry.taps * p.geometry.offset_groups;
    float4* const corner_weight = reinterpret_cast<float4*>(corner + entries * kBlockM);

    int const thread = threadIdx.x;
    int const lane = thread & 31;
    int const warp_m = (thread >> 5) / kWarpsN;
    int const warp_n = (thread >> 5) % kWarpsN;
    int const first_pixel = blockIdx.x * kBlockM;
    int const first_channel = blockIdx.y * kBlockN;
    int const rank = blockIdx.z;
    int const ranks = gridDim.z;
    int const begin = p.stages * rank / ranks;
    int const end = p.stages * (rank + 1) / ranks;

    auto fetch_weights = [&](int stage, int buffer) {
        half const* const from = p.weight + (static_cast<size_t>(stage) * p.out_channels + first_channel) * kStage;
        for (int i = thread; i < kBlockN * 8; i += T::threads) {
            int const row = i >> 3;
            bool const valid = first_channel + row < p.out_channels;
            copy_async(weights + buffer * kBlockN * kStage + swizzled(row, i & 7), valid ? from + i * kVector : p.weight, valid);
        }
        copies_commit();
    };
    fetch_weights(begin, 0);

    for (int i = thread; i < entries * kBlockM; i += T::threads) {
        int const entry = i / kBlockM;
        int const index = first_pixel + i % kBlockM;
        int4 at = make_int4(0, 0, 0, 0);
        float4 weight = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (index < p.pixels) {
            Geometry const& g = p.geometry;
            int const image = index / g.out_pixels;
            int const pixel = index - image * g.out_pixels;
            half const* const delta =
                p.offset + image * p.offset_strides.n + 2 * entry * p.offset_strides.c + static_cast<int64_t>(pixel) * p.offset_strides.p;
            float mask = 1.0f;
            if (p.has_mask) {
                mask = __half2float(p.mask[image * p.mask_strides.n + (p.mask_channel + entry) * p.mask_strides.c +
                                           static_cast<int64_t>(pixel) * p.mask_strides.p]);
                mask = p.mask_is_logit ? logistic(mask) : mask;
            }
            Position const where =
                position(g, pixel, entry % g.taps, __half2float(delta[0]), __half2float(delta[p.offset_strides.c]), mask);
            // Pixels with weight 0 are read too, at the nearest place inside the map.
            int const top = max(where.y, 0), bottom = min(where.y + 1, g.height - 1);
            int const left = max(where.x, 0), right = min(where.x + 1, g.width - 1);
            int const base = image * g.height;
            at = make_int4(((base + top) * g.width + left) * p.vectors, ((base + top) * g.width + right) * p.vectors,
                           ((base + bottom) * g.width + left) * p.vectors, ((base + bottom) * g.width + right) * p.vectors);
            weight = make_float4(where.w00, where.w01, where.w10, where.w11);
        }
        corner[i] = at;
        corner_weight[i] = weight;
    }
    __syncthreads();

    // Every thread samples the same piece of a stage for pixels thread / 8, thread / 8 + threads / 8, ...
    int const piece = thread & 7;
    int tap = (begin * 8 + piece) / p.vectors;
    int vector = (begin * 8 + piece) - tap * p.vectors;
    uint4 read[T::items][4];
    int entry_of_read = 0;
    bool inside = false;
    auto read_corners = [&]() {
        inside = tap < p.geometry.taps;
        entry_of_read = (vector / p.vectors_per_group) * p.geometry.taps + tap;
        if (inside) {
#pragma unroll
            for (int item = 0; item < T::items; ++item) {
                int4 const at = corner[entry_of_read * kBlockM + (thread >> 3) + item * (T::threads / 8)];
                read[item][0] = __ldg(p.x + at.x + vector);
                read[item][1] = __ldg(p.x + at.y + vector);
                read[item][2] = __ldg(p.x + at.z + vector);
                read[item][3] = __ldg(p.x + at.w + vector);
            }
        }
        vector += 8;
        while (vector >= p.vectors) {
            vector -= p.vectors;
            ++tap;
        }
    };
    auto write_columns = [&](int buffer) {
#pragma unroll
        for (int item = 0; item < T::items; ++item) {
            int const row = (thread >> 3) + item * (T::threads / 8);
            uint4 sum = make_uint4(0, 0, 0, 0);
            if (inside) {
                float4 const w = corner_weight[entry_of_read * kBlockM + row];
                sum.x = blend(read[item][0].x, read[item][1].x, read[item][2].x, read[item][3].x, w);
                sum.y = blend(read[item][0].y, read[item][1].y, read[item][2].y, read[item][3].y, w);
                sum.z = blend(read[item][0].z, read[item][1].z, read[item][2].z, read[item][3].z, w);
                sum.w = blend(read[item][0].w, read[item][1].w, read[item][2].w, read[item][3].w, w);
            }
            *reinterpret_cast<uint4*>(columns + buffer * kBlockM * kStage + swizzled(row, piece)) = sum;
        }
    };

    float sums[T::tiles_m][T::tiles_n][4] = {};
    read_corners();
    write_columns(0);
    for (int stage = begin; stage < end; ++stage) {
        int const buffer = (stage - begin) & 1;
        copies_wait();
        __syncthreads();
        bool const more = stage + 1 < end;
        if (more) {
            fetch_weights(stage + 1, buffer ^ 1);
            read_corners();
        }
        half const* const a = columns + buffer * kBlockM * kStage;
        half const* const b = weights + buffer * kBlockN * kStage;
#pragma unroll
        for (int step = 0; step < kStage / 16; ++step) {
            uint32_t left[T::tiles_m][4];
#pragma unroll
            for (int m = 0; m < T::tiles_m; ++m) {
                load_matrices(left[m], a + swizzled((warp_m * T::tiles_m + m) * 16 + (lane & 15), step * 2 + (lane >> 4)));
            }
#pragma unroll
            for (int n = 0; n < T::tiles_n; n += 2) {
                uint32_t right[4];
                load_matrices(right, b + swizzled((warp_n * T::tiles_n + n) * 8 + (lane & 7) + ((lane >> 4) << 3),
                                                  step * 2 + ((lane >> 3) & 1)));
#pragma unroll
                for (int m = 0; m < T::tiles_m; ++m) {
                    multiply(sums[m][n], left[m], right[0], right[1]);
                    multiply(sums[m][n + 1], left[m], right[2], right[3]);
                }
            }
        }
        if (more) {
            write_columns(buffer ^ 1);
        }
    }
    __syncthreads();

#pragma unroll
    for (int m = 0; m < T::tiles_m; ++m) {
#pragma unroll
        for (int n = 0; n < T::tiles_n; ++n) {
            int const row = (warp_m * T::tiles_m + m) * 16 + (lane >> 2);
            int const column = (warp_n * T::tiles_n + n) * 8 + (lane & 3) * 2;
            *reinterpret_cast<float2*>(result + row * T::result_stride + column) = make_float2(sums[m][n][0], sums[m][n][1]);
            *reinterpret_cast<float2*>(result + (row + 8) * T::result_stride + column) =
                make_float2(sums[m][n][2], sums[m][n][3]);
        }
    }
    // The blocks of a cluster have the sums of some stages each; every one adds up and writes its share of the rows.
#if __CUDA_ARCH__ >= 900
    cg::cluster_group const cluster = cg::this_cluster();
    cluster.sync();
#else
    __syncthreads();
#endif
    int const share = kBlockM / ranks;
    for (int i = thread; i < share * (kBlockN / kVector); i += T::threads) {
        int const row = rank * share + i / (kBlockN / kVector);
        int const column = i % (kBlockN / kVector) * kVector;
        int const channel = first_channel + column;
        if (first_pixel + row >= p.pixels || channel >= p.out_channels) {
            continue;
        }
        float total[kVector];
#pragma unroll
        for (int j = 0; j < kVector; ++j) {
            total[j] = p.bias_float ? p.bias_float[channel + j] : p.bias_half ? __half2float(p.bias_half[channel + j]) : 0.0f;
        }
        for (int other = 0; other < ranks; ++other) {
#if __CUDA_ARCH__ >= 900
            float const* const part = cluster.map_shared_rank(result, other) + row * T::result_stride + column;
#else
            float const* const part = result + row * T::result_stride + column;
#endif
            float4 const low = *reinterpret_cast<float4 const*>(part);
            float4 const high = *reinterpret_cast<float4 const*>(part + 4);
            total[0] += low.x, total[1] += low.y, total[2] += low.z, total[3] += low.w;
            total[4] += high.x, total[5] += high.y, total[6] += high.z, total[7] += high.w;
        }
        half2 packed[kVector / 2];
#pragma unroll
        for (int j = 0; j < kVector / 2; ++j) {
            float const a = p.relu ? fmaxf(total[2 * j], 0.0f) : total[2 * j];
            float const b = p.relu ? fmaxf(total[2 * j + 1], 0.0f) : total[2 * j + 1];
            packed[j] = __floats2half2_rn(a, b);
        }
        *reinterpret_cast<uint4*>(p.y + static_cast<int64_t>(first_pixel + row) * p.out_channels + channel) =
            *reinterpret_cast<uint4 const*>(packed);
    }
#if __CUDA_ARCH__ >= 900
    cluster.sync();  // nobody may leave while others read its shared memory
#endif
}

// (o, c, taps) -> (stages, o, 64), see DeformConvTensors.
__global__ void pack_weights(half const* weight, half* packed, int channels, int taps, int out_channels, int total) {
    int const i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) {
        return;
    }
    int const o = i / kStage % out_channels;
    int const k = i / (kStage * out_channels) * kStage + i % kStage;
    int const tap = k / channels;
    int const channel = k - tap * channels;
    packed[i] = tap < taps ? weight[(static_cast<int64_t>(o) * channels + channel) * taps + tap] : __float2half(0.0f);
}

template <int kBlockM, int kBlockN, int kWarpsM, int kWarpsN>
cudaError_t launch_hwc8(Hwc8Params const& p, int splits, cudaStream_t stream) {
    using T = Tile<kBlockM, kBlockN, kWarpsM, kWarpsN>;
    auto* const kernel = deform_conv_hwc8<kBlockM, kBlockN, kWarpsM, kWarpsN>;
    size_t const shared = T::shared_bytes(p.geometry.taps * p.geometry.offset_groups);
    cudaError_t const error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (error != cudaSuccess) {
        return error;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3((p.pixels + kBlockM - 1) / kBlockM, (p.out_channels + kBlockN - 1) / kBlockN, splits);
    config.blockDim = dim3(T::threads);
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = 1;
    cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = static_cast<unsigned>(splits);
    config.attrs = &cluster;
    config.numAttrs = splits > 1 ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, p);
}

struct TileChoice {
    int block_m, block_n;
    cudaError_t (*launch)(Hwc8Params const&, int, cudaStream_t);
};

constexpr TileChoice kTiles[] = {
    {64, 32, launch_hwc8<64, 32, 4, 2>},    {32, 64, launch_hwc8<32, 64, 2, 4>},   {64, 64, launch_hwc8<64, 64, 4, 2>},
    {128, 64, launch_hwc8<128, 64, 4, 2>},  {32, 128, launch_hwc8<32, 128, 2, 4>}, {64, 128, launch_hwc8<64, 128, 2, 4>},
    {128, 128, launch_hwc8<128, 128, 4, 2>}, {32, 256, launch_hwc8<32, 256, 2, 4>}, {64, 256, launch_hwc8<64, 256, 2, 4>},
};

int stages_of(DeformConvShape const& s) {
    return (s.kernel_height * s.kernel_width * s.in_channels + kStage - 1) / kStage;
}

Geometry geometry_of(DeformConvShape const& s) {
    return {s.in_height,   s.in_width,      s.out_width, s.out_height * s.out_width, s.kernel_width, s.kernel_height * s.kernel_width,
            s.offset_groups, s.stride_y, s.stride_x,  s.pad_top,                  s.pad_left,     s.dilation_y,
            s.dilation_x};
}

// ---------------------------------------------------------------------------------------------------------------------
// Any type, layout (n, c, h, w), groups.

constexpr int kGeneralM = 64;   // pixels
constexpr int kGeneralN = 64;   // output channels
constexpr int kGeneralK = 16;   // (channel, tap) pairs per step
constexpr int kGeneralThreads = 256;

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
__global__ void __launch_bounds__(kGeneralThreads) deform_conv_general(GeneralParams<T> const p) {
    __shared__ float columns[kGeneralK][kGeneralM];
    __shared__ float weights[kGeneralK][kGeneralN + 1];
    Geometry const& g = p.geometry;
    int const thread = threadIdx.x;
    int const group = blockIdx.z;
    int const channels = p.channels / p.groups;
    int const outputs = p.out_channels / p.groups;
    int const first_output = blockIdx.y * kGeneralN;
    int const depth = channels * g.taps;

    int const m = thread % kGeneralM;  // consecutive threads sample neighbouring pixels
    int64_t const index = static_cast<int64_t>(blockIdx.x) * kGeneralM + m;
    bool const valid = index < p.pixels;
    int64_t const image = valid ? index / g.out_pixels : 0;
    int const pixel = valid ? static_cast<int>(index - image * g.out_pixels) : 0;
    int const entries = g.taps * g.offset_groups;
    T const* const offset = p.offset + image * 2 * entries * g.out_pixels + pixel;
    T const* const mask = p.mask ? p.mask + image * entries * g.out_pixels + pixel : nullptr;
    T const* const x = p.x + image * p.channels * g.height * g.width;

    float sums[4][4] = {};
    int const row = thread / 16 * 4;     // of the pixels
    int const column = thread % 16 * 4;  // of the output channels
    for (int k0 = 0; k0 < depth; k0 += kGeneralK) {
        for (int k = thread / kGeneralM; k < kGeneralK; k += kGeneralThreads / kGeneralM) {
            float value = 0.0f;
            if (valid && k0 + k < depth) {
                int const tap = (k0 + k) % g.taps;
                int const channel = group * channels + (k0 + k) / g.taps;
                int64_t const entry = channel / (p.channels / g.offset_groups) * g.taps + tap;
                float const delta_y = static_cast<float>(offset[2 * entry * g.out_pixels]);
                float const delta_x = static_cast<float>(offset[(2 * entry + 1) * g.out_pixels]);
                float const factor = mask ? static_cast<float>(mask[entry * g.out_pixels]) : 1.0f;
                Position const at = position(g, pixel, tap, delta_y, delta_x, factor);
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
        for (int i = thread; i < kGeneralK * kGeneralN; i += kGeneralThreads) {
            int const k = i % kGeneralK;
            int const o = first_output + i / kGeneralK;
            bool const inside = k0 + k < depth && o < outputs;
            weights[k][i / kGeneralK] =
                inside ? static_cast<float>(p.weight[(static_cast<int64_t>(group) * outputs + o) * depth + k0 + k]) : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kGeneralK; ++k) {
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
                    sums[i][j] += a[i] * b[j];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int64_t const at = static_cast<int64_t>(blockIdx.x) * kGeneralM + row + i;
        if (at >= p.pixels) {
            break;
        }
        int64_t const to_image = at / g.out_pixels;
        int64_t const to_pixel = at - to_image * g.out_pixels;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (first_output + column + j < outputs) {
                int const o = group * outputs + first_output + column + j;
                float const sum = sums[i][j] + (p.bias ? static_cast<float>(p.bias[o]) : 0.0f);
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
    dim3 const grid(static_cast<unsigned>((p.pixels + kGeneralM - 1) / kGeneralM), (outputs + kGeneralN - 1) / kGeneralN, s.groups);
    deform_conv_general<T><<<grid, kGeneralThreads, 0, stream>>>(p);
    return cudaGetLastError();
}

}  // namespace

bool deformConvSupports(DeformConvShape const& s, DeformConvOptions const& options) {
    bool const whole = s.groups > 0 && s.offset_groups > 0 && s.in_channels % s.groups == 0 &&
                       s.out_channels % s.groups == 0 && s.in_channels % s.offset_groups == 0;
    if (!whole || options.layout == Layout::kLinear) {
        return whole && !options.fused;
    }
    return options.type == DataType::kHalf && s.groups == 1 && s.out_channels % kVector == 0 &&
           s.in_channels / s.offset_groups % kVector == 0 &&
           s.kernel_height * s.kernel_width * s.offset_groups <= kMaxEntries / 2;
}

size_t deformConvWorkspace(DeformConvShape const& s, DeformConvOptions const& options) {
    bool const packs = options.layout == Layout::kHwc8 && !options.fused;
    return packs ? static_cast<size_t>(stages_of(s)) * s.out_channels * kStage * sizeof(half) : 0;
}

DeformConvTactic deformConvTactic(DeformConvShape const& s) {
    int const pixels = s.batch * s.out_height * s.out_width;
    int tile = s.out_channels <= 32 ? 0 : s.out_channels <= 64 ? 2 : s.out_channels <= 128 ? 5 : 8;
    int const blocks = (pixels + kTiles[tile].block_m - 1) / kTiles[tile].block_m *
                       ((s.out_channels + kTiles[tile].block_n - 1) / kTiles[tile].block_n);
    int splits = 1;
    while (splits < 8 && blocks * splits * 2 <= 264 && stages_of(s) / (splits * 2) >= 4) {
        splits *= 2;
    }
    return {tile, splits};
}

cudaError_t deformConvHwc8(DeformConvShape const& s, DeformConvOptions const& options, DeformConvTensors const& t,
                           void* workspace, DeformConvTactic tactic, cudaStream_t stream) {
    Hwc8Params p{};
    p.geometry = geometry_of(s);
    int const entries = p.geometry.taps * s.offset_groups;
    int const out_pixels = p.geometry.out_pixels;
    p.x = static_cast<uint4 const*>(t.x);
    p.offset = static_cast<half const*>(t.offset);
    p.y = static_cast<half*>(t.y);
    p.relu = options.relu;
    p.vectors = s.in_channels / kVector;
    p.vectors_per_group = p.vectors / s.offset_groups;
    p.out_channels = s.out_channels;
    p.pixels = s.batch * out_pixels;
    p.stages = stages_of(s);
    if (options.fused) {
        int const channels = (3 * entries + kVector - 1) / kVector * kVector;
        p.offset_strides = p.mask_strides = {static_cast<int64_t>(out_pixels) * channels, 1, channels};
        p.mask = p.offset;
        p.mask_channel = 2 * entries;
        p.has_mask = p.mask_is_logit = true;
        p.weight = static_cast<half const*>(t.weight);
        p.bias_float = static_cast<float const*>(t.bias);
    } else {
        p.offset_strides = {static_cast<int64_t>(out_pixels) * 2 * entries, out_pixels, 1};
        p.mask_strides = {static_cast<int64_t>(out_pixels) * entries, out_pixels, 1};
        p.mask = static_cast<half const*>(t.mask);
        p.has_mask = t.mask != nullptr;
        p.bias_half = static_cast<half const*>(t.bias);
        auto* const packed = static_cast<half*>(workspace);
        int const total = p.stages * s.out_channels * kStage;
        pack_weights<<<(total + 255) / 256, 256, 0, stream>>>(static_cast<half const*>(t.weight), packed, s.in_channels,
                                                              p.geometry.taps, s.out_channels, total);
        p.weight = packed;
    }
    return kTiles[tactic.tile].launch(p, tactic.splits, stream);
}

cudaError_t deformConv(DeformConvShape const& s, DeformConvOptions const& options, DeformConvTensors const& t,
                       void* workspace, cudaStream_t stream) {
    if (!deformConvSupports(s, options)) {
        return cudaErrorInvalidValue;
    }
    if (options.layout == Layout::kHwc8) {
        return deformConvHwc8(s, options, t, workspace, deformConvTactic(s), stream);
    }
    if (options.type == DataType::kFloat) {
        return launch_general<float>(s, options, t, stream);
    }
    return launch_general<half>(s, options, t, stream);
}

}  // namespace fairmot
