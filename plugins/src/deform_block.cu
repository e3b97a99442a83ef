#include "deform_block.h"
#include "deform_block_resident.h"
#include "implicit_gemm.cuh"

namespace fairmot {

constexpr int kOffsetN = 32;  // outputs of the offset convolution, padded to whole MMA atoms
constexpr int kTaps = 9;

// A tile whose shared memory serves the offset convolution of the same pixels first. A pipeline stage of that holds 64
// channels: the tile with its halo and the weights of all taps.
template <typename Base>
struct BlockTile : Base {
    // The tile and a halo of one pixel, row by row, one 16-byte chunk (8 channels) a pixel; then the next of the 8
    // chunks. An odd pitch in chunks puts the 8 chunks of a pixel, which are stored at once, in different banks.
    static constexpr int halo_width = kTileWidth + 2;
    static constexpr int halo_pixels = halo_width * (Base::block_m / kTileWidth + 2);
    static constexpr int halo_pitch = (halo_pixels | 1) * 16;
    static constexpr int halo_bytes = kBlockK / kChunk * halo_pitch;
    static constexpr int tap_bytes = kOffsetN * kBlockK * 2;  // weights of one tap for 64 channels
    static constexpr int stage_bytes = kTaps * tap_bytes + halo_bytes;
    static constexpr int main_bytes = Base::smem_bytes(kTaps);
    static constexpr int stages = main_bytes >= 2 * stage_bytes ? 2 : 1;
    static constexpr int block_bytes = main_bytes > stage_bytes ? main_bytes : stage_bytes;
    // A warp has all outputs or, without wgmma, 16 of them; the warps that this leaves slice K.
    static constexpr int offset_mma_n = Base::uses_wgmma ? kOffsetN / 8 : 2;
    static constexpr int k_slices = Base::uses_wgmma ? Base::warpgroups_n : Base::warps_n / 2;
    static_assert(Base::block_m <= 64, "one MMA has all pixels");
};

namespace {

struct BlockParams {
    GemmParams gemm;
    half const* offset_weight;
    float const* offset_bias;
};

// Index of (pixel of the tile, channel) in the predictions in shared memory, rotated so that neither rows nor columns
// of 32 conflict in their banks.
__device__ __forceinline__ int prediction_index(int m, int channel) {
    return m * kOffsetN + ((channel + m) & (kOffsetN - 1));
}

// The offset convolution as an implicit GEMM: the tile with its halo is copied once for 64 channels, and the A operand
// of a tap is that copy shifted by the tap. Leaves this block's split of K in `predictions`, which aliases the
// operands.
template <typename T, bool kDense>
__device__ void predict_offsets(BlockParams const& p, ImplicitGemm<T, kDense> const& w, unsigned char* smem,
                                float* predictions) {
    GemmParams const& gemm = p.gemm;
    Geometry const& g = gemm.geometry;
    unsigned char* const weights = smem;                                      // stages x 9 x (32, 64)
    unsigned char* const halos = weights + T::stages * kTaps * T::tap_bytes;  // stages x 8 x (halo_pixels, 8)

    // The blocks of a cluster divide the taps of all channel tiles in order, so that few of these are loaded twice.
    int const steps = (gemm.chunks + 7) / 8 * kTaps;
    int const begin = steps * w.split / w.split_k;
    int const end = steps * (w.split + 1) / w.split_k;
    int const first_channel_tile = begin / kTaps;
    int const channel_tiles = (end - 1) / kTaps + 1 - first_channel_tile;

    int image, row, column;
    w.locate_pixel(0, image, row, column);
    auto load_stage = [&](int iteration) {
        int const stage = iteration % T::stages;
        int const channel_tile = first_channel_tile + iteration;
        int const channel_chunk = channel_tile * 8 + w.chunk;
        bool const predicate = kDense || channel_chunk < gemm.chunks;
        if (iteration < channel_tiles) {
            unsigned char* const to = halos + stage * T::halo_bytes + w.chunk * T::halo_pitch + w.load_row * 16;
#pragma unroll
            for (int i = 0; i < (T::halo_pixels + T::rows_per_pass - 1) / T::rows_per_pass; ++i) {
                int const pixel = w.load_row + i * T::rows_per_pass;
                int const y = row - 1 + pixel / T::halo_width;
                int const x = column - 1 + pixel % T::halo_width;
                bool const inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
                unsigned const from = (image * g.height + y) * w.row_bytes + x * w.pixel_bytes + channel_chunk * 16;
                if (pixel < T::halo_pixels) {
                    cp_async_ca(to + i * T::rows_per_pass * 16, gemm.x + from, predicate && inside);
                }
            }
        }
#pragma unroll 1
        for (int tap = max(0, begin - channel_tile * kTaps); tap < min(kTaps, end - channel_tile * kTaps); ++tap) {
            int const k_chunk = tap * gemm.chunks + channel_chunk;  // of a row of the packed weights
            half const* const from =
                p.offset_weight + (k_chunk / 8 * kOffsetN + w.load_row) * kBlockK + k_chunk % 8 * kChunk;
            half* const to = reinterpret_cast<half*>(weights + (stage * kTaps + tap) * T::tap_bytes) + w.load_offset;
            // The padded outputs are never read.
#pragma unroll
            for (int i = 0; i < (3 * kTaps + T::rows_per_pass - 1) / T::rows_per_pass; ++i) {
                if (w.load_row + i * T::rows_per_pass < 3 * kTaps) {
                    cp_async_cg(to + i * T::rows_per_pass * kBlockK, from + i * T::rows_per_pass * kBlockK, predicate);
                }
            }
        }
        cp_async_commit();
    };

    // The warps of one row of warps divide the outputs and, sliced-K, the MMA steps of 16 channels.
    int const k_slice = T::uses_wgmma ? w.warp_n : w.warp_n / 2;
    int const first_column = T::uses_wgmma ? 0 : w.warp_n % 2 * 16;
    int const own_column = first_column + (w.lane & 3) * 2;
    float accumulators[T::mma_m][T::offset_mma_n][4] = {};
    float2 bias[T::offset_mma_n];  // overlaps the copies
#pragma unroll
    for (int n = 0; n < T::offset_mma_n; ++n) {
        bool const adds = w.split == 0 && k_slice == 0;  // once in the reduction
        bias[n] = adds ? *reinterpret_cast<float2 const*>(p.offset_bias + own_column + n * 8) : make_float2(0.0f, 0.0f);
    }
    int const own_pixel = w.warp_m * T::mma_m * 16 + (w.lane & 15);
    uint32_t const a_address = smem_address(halos) + (k_slice * 2 + (w.lane >> 4)) * T::halo_pitch +
                               (own_pixel / kTileWidth * T::halo_width + own_pixel % kTileWidth) * 16;
    uint32_t const b_address =
        smem_address(weights) +
        swizzle(first_column + (w.lane & 7) + ((w.lane >> 4) << 3), k_slice * 2 + ((w.lane >> 3) & 1)) * 2;
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    uint64_t const a_descriptor =
        interleaved_descriptor(smem_address(halos) + k_slice * 2 * T::halo_pitch, T::halo_width * 16, T::halo_pitch);
    uint64_t const b_descriptor = swizzled_descriptor(smem_address(weights) + k_slice * 32);
#endif
    auto mma_channel_tile = [&](int iteration) {
        int const stage = iteration % T::stages;
        int const channel_tile = first_channel_tile + iteration;
        cp_async_wait<T::stages - 1>();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        fence_async_proxy();
#endif
        __syncthreads();
#pragma unroll 1
        for (int tap = max(0, begin - channel_tile * kTaps); tap < min(kTaps, end - channel_tile * kTaps); ++tap) {
            int const a_offset = stage * T::halo_bytes + (tap / 3 * T::halo_width + tap % 3) * 16;
            int const b_offset = (stage * kTaps + tap) * T::tap_bytes;
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
            if constexpr (T::uses_wgmma) {
                wgmma_fence();
            }
#endif
#pragma unroll
            for (int step = 0; step < kBlockK / 16; step += T::k_slices) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
                if constexpr (T::uses_wgmma) {
                    Wgmma<kOffsetN>::mma(accumulators[0], a_descriptor + ((a_offset + step * 2 * T::halo_pitch) >> 4),
                                         b_descriptor + ((b_offset + step * 32) >> 4));
                    continue;
                }
#endif
                uint32_t b[4];
                ldmatrix_x4(b, (b_address + b_offset) ^ (step * 32));
#pragma unroll
                for (int m = 0; m < T::mma_m; ++m) {
                    uint32_t a[4];
                    ldmatrix_x4(a, a_address + a_offset + (step * T::halo_pitch + m * T::halo_width * 16) * 2);
                    mma_m16n8k16(accumulators[m][0], a, b[0], b[1]);
                    mma_m16n8k16(accumulators[m][1], a, b[2], b[3]);
                }
            }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
            if constexpr (T::uses_wgmma) {
                wgmma_commit();
            }
#endif
        }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if constexpr (T::uses_wgmma) {
            wgmma_wait();
        }
#endif
    };
#pragma unroll 1
    for (int iteration = -T::stages; iteration < channel_tiles; ++iteration) {
        if (iteration >= 0) {
            mma_channel_tile(iteration);
            if (iteration + T::stages < channel_tiles) {
                __syncthreads();  // all warps have left the stage that is loaded next
            }
        }
        load_stage(iteration + T::stages);
    }
#pragma unroll
    for (int slice = 0; slice < T::k_slices; ++slice) {
        __syncthreads();
        if (k_slice == slice) {
#pragma unroll
            for (int m = 0; m < T::mma_m; ++m) {
#pragma unroll
                for (int n = 0; n < T::offset_mma_n; ++n) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        int const at = (w.warp_m * T::mma_m + m) * 16 + (w.lane >> 2) + i / 2 * 8;
                        float& sum = predictions[prediction_index(at, own_column + n * 8 + i % 2)];
                        sum = accumulators[m][n][i] + (slice > 0 ? sum : i % 2 ? bias[n].y : bias[n].x);
                    }
                }
            }
        }
    }
}

