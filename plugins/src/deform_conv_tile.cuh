// What the kernels of channels-last deformable convolution share: a thread block owns some output pixels, samples the
// columns of 64 (tap, channel) pairs at a time straight into shared memory while the product of the 64 before runs, and
// never writes them to global memory.
#pragma once

#include "sampling.cuh"
#include "tensor_core.cuh"

#include <cooperative_groups.h>
#include <type_traits>

namespace fairmot {

// Near pixels read near places: a tile of 8 x 8 hits the cache more often than 64 pixels in a row.
constexpr int kTileWidth = 8;

// The product of sampled columns and weights, see DeformConvTensors.
struct Product {
    unsigned char const* x;
    half const* weight;
    float const* bias;
    half* y;
    Geometry geometry;
    int batch;
    int vectors;            // channels / 8
    int vectors_per_group;  // of one offset group
    int out_channels;
    int stages;
    int tiles_x, tiles_y;  // tiles per image
    bool relu;
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

#if __CUDA_ARCH__ >= 900
// The sum of what the blocks of the cluster have at one place of their shared memory. Several are read before the first
// is used, as the way to another multiprocessor is long.
__device__ __forceinline__ float4 sum_of_blocks(float4 const* own, int ranks) {
    constexpr int kAtOnce = 4;
    float4 const zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    auto const cluster = cooperative_groups::this_cluster();
    float4 sum = zero;
#pragma unroll 1
    for (int first = 0; first < ranks; first += kAtOnce) {
        float4 parts[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            parts[i] = first + i < ranks ? *cluster.map_shared_rank(own, first + i) : zero;
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            sum.x += parts[i].x, sum.y += parts[i].y, sum.z += parts[i].z, sum.w += parts[i].w;
        }
    }
    return sum;
}

// Returns when all blocks of the cluster have come here, which have used what they read by then. It does not wait for
// their writes, unlike cluster.sync().
__device__ __forceinline__ void leave_cluster() {
    asm volatile("barrier.cluster.arrive.relaxed;\n\tbarrier.cluster.wait;" ::: "memory");
}
#endif

template <int kBlockM_, int kBlockN_, int kWarpsM_, int kWarpsN_, int kBlocks_>
struct Tile {
    static constexpr int block_m = kBlockM_;  // pixels
    static constexpr int block_n = kBlockN_;  // output channels
    static constexpr int warps_n = kWarpsN_;
    static constexpr int blocks = kBlocks_;  // that should fit on one multiprocessor
    static constexpr int threads = kWarpsM_ * kWarpsN_ * 32;
    static constexpr int rows = threads / 8;  // that are moved at once, eight 16-byte pieces each
    static constexpr int items = block_m / rows;
    static constexpr int weight_items = (block_n + rows - 1) / rows;
    // A warp's share of the product, in tiles of 16 x 8. With warp groups, of which each owns 64 rows, all warps of a
    // group have the same columns.
    static constexpr bool grouped = kHasWarpGroups && block_m % 64 == 0;
    static constexpr int groups_n = threads / 128 / (block_m / 64 > 0 ? block_m / 64 : 1);
    static constexpr int tiles_m = grouped ? 1 : block_m / kWarpsM_ / 16;
    static constexpr int tiles_n = grouped ? block_n / groups_n / 8 : block_n / kWarpsN_ / 8;
    static constexpr int result_stride = block_n + 4;
    static constexpr int columns_bytes = block_m * kStage * 2;
    static constexpr int weights_bytes = block_n * kStage * 2;
    static constexpr int pipeline_bytes = 2 * (columns_bytes + weights_bytes);
    static constexpr int result_bytes = block_m * result_stride * 4;
    static constexpr int front_bytes = pipeline_bytes > result_bytes ? pipeline_bytes : result_bytes;
    static_assert(items * rows == block_m && rows % 8 == 0, "whole pieces");
    static_assert(block_m % (kWarpsM_ * 16) == 0 && block_n % (kWarpsN_ * 16) == 0 && tiles_n > 0, "whole tiles");

