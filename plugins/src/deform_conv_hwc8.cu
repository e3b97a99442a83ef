// Channels-last halves on the tensor cores. A thread block owns some output pixels, samples the columns of 64
// (tap, channel) pairs at a time straight into shared memory while the product of the 64 before runs, and never writes
// them to global memory.

#include "deform_conv.h"
#include "sampling.cuh"
#include "tensor_core.cuh"

#include <cooperative_groups.h>
#include <type_traits>

namespace fairmot {
namespace {

namespace cg = cooperative_groups;

constexpr int kTileWidth = 8;  // near pixels read near places: 8 x 8 hits the cache more often than 64 in a row

// Where offsets and mask lie: element (image, channel, pixel) is at image * n + channel * c + pixel * p.
struct Strides {
    int64_t n;
    int c;
    int p;
};

struct Hwc8Params {
    unsigned char const* x;
    half const* offset;
    half const* mask;
    half const* weight;
    float const* bias;
    half* y;
    Strides offset_strides, mask_strides;
    Geometry geometry;
    int mask_channel;  // of the first mask value
    bool has_mask, mask_is_logit, relu;
    int vectors;            // channels / 8
    int vectors_per_group;  // of one offset group
    int out_channels;
    int pixels;             // over the whole batch
    int stages;
    int tile_width;         // a block's pixels are a rectangle of this width, or consecutive if 0
    int tiles_x, tiles_y;   // rectangles per image
};

__device__ __forceinline__ uint32_t packed_pair(float a, float b, float floor) {
    half2 const pair = __floats2half2_rn(fmaxf(a, floor), fmaxf(b, floor));
    return *reinterpret_cast<uint32_t const*>(&pair);
}

__device__ __forceinline__ uint32_t blend(uint32_t a, uint32_t b, uint32_t c, uint32_t d, float4 const& w) {
    float2 const fa = __half22float2(*reinterpret_cast<half2 const*>(&a));
    float2 const fb = __half22float2(*reinterpret_cast<half2 const*>(&b));
    float2 const fc = __half22float2(*reinterpret_cast<half2 const*>(&c));
    float2 const fd = __half22float2(*reinterpret_cast<half2 const*>(&d));
    half2 const sum = __floats2half2_rn(w.x * fa.x + w.y * fb.x + w.z * fc.x + w.w * fd.x,
                                        w.x * fa.y + w.y * fb.y + w.z * fc.y + w.w * fd.y);
    return *reinterpret_cast<uint32_t const*>(&sum);
}

template <int kBlockM, int kBlockN, int kWarpsM, int kWarpsN, int kBlocks>
struct Tile {
    static constexpr int threads = kWarpsM * kWarpsN * 32;
    static constexpr int items = kBlockM * (kStage / kVector) / threads;  // 16-byte pieces of columns per thread
    static constexpr int weight_items = (kBlockN * (kStage / kVector) + threads - 1) / threads;
    // A warp's share of the product, in tiles of 16 x 8. With warp groups, of which each owns 64 rows, all warps of a
    // group have the same columns.
    static constexpr bool grouped = kHasWarpGroups && kBlockM % 64 == 0;
    static constexpr int groups_m = kBlockM / 64 > 0 ? kBlockM / 64 : 1;
    static constexpr int groups_n = threads / 128 / groups_m;
    static constexpr int tiles_m = grouped ? 1 : kBlockM / kWarpsM / 16;
    static constexpr int tiles_n = grouped ? kBlockN / groups_n / 8 : kBlockN / kWarpsN / 8;
    static constexpr int result_stride = kBlockN + 4;
    static constexpr int pipeline_bytes = 2 * (kBlockM + kBlockN) * kStage * 2;
    static constexpr int result_bytes = kBlockM * result_stride * 4;
    static constexpr int front_bytes = pipeline_bytes > result_bytes ? pipeline_bytes : result_bytes;
    static_assert(items * threads == kBlockM * (kStage / kVector), "whole pieces");
    static_assert(kBlockM % (kWarpsM * 16) == 0 && kBlockN % (kWarpsN * 16) == 0 && tiles_n > 0, "whole tiles");

