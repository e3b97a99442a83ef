// A thread block of four warpgroups stays on its multiprocessor, goes through tiles and holds all weights in shared
// memory, which deform_block() loads anew for every 64 pixels: the largest layer of dla_34 at batch 8 reads 0.26
// instead of 0.93 GB from L2 and takes 8 to 9 % less time (benchmarks/gpu.md). Every warpgroup owns a tile of 8x8
// pixels with all outputs and goes at its own pace. It samples straight into the A fragments of wgmma, so that no
// barrier lies between sampling and product.

#include "deform_block_resident.h"
#include "implicit_gemm.cuh"

#include <algorithm>

namespace fairmot {
namespace {

constexpr int kChannels = 64;  // of input and output
constexpr int kPoints = 9;
constexpr int kPredictions = 32;  // outputs of the offset convolution, padded
constexpr int kGroups = 4;        // warpgroups
constexpr int kThreads = kGroups * 128;
constexpr int kTilePixels = kTileWidth * kTileWidth;
constexpr int kHaloWidth = kTileWidth + 2;
constexpr int kHaloPixels = kHaloWidth * kHaloWidth;
constexpr int kHaloPitch = (kHaloPixels | 1) * 16;  // from a chunk to the next; odd in chunks for the banks
constexpr int kPixelBytes = kChannels * 2;

// Shared memory: weights, offset weights, then by warpgroup the predictions and what takes turns: the halo, the table
// of corners, and the output (which covers the predictions too).
constexpr int kTapBytes = kChannels * kPixelBytes;
constexpr int kOffsetTapBytes = kPredictions * kPixelBytes;
constexpr int kWeightBytes = kPoints * (kTapBytes + kOffsetTapBytes);
constexpr int kPredictionBytes = kTilePixels * kPredictions * 4;
constexpr int kGroupBytes = kPredictionBytes + kChannels / kChunk * kHaloPitch;
constexpr int kOutputPitch = kPixelBytes + 16;
constexpr int kSharedBytes = kWeightBytes + kGroups * kGroupBytes;
constexpr int kSharedPercent = ((kSharedBytes + 1024) * 100 + (228 << 10) - 1) / (228 << 10);  // of a multiprocessor's
static_assert(kTilePixels * kPoints * 20 <= kGroupBytes - kPredictionBytes, "the table covers the halo");
static_assert(kTilePixels * kOutputPitch <= kGroupBytes, "the output covers predictions and table");

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Where in row `row` of a weight tile its word `word` (two channels) lies. A lane has chunks q and q + 4 of a pixel, q
// its number of four, and gives word s of both to MMA step s: K of the product is permuted so that word 16 j + 4 q + s
// becomes elements 8 j + 2 q and the next of step s. With the 128-byte swizzle of wgmma, see swizzle().
__device__ __forceinline__ int permuted_word(int row, int word) {
    int const j = word >> 4, q = word >> 2 & 3, step = word & 3;
    return row * (kBlockK / 2) + (((2 * step + j) ^ (row & 7)) << 2) + q;
}

struct Corners {
    uint4 of[2][4];  // of two items, the four corners of a sampling point
};

struct WarpGroup {
    ResidentBlockParams const& p;
    int const thread = threadIdx.x & 127;
    int const group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 7, 0);     // uniform to the compiler
    int const warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 5 & 3, 0);  // of the group
    int const lane = threadIdx.x & 31;
    unsigned char* const weights;
    unsigned char* const own = weights + kWeightBytes + group * kGroupBytes;
    float* const predictions = reinterpret_cast<float*>(own);  // rotated as by prediction_index() of deform_block.cu
    unsigned char* const halo = own + kPredictionBytes;
    float4* const corner_weight = reinterpret_cast<float4*>(halo);  // (points, pixels)
    // (points, pixels): byte offset of the upper left corner, a multiple of 128; bit 0: the right corners lie one pixel
    // on, bit 1: the lower ones one row. Otherwise they are the same, at the border of the map.
    unsigned* const corner_offset = reinterpret_cast<unsigned*>(corner_weight + kPoints * kTilePixels);
    unsigned const row_bytes = p.geometry.width * kPixelBytes;
    int image = 0, top = 0, left = 0;  // of the tile

    __device__ WarpGroup(ResidentBlockParams const& params, unsigned char* smem) : p(params), weights(smem) {}