    static constexpr size_t shared_bytes(int entries) {
        return front_bytes + block_m * (4 + static_cast<size_t>(entries) * 32);
    }
};

// One thread of a block at work. kDense: kernel 3x3, one offset group, whole stages of channels, whole blocks of
// outputs.
template <typename T, bool kDense>
struct Worker {
    Product const& p;
    half* const columns;          // 2 x (block_m, 64)
    half* const weights;          // 2 x (block_n, 64)
    float* const result;          // (block_m, result_stride), over the two above when the product is done
    int* const row_pixel;         // (block_m,), the pixel's number in the batch or below 0 for none
    uint4* const corner;          // (entries, block_m): where the four pixels around a tap lie, in bytes from x
    float4* const corner_weight;  // (entries, block_m)
    unsigned const pixel_bytes = p.vectors * 16;
    unsigned const row_bytes = p.geometry.width * pixel_bytes;
    int const warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 5, 0);  // tells that it is uniform
    int const lane = threadIdx.x & 31;
    int const warp_m = T::grouped ? (warp / 4 / T::groups_n) * 4 + warp % 4 : warp / T::warps_n;
    int const warp_n = T::grouped ? warp / 4 % T::groups_n : warp % T::warps_n;
    int const first_channel = blockIdx.y * T::block_n;
    // The blocks of a cluster, along z, share the stages.
    int const rank = blockIdx.z;
    int const ranks = gridDim.z;
    int const begin = p.stages * rank / ranks;
    int const end = p.stages * (rank + 1) / ranks;
    // Every thread moves the same 16-byte piece of rows own_row, own_row + T::rows, ...; T::rows is a multiple of 8, so
    // these lie T::rows * 64 halves apart.
    int const piece = threadIdx.x & 7;
    int const own_row = threadIdx.x >> 3;
    int const own_place = swizzled(own_row, piece);
    half const* next_weights;

    __device__ Worker(Product const& product, unsigned char* shared)
        : p(product),
          columns(reinterpret_cast<half*>(shared)),
          weights(columns + 2 * T::block_m * kStage),
          result(reinterpret_cast<float*>(shared)),
          row_pixel(reinterpret_cast<int*>(shared + T::front_bytes)),
          corner(reinterpret_cast<uint4*>(row_pixel + T::block_m)),
          corner_weight(reinterpret_cast<float4*>(corner + entries() * T::block_m)),
          next_weights(p.weight + (static_cast<int64_t>(begin) * p.out_channels + first_channel + own_row) * kStage +
                       piece * kVector) {}

    __device__ int taps() const { return kDense ? 9 : p.geometry.taps; }

    __device__ int entries() const { return kDense ? 9 : taps() * p.geometry.offset_groups; }

    // Image, row and column of pixel `m` of the tile; returns whether it is inside the map.
    __device__ bool locate(int m, int& image, int& row, int& column) const {
        int const tile = blockIdx.x / p.tiles_x;
        image = tile / p.tiles_y;
        row = (tile - image * p.tiles_y) * (T::block_m / kTileWidth) + m / kTileWidth;
        column = (blockIdx.x - tile * p.tiles_x) * kTileWidth + m % kTileWidth;
        return column < p.geometry.out_width && row * p.geometry.out_width < p.geometry.out_pixels;
    }

    __device__ void fetch_weights(int buffer) {
#pragma unroll
        for (int i = 0; i < T::weight_items; ++i) {
            int const row = own_row + i * T::rows;
            bool const valid = kDense || first_channel + row < p.out_channels;
            if (T::block_n % T::rows == 0 || row < T::block_n) {
                copy_async(weights + buffer * T::block_n * kStage + own_place + i * T::rows * kStage,
                           valid ? next_weights + i * T::rows * kStage : p.weight, valid);
            }
        }
        next_weights += static_cast<int64_t>(p.out_channels) * kStage;
        copies_commit();
    }

    // Note where one tap of pixel `m` reads; `image` is ignored if the pixel is not `valid`.
    __device__ void place_tap(int entry, int m, bool valid, int image, int row, int column, float delta_y,
                              float delta_x, float mask) const {
        Geometry const& g = p.geometry;
        int const tap = kDense || g.offset_groups == 1 ? entry : entry % taps();
        Position const at = position(g, row, column, tap, kDense ? 3 : g.kernel_width, delta_y, delta_x, mask);
        // Pixels with weight 0 are read too, at the nearest place inside the map.
        int const top = max(at.y, 0), bottom = min(at.y + 1, g.height - 1);
        int const left = max(at.x, 0), right = min(at.x + 1, g.width - 1);
        unsigned const base = valid ? image * g.height : 0;
        unsigned const upper = (base + top) * row_bytes;
        unsigned const lower = (base + bottom) * row_bytes;
        corner[entry * T::block_m + m] = make_uint4(upper + left * pixel_bytes, upper + right * pixel_bytes,
                                                    lower + left * pixel_bytes, lower + right * pixel_bytes);
        corner_weight[entry * T::block_m + m] = make_float4(at.w00, at.w01, at.w10, at.w11);
    }