template <typename T, bool kDense>
__global__ void __launch_bounds__(T::threads, T::min_blocks) deform_block(BlockParams const p) {
    extern __shared__ __align__(1024) unsigned char smem[];
    static_assert(2 * T::block_m * kOffsetN * 4 <= 2 * T::a_bytes, "predictions fit over the A operand");
    ImplicitGemm<T, kDense> gemm(p.gemm, smem);
    float* const partial = reinterpret_cast<float*>(smem);  // (block_m, 32): this block's split of K
    float* total = partial;                                 // reduced over the cluster
    predict_offsets(p, gemm, smem, partial);

#if __CUDA_ARCH__ >= 900
    if (gemm.split_k > 1) {
        // All-reduce: each block sums its share of the pixels and stores it in all blocks.
        auto const cluster = cooperative_groups::this_cluster();
        total = partial + T::block_m * kOffsetN;
        cluster.sync();
        int const share = T::block_m * kOffsetN / 4 / gemm.split_k;
        for (int i = gemm.split * share + threadIdx.x; i < (gemm.split + 1) * share; i += T::threads) {
            float4 const sum = cluster_sum(reinterpret_cast<float4*>(partial) + i, gemm.split_k);
#pragma unroll 1
            for (int other = 0; other < gemm.split_k; ++other) {
                *cluster.map_shared_rank(reinterpret_cast<float4*>(total) + i, other) = sum;
            }
        }
        cluster.sync();
    } else {
        __syncthreads();
    }
#else
    __syncthreads();
#endif
    gemm.load_b(0);  // late: the barriers of a cluster would wait for it

    Geometry const& g = p.gemm.geometry;
    int const m = threadIdx.x % T::block_m;
    int image, row, column;
    bool const valid = gemm.locate_pixel(m, image, row, column);
    if (threadIdx.x < T::block_m) {
        gemm.output_pixel[m] = valid ? image * g.out_pixels + row * g.out_width + column : -1;
    }
    constexpr int kStep = T::threads / T::block_m;
#pragma unroll
    for (int i = 0; i < (kTaps + kStep - 1) / kStep; ++i) {
        int const point = threadIdx.x / T::block_m + i * kStep;
        if (point < kTaps) {
            float const delta_y = total[prediction_index(m, 2 * point)];
            float const delta_x = total[prediction_index(m, 2 * point + 1)];
            float const logit = total[prediction_index(m, 2 * kTaps + point)];
            gemm.set_sample(point, m, valid, image, row, column, delta_y, delta_x, sigmoid(logit));
        }
    }
    __syncthreads();
    gemm.run();
}

