#include "deform_block.h"
#include "deform_conv_tile.cuh"

namespace fairmot {

constexpr int kPredicted = 32;  // outputs of the offset convolution, with the padding
constexpr int kEntries = 9;     // taps

// A tile whose shared memory serves the offset convolution of the same pixels first.
template <typename Base>
struct BlockTile : Base {
    // The tile and one pixel around it, 8 channels (16 bytes) a pixel, row by row; then the next 8 of 64 channels. An
    // odd number of 16 bytes apart, the eight pieces of one pixel, which are written at once, lie in different banks.
    static constexpr int halo_width = kTileWidth + 2;
    static constexpr int halo_pixels = halo_width * (Base::block_m / kTileWidth + 2);
    static constexpr int halo_pitch = (halo_pixels | 1) * 16;
    static constexpr int halo_bytes = kStage / kVector * halo_pitch;
    static constexpr int tap_bytes = kPredicted * kStage * 2;  // weights of one tap for 64 channels
    static constexpr int group_bytes = kEntries * tap_bytes + halo_bytes;
    static constexpr int product_bytes = Base::shared_bytes(kEntries);
    static constexpr int slots = product_bytes >= 2 * group_bytes ? 2 : 1;  // groups of 64 channels at once
    static constexpr int bytes = product_bytes > group_bytes ? product_bytes : group_bytes;
    // A warp has all outputs or, without warp groups, 16 of them; the warps that this leaves share the sums.
    static constexpr int predicted_n = Base::grouped ? kPredicted / 8 : 2;
    static constexpr int parts = Base::grouped ? Base::groups_n : Base::warps_n / 2;
    static_assert(Base::block_m <= 64, "one product has all pixels");
};

namespace {

struct BlockParams {
    Product product;
    half const* offset_weight;
    float const* offset_bias;
};

// Element (pixel of the tile, channel) of the predictions in shared memory, such that neither rows nor columns of 32
// lie in one bank.
__device__ __forceinline__ int prediction(int m, int channel) {
    return m * kPredicted + ((channel + m) & (kPredicted - 1));
}

// The offset convolution. The tile and the pixels around it are copied once for each group of 64 channels; what a tap
// reads is the tile moved by it. Leaves the sums of this block's share in `predictions`, which overlaps what it used.
template <typename T, bool kDense>
__device__ void predict(BlockParams const& p, Worker<T, kDense> const& w, unsigned char* shared, float* predictions) {
    Product const& product = p.product;
    Geometry const& g = product.geometry;
    unsigned char* const weights = shared;                                      // slots x 9 x (32, 64)
    unsigned char* const halos = weights + T::slots * kEntries * T::tap_bytes;  // slots x 8 x (halo_pixels, 8)

    // The blocks of a cluster share the taps of all groups; one after the other, so that few groups are in two blocks.
    int const products = (product.vectors + 7) / 8 * kEntries;
    int const begin = products * w.rank / w.ranks;
    int const end = products * (w.rank + 1) / w.ranks;
    int const first_group = begin / kEntries;
    int const groups = (end - 1) / kEntries + 1 - first_group;

    int image, row, column;
    w.locate(0, image, row, column);
    auto fetch = [&](int index) {
        int const slot = index % T::slots;
        int const group = first_group + index;
        int const vector = group * 8 + w.piece;
        bool const exists = kDense || vector < product.vectors;
        if (index < groups) {
            unsigned char* const to = halos + slot * T::halo_bytes + w.piece * T::halo_pitch + w.own_row * 16;
#pragma unroll
            for (int i = 0; i < (T::halo_pixels + T::rows - 1) / T::rows; ++i) {
                int const pixel = w.own_row + i * T::rows;
                int const y = row - 1 + pixel / T::halo_width;
                int const x = column - 1 + pixel % T::halo_width;
                bool const inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
                unsigned const from = (image * g.height + y) * w.row_bytes + x * w.pixel_bytes + vector * 16;
                if (pixel < T::halo_pixels) {
                    copy_async_cached(to + i * T::rows * 16, product.x + from, exists && inside);
                }
            }
        }
#pragma unroll 1
        for (int tap = max(0, begin - group * kEntries); tap < min(kEntries, end - group * kEntries); ++tap) {
            int const piece = tap * product.vectors + vector;  // of a row of the packed weights
            half const* const from =
                p.offset_weight + (piece / 8 * kPredicted + w.own_row) * kStage + piece % 8 * kVector;
            half* const to = reinterpret_cast<half*>(weights + (slot * kEntries + tap) * T::tap_bytes) + w.own_place;
            // The outputs of the padding are never read, whatever they hold.
#pragma unroll
            for (int i = 0; i < (3 * kEntries + T::rows - 1) / T::rows; ++i) {
                if (w.own_row + i * T::rows < 3 * kEntries) {
                    copy_async(to + i * T::rows * kStage, from + i * T::rows * kStage, exists);
                }
            }
        }
        copies_commit();
    };

    // The warps of one row of warps share the columns and the steps of 16 channels.
    int const part = T::grouped ? w.warp_n : w.warp_n / 2;
    int const first_column = T::grouped ? 0 : w.warp_n % 2 * 16;
    int const own_column = first_column + (w.lane & 3) * 2;
    float sums[T::tiles_m][T::predicted_n][4] = {};
    float2 bias[T::predicted_n];  // comes while the copies are under way
#pragma unroll
    for (int n = 0; n < T::predicted_n; ++n) {
        bool const adds = w.rank == 0 && part == 0;  // one of those who share the sums
        bias[n] = adds ? *reinterpret_cast<float2 const*>(p.offset_bias + own_column + n * 8) : make_float2(0.0f, 0.0f);
    }
    int const own_pixel = w.warp_m * T::tiles_m * 16 + (w.lane & 15);
    uint32_t const left_place = shared_address(halos) + (part * 2 + (w.lane >> 4)) * T::halo_pitch +
                                (own_pixel / kTileWidth * T::halo_width + own_pixel % kTileWidth) * 16;
    uint32_t const right_place =
        shared_address(weights) +
        swizzled(first_column + (w.lane & 7) + ((w.lane >> 4) << 3), part * 2 + ((w.lane >> 3) & 1)) * 2;
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    uint64_t const left_matrix =
        plain_descriptor(shared_address(halos) + part * 2 * T::halo_pitch, T::halo_width * 16, T::halo_pitch);
    uint64_t const right_matrix = matrix_descriptor(shared_address(weights) + part * 32);
#endif
    auto multiply_group = [&](int index) {
        int const slot = index % T::slots;
        int const group = first_group + index;
        copies_wait<T::slots - 1>();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        publish_writes();
#endif
        __syncthreads();
#pragma unroll 1
        for (int tap = max(0, begin - group * kEntries); tap < min(kEntries, end - group * kEntries); ++tap) {
            int const left_offset = slot * T::halo_bytes + (tap / 3 * T::halo_width + tap % 3) * 16;
            int const right_offset = (slot * kEntries + tap) * T::tap_bytes;
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
            if constexpr (T::grouped) {
                group_begin();
            }
#endif
#pragma unroll
            for (int step = 0; step < kStage / 16; step += T::parts) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
                if constexpr (T::grouped) {
                    WarpGroup<kPredicted>::multiply(sums[0],
                                                    left_matrix + ((left_offset + step * 2 * T::halo_pitch) >> 4),
                                                    right_matrix + ((right_offset + step * 32) >> 4));
                    continue;
                }
#endif
                uint32_t right[4];
                load_matrices(right, (right_place + right_offset) ^ (step * 32));
#pragma unroll
                for (int m = 0; m < T::tiles_m; ++m) {
                    uint32_t left[4];
                    load_matrices(left, left_place + left_offset + (step * T::halo_pitch + m * T::halo_width * 16) * 2);
                    multiply(sums[m][0], left, right[0], right[1]);
                    multiply(sums[m][1], left, right[2], right[3]);
                }
            }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
            if constexpr (T::grouped) {
                group_commit();
            }
#endif
        }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if constexpr (T::grouped) {
            group_wait();
        }
#endif
    };
#pragma unroll 1
    for (int index = -T::slots; index < groups; ++index) {
        if (index >= 0) {
            multiply_group(index);
            if (index + T::slots < groups) {
                __syncthreads();  // all have left what comes next
            }
        }
        fetch(index + T::slots);
    }
#pragma unroll
    for (int turn = 0; turn < T::parts; ++turn) {
        __syncthreads();
        if (part == turn) {
#pragma unroll
            for (int m = 0; m < T::tiles_m; ++m) {
#pragma unroll
                for (int n = 0; n < T::predicted_n; ++n) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        int const at = (w.warp_m * T::tiles_m + m) * 16 + (w.lane >> 2) + i / 2 * 8;
                        float& sum = predictions[prediction(at, own_column + n * 8 + i % 2)];
                        sum = sums[m][n][i] + (turn > 0 ? sum : i % 2 ? bias[n].y : bias[n].x);
                    }
                }
            }
        }
    }
}

