// The tiles of the channels-last kernels: parameters, tile shapes, their choice and the launch.
#pragma once

#include "sampling.cuh"
#include "tensor_core.cuh"

#include <cuda_runtime_api.h>

namespace fairmot {

constexpr int kTileWidth = 8;  // pixels; near pixels sample near places, so 8 x 8 hits the cache more often than 64 x 1

// The GEMM of sampled columns (M: output pixels, K: taps x channels) and weights (N: output channels), see
// DeformConvTensors.
struct GemmParams {
    unsigned char const* x;
    half const* weight;
    float const* bias;
    half* y;
    Geometry geometry;
    int batch;
    int chunks;            // channels / 8
    int chunks_per_group;  // of one offset group
    int out_channels;
    int k_tiles;
    int tiles_x, tiles_y;  // tiles per image
    bool relu;
};

template <int kBlockM_, int kBlockN_, int kWarpsM_, int kWarpsN_, int kMinBlocks_>
struct Tile {
    static constexpr int block_m = kBlockM_;  // pixels
    static constexpr int block_n = kBlockN_;  // output channels
    static constexpr int warps_n = kWarpsN_;
    static constexpr int min_blocks = kMinBlocks_;  // resident on a multiprocessor
    static constexpr int threads = kWarpsM_ * kWarpsN_ * 32;
    static constexpr int rows_per_pass = threads / 8;  // that all threads copy at once, eight 16-byte chunks each
    static constexpr int a_passes = block_m / rows_per_pass;
    static constexpr int b_passes = (block_n + rows_per_pass - 1) / rows_per_pass;
    // A warp's share of the tile, in MMA atoms of 16 x 8. With wgmma a warpgroup owns 64 rows, and all its warps have
    // the same columns.
    static constexpr bool uses_wgmma = kHasWgmma && block_m % 64 == 0;
    static constexpr int warpgroups_n = threads / 128 / (block_m / 64 > 0 ? block_m / 64 : 1);
    static constexpr int mma_m = uses_wgmma ? 1 : block_m / kWarpsM_ / 16;
    static constexpr int mma_n = uses_wgmma ? block_n / warpgroups_n / 8 : block_n / kWarpsN_ / 8;
    static constexpr int epilogue_pitch = block_n + 4;  // floats
    static constexpr int a_bytes = block_m * kBlockK * 2;
    static constexpr int b_bytes = block_n * kBlockK * 2;
    static constexpr int mainloop_bytes = 2 * (a_bytes + b_bytes);
    static constexpr int epilogue_bytes = block_m * epilogue_pitch * 4;
    static constexpr int gemm_bytes = mainloop_bytes > epilogue_bytes ? mainloop_bytes : epilogue_bytes;
    static_assert(a_passes * rows_per_pass == block_m && rows_per_pass % 8 == 0, "whole passes");
    static_assert(block_m % (kWarpsM_ * 16) == 0 && block_n % (kWarpsN_ * 16) == 0 && mma_n > 0, "whole MMA atoms");

    // With the offsets and weights of `points` sampling points a pixel.
    static constexpr size_t smem_bytes(int points) {
        return gemm_bytes + block_m * (4 + static_cast<size_t>(points) * 32);
    }
};

using Tile0 = Tile<64, 32, 4, 2, 3>;
using Tile1 = Tile<32, 64, 2, 4, 4>;
using Tile2 = Tile<64, 64, 2, 2, 4>;
using Tile3 = Tile<64, 128, 2, 2, 3>;
using Tile4 = Tile<64, 256, 2, 4, 2>;

// Number of the tile (0 for Tile0) and of the blocks that divide its k-tiles: 1, 2, 4 or 8, above 1 on sm_90 and later
// alone, as they reduce through a cluster.
struct Tactic {
    int tile;
    int split_k;
};

Tactic choose_tactic(int batch, int out_height, int out_width, int out_channels, int k_tiles, int points);

inline int k_tiles_of(int taps, int channels) { return (taps * channels + kBlockK - 1) / kBlockK; }

// Launch with the tiles of all images along x, output channels along y and the split of K along z.
template <typename T, typename Kernel, typename Params>
cudaError_t launch_tiles(Kernel* kernel, Params params, size_t smem_bytes, int split_k, cudaStream_t stream) {
    GemmParams& p = params.gemm;
    int const rows = T::block_m / kTileWidth;
    p.tiles_x = (p.geometry.out_width + kTileWidth - 1) / kTileWidth;
    p.tiles_y = (p.geometry.out_pixels / p.geometry.out_width + rows - 1) / rows;
    cudaError_t const error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(smem_bytes));
    if (error != cudaSuccess) {
        return error;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(p.tiles_x * p.tiles_y * p.batch, (p.out_channels + T::block_n - 1) / T::block_n, split_k);
    config.blockDim = dim3(T::threads);
    config.dynamicSmemBytes = smem_bytes;
    config.stream = stream;
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = 1;
    cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = static_cast<unsigned>(split_k);
    config.attrs = &cluster;
    config.numAttrs = split_k > 1 ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace fairmot