template <typename T>
cudaError_t launch(BlockParams const& p, int split_k, cudaStream_t stream) {
    bool const dense = p.gemm.chunks % 8 == 0 && p.gemm.out_channels % T::block_n == 0;
    auto* const kernel = dense ? deform_block<T, true> : deform_block<T, false>;
    return launch_tiles<T>(kernel, p, T::block_bytes, split_k, stream);
}

}  // namespace

bool deformBlockSupports(int in_channels, int out_channels) {
    return in_channels > 0 && out_channels > 0 && in_channels % kChunk == 0 && out_channels % kChunk == 0;
}

cudaError_t deformBlock(int batch, int in_channels, int height, int width, int out_channels, bool relu,
                        DeformBlockTensors const& t, cudaStream_t stream) {
    if (!deformBlockSupports(in_channels, out_channels)) {
        return cudaErrorInvalidValue;
    }
    if (prefers_resident_block(batch, height, width, in_channels, out_channels)) {
        ResidentBlockParams p{};
        p.x = static_cast<unsigned char const*>(t.x);
        p.offset_weight = static_cast<half const*>(t.offset_weight);
        p.offset_bias = static_cast<float const*>(t.offset_bias);
        p.weight = static_cast<half const*>(t.weight);
        p.bias = static_cast<float const*>(t.bias);
        p.y = static_cast<half*>(t.y);
        p.geometry = {height, width, width, height * width, 3, kTaps, 1, 1, 1, 1, 1, 1, 1};
        p.batch = batch;
        p.relu = relu;
        return deform_block_resident(p, stream);
    }
    BlockParams p{};
    p.gemm.x = static_cast<unsigned char const*>(t.x);
    p.gemm.weight = static_cast<half const*>(t.weight);
    p.gemm.bias = static_cast<float const*>(t.bias);
    p.gemm.y = static_cast<half*>(t.y);
    p.gemm.geometry = {height, width, width, height * width, 3, kTaps, 1, 1, 1, 1, 1, 1, 1};
    p.gemm.batch = batch;
    p.gemm.chunks = p.gemm.chunks_per_group = in_channels / kChunk;
    p.gemm.out_channels = out_channels;
    p.gemm.k_tiles = k_tiles_of(kTaps, in_channels);
    p.gemm.relu = relu;
    p.offset_weight = static_cast<half const*>(t.offset_weight);
    p.offset_bias = static_cast<float const*>(t.offset_bias);
    Tactic const tactic = choose_tactic(batch, height, width, out_channels, p.gemm.k_tiles, kTaps);
    switch (tactic.tile) {
        case 0:
            return launch<BlockTile<Tile0>>(p, tactic.split_k, stream);
        case 1:
            return launch<BlockTile<Tile1>>(p, tactic.split_k, stream);
        case 2:
            return launch<BlockTile<Tile2>>(p, tactic.split_k, stream);
        case 3:
            return launch<BlockTile<Tile3>>(p, tactic.split_k, stream);
        default:
            return launch<BlockTile<Tile4>>(p, tactic.split_k, stream);
    }
}

}  // namespace fairmot