    static size_t shared_bytes(int entries) { return front_bytes + kBlockM * (4 + static_cast<size_t>(entries) * 32); }
};

template <int kBlockM, int kBlockN, int kWarpsM, int kWarpsN, int kBlocks, bool kDense>
__global__ void __launch_bounds__(Tile<kBlockM, kBlockN, kWarpsM, kWarpsN, kBlocks>::threads, kBlocks)
    deform_conv_hwc8(Hwc8Params const p) {
    using T = Tile<kBlockM, kBlockN, kWarpsM, kWarpsN, kBlocks>;
    extern __shared__ __align__(1024) unsigned char shared[];
    half* const columns = reinterpret_cast<half*>(shared);   // 2 x (kBlockM, 64)
    half* const weights = columns + 2 * kBlockM * kStage;    // 2 x (kBlockN, 64)
    float* const result = reinterpret_cast<float*>(shared);  // (kBlockM, result_stride), when the product is done
    int* const row_pixel = reinterpret_cast<int*>(shared + T::front_bytes);  // (kBlockM,), below 0 for none
    uint4* const corner = reinterpret_cast<uint4*>(row_pixel + kBlockM);     // (entries, kBlockM), in bytes from x
    int const taps = kDense ? 9 : p.geometry.taps;
    int const entries = kDense ? 9 : taps * p.geometry.offset_groups;
    float4* const corner_weight = reinterpret_cast<float4*>(corner + entries * kBlockM);

    int const thread = threadIdx.x;
    int const lane = thread & 31;
    int const warp = __shfl_sync(0xffffffffu, thread >> 5, 0);  // tells the compiler that it is uniform
    int const warp_m = T::grouped ? (warp / 4 / T::groups_n) * 4 + warp % 4 : warp / kWarpsN;
    int const warp_n = T::grouped ? warp / 4 % T::groups_n : warp % kWarpsN;
    int const first_channel = blockIdx.y * kBlockN;
    int const rank = blockIdx.z;
    int const ranks = gridDim.z;
    int const begin = p.stages * rank / ranks;
    int const end = p.stages * (rank + 1) / ranks;
    // Every thread moves the same 16-byte piece of rows thread / 8, thread / 8 + kRows, ...
    constexpr int kRows = T::threads / 8;
    int const piece = thread & 7;
    int const own_row = thread >> 3;
    int const own_place = swizzled(own_row, piece);  // kRows is a multiple of 8, so the others are kRows * 64 apart

    half const* next_weights =
        p.weight + (static_cast<int64_t>(begin) * p.out_channels + first_channel + own_row) * kStage + piece * kVector;
    auto fetch_weights = [&](int buffer) {
#pragma unroll
        for (int i = 0; i < T::weight_items; ++i) {
            int const row = own_row + i * kRows;
            bool const valid = kDense || first_channel + row < p.out_channels;
            if (kBlockN % kRows == 0 || row < kBlockN) {
                copy_async(weights + buffer * kBlockN * kStage + own_place + i * kRows * kStage,
                           valid ? next_weights + i * kRows * kStage : p.weight, valid);
            }
        }
        next_weights += static_cast<int64_t>(p.out_channels) * kStage;
        copies_commit();
    };
    fetch_weights(0);

    {
        Geometry const& g = p.geometry;
        int const m = thread % kBlockM;
        int image, row, column;
        if (p.tile_width > 0) {
            int const tile = blockIdx.x / p.tiles_x;
            image = tile / p.tiles_y;
            row = (tile - image * p.tiles_y) * (kBlockM / p.tile_width) + m / p.tile_width;
            column = (blockIdx.x - tile * p.tiles_x) * p.tile_width + m % p.tile_width;
        } else {
            int const index = blockIdx.x * kBlockM + m;
            image = index / g.out_pixels;
            int const pixel = index - image * g.out_pixels;
            row = pixel / g.out_width;
            column = pixel - row * g.out_width;
        }
        int const pixel = row * g.out_width + column;
        bool const valid = column < g.out_width && pixel < g.out_pixels && image * g.out_pixels + pixel < p.pixels;
        if (thread < kBlockM) {
            row_pixel[m] = valid ? image * g.out_pixels + pixel : -1;
        }
        half const* const delta = p.offset + image * p.offset_strides.n + static_cast<int64_t>(pixel) * p.offset_strides.p;
        half const* const masks = p.mask + image * p.mask_strides.n + static_cast<int64_t>(pixel) * p.mask_strides.p +
                                  p.mask_channel * p.mask_strides.c;
        constexpr int kStep = T::threads / kBlockM;
        constexpr int kBatch = 3;  // entries whose offsets are read before the first is used
        for (int first = thread / kBlockM; first < entries; first += kBatch * kStep) {
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
                if (entry >= entries) {
                    break;
                }
                float const factor = p.mask_is_logit ? logistic(__half2float(mask[i])) : __half2float(mask[i]);
                Position const where =
                    position(g, row, column, kDense || g.offset_groups == 1 ? entry : entry % taps,
                             kDense ? 3 : g.kernel_width, __half2float(delta_y[i]), __half2float(delta_x[i]), factor);
                // Pixels with weight 0 are read too, at the nearest place inside the map.
                int const top = max(where.y, 0), bottom = min(where.y + 1, g.height - 1);
                int const left = max(where.x, 0), right = min(where.x + 1, g.width - 1);
                unsigned const base = valid ? image * g.height : 0;
                unsigned const bytes = p.vectors * 16;
                unsigned const upper = (base + top) * g.width;
                unsigned const lower = (base + bottom) * g.width;
                corner[entry * kBlockM + m] = make_uint4((upper + left) * bytes, (upper + right) * bytes,
                                                         (lower + left) * bytes, (lower + right) * bytes);
                corner_weight[entry * kBlockM + m] = make_float4(where.w00, where.w01, where.w10, where.w11);
            }
        }
    }
    __syncthreads();

