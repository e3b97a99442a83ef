#include "deform_conv_tile.cuh"

namespace fairmot {

namespace {

constexpr int kSmallTile = 1;

template <typename T>
constexpr int pixels_and_outputs[2] = {T::block_m, T::block_n};

constexpr int const* kTiles[] = {pixels_and_outputs<Tile0>, pixels_and_outputs<Tile1>, pixels_and_outputs<Tile2>,
                                 pixels_and_outputs<Tile3>, pixels_and_outputs<Tile4>};

}  // namespace

// By what was fastest for the layers of dla_34 and dla_34_lite on an H200 (benchmarks/gpu.md).
Tactic choose_tactic(int batch, int out_height, int out_width, int out_channels, int stages, int entries) {
    int device = 0, processors = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    auto blocks_of = [&](int tile) {
        int const rows = kTiles[tile][0] / kTileWidth;
        return batch * ((out_width + kTileWidth - 1) / kTileWidth) * ((out_height + rows - 1) / rows) *
               ((out_channels + kTiles[tile][1] - 1) / kTiles[tile][1]);
    };
    // Split the sums while that still finds idle processors and leaves at least four stages to each block.
    auto splits_of = [&](int tile) {
        int const room = kTiles[tile][1] > 128 ? processors : processors * 13 / 5;  // blocks that run at once
        int splits = 1;
        while (major >= 9 && splits < 8 && blocks_of(tile) * splits * 2 <= room && stages >= splits * 8) {
            splits *= 2;
        }
        return splits;
    };
    int tile = out_channels <= 32 ? 0 : out_channels <= 64 ? 2 : out_channels <= 128 ? 3 : 4;
    bool const idle = out_channels > 32 && out_channels <= 128 && blocks_of(tile) * splits_of(tile) < processors;
    if (idle || entries > 9) {  // many entries need large tables in shared memory
        tile = kSmallTile;
    }
    return {tile, splits_of(tile)};
}

}  // namespace fairmot
