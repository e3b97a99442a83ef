#include "deform_conv_tile.cuh"

#include <cstdint>

namespace fairmot {
namespace {

constexpr int kSmallTile = 1;

template <typename T>
constexpr int tile_shape[2] = {T::block_m, T::block_n};

constexpr int const* kTiles[] = {tile_shape<Tile0>, tile_shape<Tile1>, tile_shape<Tile2>, tile_shape<Tile3>,
                                 tile_shape<Tile4>};

}  // namespace

// Fastest for the layers of dla_34 and dla_34_lite on an H200 (benchmarks/gpu.md).
Tactic choose_tactic(int batch, int out_height, int out_width, int out_channels, int k_tiles, int points) {
    int device = 0, processors = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    auto blocks_of = [&](int tile) -> int64_t {
        int const rows = kTiles[tile][0] / kTileWidth;
        return int64_t{batch} * ((out_width + kTileWidth - 1) / kTileWidth) * ((out_height + rows - 1) / rows) *
               ((out_channels + kTiles[tile][1] - 1) / kTiles[tile][1]);
    };
    // Split K while idle multiprocessors remain and each block keeps at least four k-tiles.
    auto split_k_of = [&](int tile) {
        int const resident = kTiles[tile][1] > 128 ? processors : processors * 13 / 5;  // blocks
        int split_k = 1;
        while (major >= 9 && split_k < 8 && blocks_of(tile) * split_k * 2 <= resident && k_tiles >= split_k * 8) {
            split_k *= 2;
        }
        return split_k;
    };
    int tile = out_channels <= 32 ? 0 : out_channels <= 64 ? 2 : out_channels <= 128 ? 3 : 4;
    bool const idle = out_channels > 32 && out_channels <= 128 && blocks_of(tile) * split_k_of(tile) < processors;
    if (idle || points > 9) {  // their offsets and weights take shared memory
        tile = kSmallTile;
    }
    return {tile, split_k_of(tile)};
}

}  // namespace fairmot