    int tap = kDense ? begin / (p.vectors / 8) : (begin * 8 + piece) / p.vectors;
    int vector = begin * 8 + piece - tap * p.vectors;
    uint4 read[T::items][4];
    int place = 0;  // in corner and corner_weight, of what is in `read`
    bool inside = false;
    auto read_corners = [&]() {
        inside = kDense || tap < taps;
        if (inside) {
            int const group = kDense || p.geometry.offset_groups == 1 ? 0 : vector / p.vectors_per_group;
            place = (group * taps + tap) * kBlockM + own_row;
            unsigned char const* const from = p.x + vector * 16;
#pragma unroll
            for (int item = 0; item < T::items; ++item) {
                uint4 const at = corner[place + item * kRows];
                read[item][0] = __ldg(reinterpret_cast<uint4 const*>(from + at.x));
                read[item][1] = __ldg(reinterpret_cast<uint4 const*>(from + at.y));
                read[item][2] = __ldg(reinterpret_cast<uint4 const*>(from + at.z));
                read[item][3] = __ldg(reinterpret_cast<uint4 const*>(from + at.w));
            }
        }
        vector += 8;
        if constexpr (kDense) {
            bool const wraps = vector >= p.vectors;  // for all pieces of a stage alike
            vector -= wraps ? p.vectors : 0;
            tap += wraps;
        } else {
            while (vector >= p.vectors) {
                vector -= p.vectors;
                ++tap;
            }
        }
    };
    auto write_columns = [&](int buffer) {
        half* const to = columns + buffer * kBlockM * kStage + own_place;
#pragma unroll
        for (int item = 0; item < T::items; ++item) {
            uint4 sum = make_uint4(0, 0, 0, 0);
            if (inside) {
                float4 const w = corner_weight[place + item * kRows];
                uint4 const(&r)[4] = read[item];
                sum.x = blend(r[0].x, r[1].x, r[2].x, r[3].x, w);
                sum.y = blend(r[0].y, r[1].y, r[2].y, r[3].y, w);
                sum.z = blend(r[0].z, r[1].z, r[2].z, r[3].z, w);
                sum.w = blend(r[0].w, r[1].w, r[2].w, r[3].w, w);
            }
            *reinterpret_cast<uint4*>(to + item * kRows * kStage) = sum;
        }
    };