    // Everything after the taps are placed and the first weights fetched, up to the store of the results.
    __device__ void run() {
        int tap = kDense ? begin / (p.vectors / 8) : (begin * 8 + piece) / p.vectors;
        int vector = begin * 8 + piece - tap * p.vectors;
        uint4 read[T::items][4];
        int place = 0;  // in corner and corner_weight, of what is in `read`
        bool inside = false;
        auto read_corners = [&]() {
            inside = kDense || tap < taps();
            if (inside) {
                int const group = kDense || p.geometry.offset_groups == 1 ? 0 : vector / p.vectors_per_group;
                place = (group * taps() + tap) * T::block_m + own_row;
                unsigned char const* const from = p.x + vector * 16;
#pragma unroll
                for (int item = 0; item < T::items; ++item) {
                    uint4 const at = corner[place + item * T::rows];
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
            half* const to = columns + buffer * T::block_m * kStage + own_place;
#pragma unroll
            for (int item = 0; item < T::items; ++item) {
                uint4 sum = make_uint4(0, 0, 0, 0);
                if (inside) {
                    float4 const w = corner_weight[place + item * T::rows];
                    uint4 const(&r)[4] = read[item];
                    sum.x = blend(r[0].x, r[1].x, r[2].x, r[3].x, w);
                    sum.y = blend(r[0].y, r[1].y, r[2].y, r[3].y, w);
                    sum.z = blend(r[0].z, r[1].z, r[2].z, r[3].z, w);
                    sum.w = blend(r[0].w, r[1].w, r[2].w, r[3].w, w);
                }
                *reinterpret_cast<uint4*>(to + item * T::rows * kStage) = sum;
            }
        };

        // Where this lane's rows of the fragments lie; the piece of step s is the one of step 0 with 2 s xored in.
        uint32_t const left_place =
            shared_address(columns + swizzled(warp_m * T::tiles_m * 16 + (lane & 15), lane >> 4));
        uint32_t const right_place = shared_address(
            weights + swizzled(warp_n * T::tiles_n * 8 + (lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1));
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        uint64_t const left_matrix = matrix_descriptor(shared_address(columns + warp_m / 4 * 64 * kStage));
        uint64_t const right_matrix = matrix_descriptor(shared_address(weights + warp_n * T::tiles_n * 8 * kStage));
#endif
        float sums[T::tiles_m][T::tiles_n][4] = {};
        auto run_stage = [&](int stage, auto parity) {
            constexpr int now = decltype(parity)::value;
            __syncthreads();
            bool const more = stage + 1 < end;
            if (more) {
                fetch_weights(now ^ 1);
                if constexpr (!T::grouped) {
                    read_corners();  // arrive while the product runs
                }
            }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
            if constexpr (T::grouped) {
                uint64_t const left = left_matrix + ((now * T::block_m * kStage * 2) >> 4);
                uint64_t const right = right_matrix + ((now * T::block_n * kStage * 2) >> 4);
                group_begin();
#pragma unroll
                for (int step = 0; step < kStage / 16; ++step) {
                    WarpGroup<T::tiles_n * 8>::multiply(sums[0], left + step * 2, right + step * 2);  // 32 bytes on
                }
                group_commit();
                if (more) {
                    write_columns(now ^ 1);
                    // Before the next reads start: the fence would wait for them.
                    copies_wait();
                    publish_writes();
                }
                if (stage + 2 < end) {
                    read_corners();  // arrive while all wait for each other
                }
                group_wait();
                return;
            }
#endif
            uint32_t const left_buffer = left_place + now * T::block_m * kStage * 2;
            uint32_t const right_buffer = right_place + now * T::block_n * kStage * 2;
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
                copies_wait();
            }
        };
        read_corners();
        write_columns(0);
        copies_wait();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        publish_writes();
#endif
        if (T::grouped && begin + 1 < end) {
            read_corners();
        }
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
                *reinterpret_cast<float2*>(result + row * T::result_stride + column) =
                    make_float2(sums[m][n][0], sums[m][n][1]);
                *reinterpret_cast<float2*>(result + (row + 8) * T::result_stride + column) =
                    make_float2(sums[m][n][2], sums[m][n][3]);
            }
        }
        // The blocks of a cluster have the sums of some stages each; every one adds up and writes its share of the
        // rows.
#if __CUDA_ARCH__ >= 900
        if (ranks > 1) {
            cooperative_groups::this_cluster().sync();
        } else {
            __syncthreads();
        }
#else
        __syncthreads();
#endif
        constexpr int kPieces = T::block_n / kVector;
        int const share = T::block_m / ranks;
        int const thread = threadIdx.x;
        int const channel = first_channel + thread % kPieces * kVector;
        if (channel < p.out_channels) {
            float4 const bias_low = *reinterpret_cast<float4 const*>(p.bias + channel);
            float4 const bias_high = *reinterpret_cast<float4 const*>(p.bias + channel + 4);
            for (int row = rank * share + thread / kPieces; row < (rank + 1) * share; row += T::threads / kPieces) {
                if (row_pixel[row] < 0) {
                    continue;
                }
                float4 const* const own =
                    reinterpret_cast<float4 const*>(result + row * T::result_stride + thread % kPieces * kVector);
#if __CUDA_ARCH__ >= 900
                float4 low = ranks > 1 ? sum_of_blocks(own, ranks) : own[0];
                float4 high = ranks > 1 ? sum_of_blocks(own + 1, ranks) : own[1];
#else
                float4 low = own[0];
                float4 high = own[1];
#endif
                low.x += bias_low.x, low.y += bias_low.y, low.z += bias_low.z, low.w += bias_low.w;
                high.x += bias_high.x, high.y += bias_high.y, high.z += bias_high.z, high.w += bias_high.w;
                float const floor = p.relu ? 0.0f : -INFINITY;
                uint4 const packed = make_uint4(packed_pair(low.x, low.y, floor), packed_pair(low.z, low.w, floor),
                                                packed_pair(high.x, high.y, floor), packed_pair(high.z, high.w, floor));
                *reinterpret_cast<uint4*>(p.y + static_cast<int64_t>(row_pixel[row]) * p.out_channels + channel) =
                    packed;
            }
        }
#if __CUDA_ARCH__ >= 900
        if (ranks > 1) {
            leave_cluster();  // nobody may leave while others read its shared memory
        }
#endif
    }
};

// Launch with the tiles of all images along x, outputs along y and `splits` blocks that share a tile along z.
template <typename T, typename Kernel, typename Params>
cudaError_t launch_tiles(Kernel* kernel, Params params, size_t shared, int splits, cudaStream_t stream) {
    Product& p = params.product;
    int const rows = T::block_m / kTileWidth;
    p.tiles_x = (p.geometry.out_width + kTileWidth - 1) / kTileWidth;
    p.tiles_y = (p.geometry.out_pixels / p.geometry.out_width + rows - 1) / rows;
    cudaError_t const error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (error != cudaSuccess) {
        return error;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(p.tiles_x * p.tiles_y * p.batch, (p.out_channels + T::block_n - 1) / T::block_n, splits);
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
    return cudaLaunchKernelEx(&config, kernel, params);
}

inline int stages_of(int taps, int channels) { return (taps * channels + kStage - 1) / kStage; }

// How the work is divided: index into the tiles that a kernel is compiled for (32 outputs of 64 pixels; 64 of 32; 64,
// 128 and 256 of 64) and thread blocks that share a tile: 1, 2, 4 or 8, above 1 for sm_90 and later alone.
struct Tactic {
    int tile;
    int splits;
};

Tactic choose_tactic(int batch, int out_height, int out_width, int out_channels, int stages, int entries);

using Tile0 = Tile<64, 32, 4, 2, 3>;
using Tile1 = Tile<32, 64, 2, 4, 4>;
using Tile2 = Tile<64, 64, 2, 2, 4>;
using Tile3 = Tile<64, 128, 2, 2, 3>;
using Tile4 = Tile<64, 256, 2, 4, 2>;

}  // namespace fairmot