template <typename T, bool kDense>
__global__ void __launch_bounds__(T::threads, T::blocks) deform_block(BlockParams const p) {
    extern __shared__ __align__(1024) unsigned char shared[];
    static_assert(2 * T::block_m * kPredicted * 4 <= 2 * T::columns_bytes, "predictions fit over the columns");
    Worker<T, kDense> worker(p.product, shared);
    float* const partial = reinterpret_cast<float*>(shared);  // (block_m, 32): this block's share of the sums
    float* total = partial;                                   // of all blocks of the cluster
    predict(p, worker, shared, partial);

#if __CUDA_ARCH__ >= 900
    if (worker.ranks > 1) {
        // Each block adds up some pixels and hands the sums to all.
        auto const cluster = cooperative_groups::this_cluster();
        total = partial + T::block_m * kPredicted;
        cluster.sync();
        int const share = T::block_m * kPredicted / 4 / worker.ranks;
        for (int i = worker.rank * share + threadIdx.x; i < (worker.rank + 1) * share; i += T::threads) {
            float4 const sum = sum_of_blocks(reinterpret_cast<float4*>(partial) + i, worker.ranks);
#pragma unroll 1
            for (int other = 0; other < worker.ranks; ++other) {
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
    worker.fetch_weights(0);  // late: the barriers of a cluster would wait for it

    Geometry const& g = p.product.geometry;
    int const m = threadIdx.x % T::block_m;
    int image, row, column;
    bool const valid = worker.locate(m, image, row, column);
    if (threadIdx.x < T::block_m) {
        worker.row_pixel[m] = valid ? image * g.out_pixels + row * g.out_width + column : -1;
    }
    constexpr int kStep = T::threads / T::block_m;
#pragma unroll
    for (int i = 0; i < (kEntries + kStep - 1) / kStep; ++i) {
        int const entry = threadIdx.x / T::block_m + i * kStep;
        if (entry < kEntries) {
            float const delta_y = total[prediction(m, 2 * entry)];
            float const delta_x = total[prediction(m, 2 * entry + 1)];
            float const logit = total[prediction(m, 2 * kEntries + entry)];
            worker.place_tap(entry, m, valid, image, row, column, delta_y, delta_x, logistic(logit));
        }
    }
    __syncthreads();
    worker.run();
}

template <typename T>
cudaError_t launch(BlockParams const& p, int splits, cudaStream_t stream) {
    bool const dense = p.product.vectors % 8 == 0 && p.product.out_channels % T::block_n == 0;
    auto* const kernel = dense ? deform_block<T, true> : deform_block<T, false>;
    return launch_tiles<T>(kernel, p, T::bytes, splits, stream);
}

}  // namespace

bool deformBlockSupports(int in_channels, int out_channels) {
    return in_channels > 0 && out_channels > 0 && in_channels % kVector == 0 && out_channels % kVector == 0;
}

cudaError_t deformBlock(int batch, int in_channels, int height, int width, int out_channels, bool relu,
                        DeformBlockTensors const& t, cudaStream_t stream) {
    if (!deformBlockSupports(in_channels, out_channels)) {
        return cudaErrorInvalidValue;
    }
    BlockParams p{};
    p.product.x = static_cast<unsigned char const*>(t.x);
    p.product.weight = static_cast<half const*>(t.weight);
    p.product.bias = static_cast<float const*>(t.bias);
    p.product.y = static_cast<half*>(t.y);
    p.product.geometry = {height, width, width, height * width, 3, kEntries, 1, 1, 1, 1, 1, 1, 1};
    p.product.batch = batch;
    p.product.vectors = p.product.vectors_per_group = in_channels / kVector;
    p.product.out_channels = out_channels;
    p.product.stages = stages_of(kEntries, in_channels);
    p.product.relu = relu;
    p.offset_weight = static_cast<half const*>(t.offset_weight);
    p.offset_bias = static_cast<float const*>(t.offset_bias);
    Tactic const tactic = choose_tactic(batch, height, width, out_channels, p.product.stages, kEntries);
    switch (tactic.tile) {
        case 0:
            return launch<BlockTile<Tile0>>(p, tactic.splits, stream);
        case 1:
            return launch<BlockTile<Tile1>>(p, tactic.splits, stream);
        case 2:
            return launch<BlockTile<Tile2>>(p, tactic.splits, stream);
        case 3:
            return launch<BlockTile<Tile3>>(p, tactic.splits, stream);
        default:
            return launch<BlockTile<Tile4>>(p, tactic.splits, stream);
    }
}

}  // namespace fairmot