    __device__ void barrier() const { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

    __device__ void run(int tile, int tiles_x, int tiles_y) {
        int const row_of_tiles = tile / tiles_x;
        image = row_of_tiles / tiles_y;
        top = (row_of_tiles - image * tiles_y) * kTileWidth;
        left = (tile - row_of_tiles * tiles_x) * kTileWidth;
        predict_offsets();
        set_samples();
        float accumulators[kChannels / 8][4];
        mainloop(accumulators);
        epilogue(accumulators);
        barrier();  // all have left the output, over which the next halo is loaded
    }

    // The A operand of a tap is the tile with its halo, shifted by the tap.
    __device__ __forceinline__ void predict_offsets() const {
        Geometry const& g = p.geometry;
        int const chunk = thread & 7;
#pragma unroll
        for (int i = 0; i < (kHaloPixels + 15) / 16; ++i) {
            int const pixel = (thread >> 3) + i * 16;
            int const y = top - 1 + pixel / kHaloWidth, x = left - 1 + pixel % kHaloWidth;
            bool const inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
            unsigned const from = inside ? (image * g.height + y) * row_bytes + x * kPixelBytes : 0;
            if (pixel < kHaloPixels) {
                cp_async_ca(halo + chunk * kHaloPitch + pixel * 16, p.x + from + chunk * 16, inside);
            }
        }
        cp_async_commit();
        cp_async_wait();
        fence_async_proxy();
        barrier();
        float accumulators[kPredictions / 8][4] = {};
        uint64_t const a = interleaved_descriptor(smem_address(halo), kHaloWidth * 16, kHaloPitch);
        uint64_t const b = swizzled_descriptor(smem_address(weights + kPoints * kTapBytes));
#pragma unroll 1
        for (int tap = 0; tap < kPoints; ++tap) {
            wgmma_fence();
            int const a_offset = (tap / 3 * kHaloWidth + tap % 3) * 16;
#pragma unroll
            for (int step = 0; step < kBlockK / 16; ++step) {
                Wgmma<kPredictions>::mma(accumulators, a + ((a_offset + step * 2 * kHaloPitch) >> 4),
                                         b + ((tap * kOffsetTapBytes + step * 32) >> 4));
            }
            wgmma_commit();
        }
        wgmma_wait();
#pragma unroll
        for (int n = 0; n < kPredictions / 8; ++n) {
            int const column = n * 8 + (lane & 3) * 2;
            float2 const bias = *reinterpret_cast<float2 const*>(p.offset_bias + column);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int const m = warp * 16 + (lane >> 2) + i / 2 * 8;
                predictions[m * kPredictions + ((column + i % 2 + m) & (kPredictions - 1))] =
                    accumulators[n][i] + (i % 2 ? bias.y : bias.x);
            }
        }
        barrier();
    }

    __device__ __forceinline__ void set_samples() const {
        Geometry const& g = p.geometry;
        int const m = thread % kTilePixels;
        auto predicted = [&](int channel) {
            return predictions[m * kPredictions + ((channel + m) & (kPredictions - 1))];
        };
#pragma unroll
        for (int i = 0; i < (kPoints + 1) / 2; ++i) {
            int const point = thread / kTilePixels + i * 2;
            if (point < kPoints) {
                Sample const at =
                    locate_sample(g, top + m / kTileWidth, left + m % kTileWidth, point, 3, predicted(2 * point),
                                  predicted(2 * point + 1), sigmoid(predicted(2 * kPoints + point)));
                // Pixels with weight 0 are loaded too, clamped to the map.
                int const upper = max(at.y, 0), lower = min(at.y + 1, g.height - 1);
                int const near = max(at.x, 0), far = min(at.x + 1, g.width - 1);
                corner_offset[point * kTilePixels + m] = ((image * g.height + upper) * row_bytes + near * kPixelBytes) |
                                                         (far > near ? 1u : 0u) | (lower > upper ? 2u : 0u);
                corner_weight[point * kTilePixels + m] = make_float4(at.w00, at.w01, at.w10, at.w11);
            }
        }
        barrier();
    }

    // Eight lanes read a pixel, a pair of rows of the fragment: item 0 is of the even, item 1 of the odd row. The lanes
    // of the odd row read their own pixel's first half, and the even one's second, so that a swap completes both.
    __device__ int pixel_of(int half_of_rows, int item) const {
        return warp * 16 + half_of_rows * 8 + (lane >> 2 & 6) + item;
    }
    __device__ int chunk_of(int item) const { return (lane & 3) + 4 * (item ^ (lane >> 2 & 1)); }