    // Where this lane's rows of the fragments lie; the piece of step s is the one of step 0 with 2 s xored in.
    uint32_t const left_place = shared_address(columns + swizzled(warp_m * T::tiles_m * 16 + (lane & 15), lane >> 4));
    uint32_t const right_place =
        shared_address(weights + swizzled(warp_n * T::tiles_n * 8 + (lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1));
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    uint64_t const left_matrix = matrix_descriptor(shared_address(columns + warp_m / 4 * 64 * kStage));
    uint64_t const right_matrix = matrix_descriptor(shared_address(weights + warp_n * T::tiles_n * 8 * kStage));
#endif
    float sums[T::tiles_m][T::tiles_n][4] = {};
    auto run_stage = [&](int stage, auto parity) {
        constexpr int now = decltype(parity)::value;
        copies_wait();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        publish_writes();
#endif
        __syncthreads();
        bool const more = stage + 1 < end;
        if (more) {
            fetch_weights(now ^ 1);
            read_corners();
        }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if constexpr (T::grouped) {
            uint64_t const left = left_matrix + ((now * kBlockM * kStage * 2) >> 4);
            uint64_t const right = right_matrix + ((now * kBlockN * kStage * 2) >> 4);
            group_begin();
#pragma unroll
            for (int step = 0; step < kStage / 16; ++step) {
                WarpGroup<T::tiles_n * 8>::multiply(sums[0], left + step * 2, right + step * 2);  // 32 bytes on
            }
            group_commit();
            if (more) {
                write_columns(now ^ 1);
            }
            group_wait();
            return;
        }
#endif
        uint32_t const left_buffer = left_place + now * kBlockM * kStage * 2;
        uint32_t const right_buffer = right_place + now * kBlockN * kStage * 2;
#pragma unroll
        for (int step = 0; step < kStage / 16; ++step) {
            uint32_t left[T::tiles_m][4];
#pragma unroll
            for (int m = 0; m < T::tiles_m; ++m) {
                load_matrices(left[m], (left_buffer ^ (step * 32)) + m * 16 * kStage * 2);
            }
#pragma unroll
            for (int n = 0; n < T::tiles_n; n += 2) {
                uint32_t right[4];
                load_matrices(right, (right_buffer ^ (step * 32)) + n * 8 * kStage * 2);
#pragma unroll
                for (int m = 0; m < T::tiles_m; ++m) {
                    multiply(sums[m][n], left[m], right[0], right[1]);
                    multiply(sums[m][n + 1], left[m], right[2], right[3]);
                }
            }
        }
        if (more) {
            write_columns(now ^ 1);
        }
    };
    read_corners();
    write_columns(0);
    for (int stage = begin; stage < end; stage += 2) {
        run_stage(stage, std::integral_constant<int, 0>{});
        if (stage + 1 < end) {
            run_stage(stage + 1, std::integral_constant<int, 1>{});
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
    if (ranks > 1) {
        cluster.sync();
    } else {
        __syncthreads();
    }
#else
    __syncthreads();
#endif
    constexpr int kPieces = kBlockN / kVector;
    int const share = kBlockM / ranks;
    int const channel = first_channel + thread % kPieces * kVector;
    if (channel < p.out_channels) {
        float4 const bias_low = *reinterpret_cast<float4 const*>(p.bias + channel);
        float4 const bias_high = *reinterpret_cast<float4 const*>(p.bias + channel + 4);
        for (int row = rank * share + thread / kPieces; row < (rank + 1) * share; row += T::threads / kPieces) {
            if (row_pixel[row] < 0) {
                continue;
            }
            float4 low = bias_low;
            float4 high = bias_high;
            float* const own = result + row * T::result_stride + thread % kPieces * kVector;
#pragma unroll 1
            for (int other = 0; other < ranks; ++other) {
#if __CUDA_ARCH__ >= 900
                float const* const part = ranks > 1 ? cluster.map_shared_rank(own, other) : own;
#else
                float const* const part = own;
#endif
                float4 const a = *reinterpret_cast<float4 const*>(part);
                float4 const b = *reinterpret_cast<float4 const*>(part + 4);
                low.x += a.x, low.y += a.y, low.z += a.z, low.w += a.w;
                high.x += b.x, high.y += b.y, high.z += b.z, high.w += b.w;
            }
            float const floor = p.relu ? 0.0f : -INFINITY;
            uint4 const packed = make_uint4(packed_pair(low.x, low.y, floor), packed_pair(low.z, low.w, floor),
                                            packed_pair(high.x, high.y, floor), packed_pair(high.z, high.w, floor));
            *reinterpret_cast<uint4*>(p.y + static_cast<int64_t>(row_pixel[row]) * p.out_channels + channel) =
                packed;
        }
    }
#if __CUDA_ARCH__ >= 900
    if (ranks > 1) {
        cluster.sync();  // nobody may leave while others read its shared memory
    }
#endif
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

template <int kBlockM, int kBlockN, int kWarpsM, int kWarpsN, int kBlocks>
cudaError_t launch_hwc8(Hwc8Params p, int splits, int tile_width, cudaStream_t stream) {
    using T = Tile<kBlockM, kBlockN, kWarpsM, kWarpsN, kBlocks>;
    // What nearly every layer is: kernel 3x3, one offset group, whole stages of channels, whole blocks of outputs.
    bool const dense = p.geometry.taps == 9 && p.geometry.kernel_width == 3 && p.geometry.offset_groups == 1 &&
                       p.vectors % 8 == 0 && p.out_channels % kBlockN == 0;
    auto* const kernel = dense ? deform_conv_hwc8<kBlockM, kBlockN, kWarpsM, kWarpsN, kBlocks, true>
                               : deform_conv_hwc8<kBlockM, kBlockN, kWarpsM, kWarpsN, kBlocks, false>;
    size_t const shared = T::shared_bytes(p.geometry.taps * p.geometry.offset_groups);
    cudaError_t const error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (error != cudaSuccess) {
        return error;
    }
    cudaLaunchConfig_t config{};
    int blocks = (p.pixels + kBlockM - 1) / kBlockM;
    if (tile_width > 0) {
        int const tile_height = kBlockM / tile_width;
        p.tile_width = tile_width;
        p.tiles_x = (p.geometry.out_width + tile_width - 1) / tile_width;
        p.tiles_y = (p.geometry.out_pixels / p.geometry.out_width + tile_height - 1) / tile_height;
        blocks = p.tiles_x * p.tiles_y * (p.pixels / p.geometry.out_pixels);
    }
    config.gridDim = dim3(blocks, (p.out_channels + kBlockN - 1) / kBlockN, splits);
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
    cudaError_t (*launch)(Hwc8Params, int, int, cudaStream_t);
};

// The ones that were fastest for some layer of dla_34 or dla_34_lite on an H200 (benchmarks/gpu.md).
constexpr TileChoice kTiles[] = {
    {64, 32, launch_hwc8<64, 32, 4, 2, 3>},   {32, 64, launch_hwc8<32, 64, 2, 4, 4>},
    {64, 64, launch_hwc8<64, 64, 2, 2, 4>},   {64, 128, launch_hwc8<64, 128, 2, 2, 3>},
    {64, 256, launch_hwc8<64, 256, 2, 4, 2>},
};
constexpr int kSmallTile = 1;

int stages_of(DeformConvShape const& s) {
    return (s.kernel_height * s.kernel_width * s.in_channels + kStage - 1) / kStage;
}

}  // namespace

size_t deformConvWorkspace(DeformConvShape const& s, DeformConvOptions const& options) {
    bool const packs = options.layout == Layout::kHwc8 && !options.fused;
    return packs ? s.out_channels * (sizeof(float) + static_cast<size_t>(stages_of(s)) * kStage * sizeof(half)) : 0;
}

DeformConvTactic deformConvTactic(DeformConvShape const& s) {
    int device = 0, processors = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    auto blocks_of = [&](int tile) {
        int const rows = kTiles[tile].block_m / kTileWidth;
        return s.batch * ((s.out_width + kTileWidth - 1) / kTileWidth) * ((s.out_height + rows - 1) / rows) *
               ((s.out_channels + kTiles[tile].block_n - 1) / kTiles[tile].block_n);
    };
    // Split the sums while that still finds idle processors and leaves at least four stages to each block.
    auto splits_of = [&](int tile) {
        int const room = kTiles[tile].block_n > 128 ? processors : processors * 13 / 5;  // blocks that run at once
        int splits = 1;
        while (major >= 9 && splits < 8 && blocks_of(tile) * splits * 2 <= room && stages_of(s) >= splits * 8) {
            splits *= 2;
        }
        return splits;
    };
    int tile = s.out_channels <= 32 ? 0 : s.out_channels <= 64 ? 2 : s.out_channels <= 128 ? 3 : 4;
    bool const idle = s.out_channels > 32 && s.out_channels <= 128 && blocks_of(tile) * splits_of(tile) < processors;
    bool const crowded = s.kernel_height * s.kernel_width * s.offset_groups > 9;  // large tables in shared memory
    if (idle || crowded) {
        tile = kSmallTile;
    }
    return {tile, splits_of(tile), kTileWidth};
}

cudaError_t deformConvHwc8(DeformConvShape const& s, DeformConvOptions const& options, DeformConvTensors const& t,
                           void* workspace, DeformConvTactic tactic, cudaStream_t stream) {
    Hwc8Params p{};
    p.geometry = geometry_of(s);
    int const entries = p.geometry.taps * s.offset_groups;
    int const out_pixels = p.geometry.out_pixels;
    p.x = static_cast<unsigned char const*>(t.x);
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
        p.bias = static_cast<float const*>(t.bias);
    } else {
        p.offset_strides = {static_cast<int64_t>(out_pixels) * 2 * entries, out_pixels, 1};
        p.mask_strides = {static_cast<int64_t>(out_pixels) * entries, out_pixels, 1};
        p.mask = static_cast<half const*>(t.mask);
        p.has_mask = t.mask != nullptr;
        auto* const packed_bias = static_cast<float*>(workspace);
        auto* const packed = reinterpret_cast<half*>(packed_bias + s.out_channels);
        int const total = p.stages * s.out_channels * kStage;
        pack_weights<<<(total + 255) / 256, 256, 0, stream>>>(static_cast<half const*>(t.weight),
                                                              static_cast<half const*>(t.bias), packed, packed_bias,
                                                              s.in_channels, p.geometry.taps, s.out_channels, total);
        p.weight = packed;
        p.bias = packed_bias;
    }
    return kTiles[tactic.tile].launch(p, tactic.splits, tactic.tile_width, stream);
}

}  // namespace fairmot
