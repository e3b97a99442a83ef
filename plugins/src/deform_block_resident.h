// The deformable block of 64 to 64 channels on Hopper with all weights resident in shared memory.
#pragma once

#include "deform_conv_tile.cuh"

namespace fairmot {

// As DeformBlockTensors and GemmParams: weights packed (k-tiles, outputs, 64).
struct ResidentBlockParams {
    unsigned char const* x;
    half const* offset_weight;
    float const* offset_bias;
    half const* weight;
    float const* bias;
    half* y;
    Geometry geometry;
    int batch;
    bool relu;
};

// Whether deform_block_resident() is the faster one, and can run: code for sm_90a, and maps of many tiles.
bool prefers_resident_block(int batch, int height, int width, int in_channels, int out_channels);

cudaError_t deform_block_resident(ResidentBlockParams const& params, cudaStream_t stream);

}  // namespace fairmot