    __device__ __forceinline__ void load_corners(Corners& corners, int tap, int half_of_rows) const {
#pragma unroll
        for (int item = 0; item < 2; ++item) {
            unsigned const packed = corner_offset[tap * kTilePixels + pixel_of(half_of_rows, item)];
            unsigned const right = (packed & 1) * kPixelBytes, down = packed & 2 ? row_bytes : 0;
            unsigned const at = (packed & ~(kPixelBytes - 1u)) + chunk_of(item) * 16;
            corners.of[item][0] = __ldg(reinterpret_cast<uint4 const*>(p.x + at));
            corners.of[item][1] = __ldg(reinterpret_cast<uint4 const*>(p.x + (at + right)));
            corners.of[item][2] = __ldg(reinterpret_cast<uint4 const*>(p.x + (at + down)));
            corners.of[item][3] = __ldg(reinterpret_cast<uint4 const*>(p.x + (at + down + right)));
        }
    }

    // chunks: number lane % 4 and number lane % 4 + 4 of the pixel of this lane's row.
    __device__ __forceinline__ void sample(uint4 (&chunks)[2], Corners const& corners, int tap,
                                           int half_of_rows) const {
        uint4 sums[2];
#pragma unroll
        for (int item = 0; item < 2; ++item) {
            float4 const w = corner_weight[tap * kTilePixels + pixel_of(half_of_rows, item)];
            uint4 const(&c)[4] = corners.of[item];
            sums[item].x = interpolate(c[0].x, c[1].x, c[2].x, c[3].x, w);
            sums[item].y = interpolate(c[0].y, c[1].y, c[2].y, c[3].y, w);
            sums[item].z = interpolate(c[0].z, c[1].z, c[2].z, c[3].z, w);
            sums[item].w = interpolate(c[0].w, c[1].w, c[2].w, c[3].w, w);
        }
        bool const odd = lane & 4;
        uint4 const other = odd ? sums[0] : sums[1];
        chunks[0] = odd ? sums[1] : sums[0];
        chunks[1].x = __shfl_xor_sync(0xffffffffu, other.x, 4);
        chunks[1].y = __shfl_xor_sync(0xffffffffu, other.y, 4);
        chunks[1].z = __shfl_xor_sync(0xffffffffu, other.z, 4);
        chunks[1].w = __shfl_xor_sync(0xffffffffu, other.w, 4);
    }

    __device__ __forceinline__ void mainloop(float (&accumulators)[kChannels / 8][4]) const {
#pragma unroll
        for (int n = 0; n < kChannels / 8; ++n) {
            accumulators[n][0] = accumulators[n][1] = accumulators[n][2] = accumulators[n][3] = 0.0f;
        }
        Corners corners[2];
        load_corners(corners[0], 0, 0);
        load_corners(corners[1], 0, 1);
#pragma unroll 1
        for (int tap = 0; tap < kPoints; ++tap) {
            uint4 chunks[2][2];
#pragma unroll
            for (int half_of_rows = 0; half_of_rows < 2; ++half_of_rows) {
                sample(chunks[half_of_rows], corners[half_of_rows], tap, half_of_rows);
                if (tap + 1 < kPoints) {
                    load_corners(corners[half_of_rows], tap + 1, half_of_rows);
                }
            }
            uint4 const(&c)[2][2] = chunks;
            uint32_t const a[4][4] = {{c[0][0].x, c[1][0].x, c[0][1].x, c[1][1].x},
                                      {c[0][0].y, c[1][0].y, c[0][1].y, c[1][1].y},
                                      {c[0][0].z, c[1][0].z, c[0][1].z, c[1][1].z},
                                      {c[0][0].w, c[1][0].w, c[0][1].w, c[1][1].w}};
            uint64_t const b = swizzled_descriptor(smem_address(weights) + tap * kTapBytes);
            wgmma_fence();
#pragma unroll
            for (int step = 0; step < kBlockK / 16; ++step) {
                Wgmma<kChannels>::mma(accumulators, a[step], b + step * 2);  // 32 bytes on
            }
            wgmma_commit();
            wgmma_wait();
            // The operand must outlive the wait.
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                uint4& chunk = chunks[i / 2][i % 2];
                asm volatile("" : "+r"(chunk.x), "+r"(chunk.y), "+r"(chunk.z), "+r"(chunk.w)::"memory");
            }
        }
        barrier();  // all have read the table, which the output covers
    }

    // Bias, ReLU, and 16-byte stores of the warp's own rows by way of shared memory.
    __device__ __forceinline__ void epilogue(float const (&accumulators)[kChannels / 8][4]) const {
        Geometry const& g = p.geometry;
        float const floor = p.relu ? 0.0f : -INFINITY;
        unsigned char* const rows = own + warp * 16 * kOutputPitch;
#pragma unroll
        for (int n = 0; n < kChannels / 8; ++n) {
            int const column = n * 8 + (lane & 3) * 2;
            float2 const bias = *reinterpret_cast<float2 const*>(p.bias + column);
            unsigned char* const to = rows + (lane >> 2) * kOutputPitch + column * 2;
            *reinterpret_cast<uint32_t*>(to) =
                pack_half2(accumulators[n][0] + bias.x, accumulators[n][1] + bias.y, floor);
            *reinterpret_cast<uint32_t*>(to + 8 * kOutputPitch) =
                pack_half2(accumulators[n][2] + bias.x, accumulators[n][3] + bias.y, floor);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int const local = i * 4 + lane / 8, m = warp * 16 + local;
            int const row = top + m / kTileWidth, column = left + m % kTileWidth;
            if (row < g.height && column < g.width) {
                int64_t const pixel = (image * g.height + row) * g.width + column;
                *reinterpret_cast<uint4*>(p.y + pixel * kChannels + lane % 8 * kChunk) =
                    *reinterpret_cast<uint4 const*>(rows + local * kOutputPitch + lane % 8 * 16);
            }
        }
    }
};
#endif

__global__ void __launch_bounds__(kThreads, 1) resident_block(ResidentBlockParams const p, int tiles_x, int tiles_y) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ __align__(1024) unsigned char smem[];
#pragma unroll
    for (int i = 0; i < kPoints * kTapBytes / 16 / kThreads; ++i) {
        int const chunk = threadIdx.x + i * kThreads;
        uint4 const value = __ldg(reinterpret_cast<uint4 const*>(p.weight) + chunk);
        int const row = chunk / 8, word = chunk % 8 * 4;
        uint32_t* const to = reinterpret_cast<uint32_t*>(smem);
        to[permuted_word(row, word)] = value.x;
        to[permuted_word(row, word + 1)] = value.y;
        to[permuted_word(row, word + 2)] = value.z;
        to[permuted_word(row, word + 3)] = value.w;
    }
    for (int chunk = threadIdx.x; chunk < kPoints * kOffsetTapBytes / 16; chunk += kThreads) {
        *reinterpret_cast<uint4*>(smem + kPoints * kTapBytes + swizzle(chunk / 8, chunk % 8) * 2) =
            __ldg(reinterpret_cast<uint4 const*>(p.offset_weight) + chunk);
    }
    fence_async_proxy();
    __syncthreads();
    WarpGroup group(p, smem);
    int const tiles = tiles_x * tiles_y * p.batch;
    // Neighboring tiles to one multiprocessor; those of the last, partial round to as many as there are.
    int const round = gridDim.x * kGroups, whole = tiles / round;
#pragma unroll 1
    for (int i = 0; i <= whole; ++i) {
        int const tile =
            i * round + (i < whole ? blockIdx.x * kGroups + group.group : group.group * gridDim.x + blockIdx.x);
        if (tile < tiles) {
            group.run(tile, tiles_x, tiles_y);
        }
    }
#endif
}

int tiles_along(int size) { return (size + kTileWidth - 1) / kTileWidth; }

int device_attribute(cudaDeviceAttr attribute) {
    int device = 0, value = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&value, attribute, device);
    return value;
}

}  // namespace

// Every warpgroup has a tile at least. Batch 1 of dla_34 at 1088x608 (646 tiles, 132 multiprocessors) is above that:
// its largest layers gain 8 % there, of which the network shows nothing (benchmarks/gpu.md).
bool prefers_resident_block(int batch, int height, int width, int in_channels, int out_channels) {
    return in_channels == kChannels && out_channels == kChannels &&
           int64_t{batch} * tiles_along(height) * tiles_along(width) >=
               kGroups * device_attribute(cudaDevAttrMultiProcessorCount) &&
           device_attribute(cudaDevAttrComputeCapabilityMajor) == 9;
}

cudaError_t deform_block_resident(ResidentBlockParams const& params, cudaStream_t stream) {
    cudaError_t error = cudaFuncSetAttribute(resident_block, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
    // The rest of the unified cache (256 KB, 228 of them at most for shared memory) is for the corners.
    if (error == cudaSuccess) {
        error = cudaFuncSetAttribute(resident_block, cudaFuncAttributePreferredSharedMemoryCarveout, kSharedPercent);
    }
    if (error != cudaSuccess) {
        return error;
    }
    int const tiles_x = tiles_along(params.geometry.width), tiles_y = tiles_along(params.geometry.height);
    int const blocks = std::min(tiles_x * tiles_y * params.batch, device_attribute(cudaDevAttrMultiProcessorCount));
    resident_block<<<blocks, kThreads, kSharedBytes, stream>>>(params, tiles_x, tiles_y);
    return cudaGetLastError();
}

}  // namespace fairmot
