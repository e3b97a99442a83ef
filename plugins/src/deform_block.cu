#include "deform_block.h"
#include "deform_conv_tile.cuh"

namespace fairmot {

constexpr int kPredicted = 32;  // outputs of the offset convolution, with the padding
constexpr int kEntries = 9;     // taps

// A tile whose shared memory serves the offset convolution of the same pixels first.
template <typename Base>
struct BlockTile : Base {
    static constexpr int stage_bytes = (Base::block_m + kPredicted) * kStage * 2;
    static constexpr int product_bytes = Base::shared_bytes(kEntries);
    static constexpr int bytes = product_bytes > 3 * stage_bytes ? product_bytes : 3 * stage_bytes;
    static constexpr int ring = bytes / stage_bytes > 4 ? 4 : bytes / stage_bytes;  // stages at once
    // A warp's share; without warp groups, the first two warps of a row of warps have 16 columns each.
    static constexpr int predicted_n = Base::grouped ? kPredicted / Base::groups_n / 8 : 2;
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

// The offset convolution, a product like the other with columns at whole positions, which are copied. Leaves the sums
// of this block's stages in `predictions`, which overlaps what it used.
template <typename T, bool kDense>
__device__ void predict(BlockParams const& p, Worker<T, kDense> const& w, unsigned char* shared, float* predictions) {
    Product const& product = p.product;
    Geometry const& g = product.geometry;
    half* const columns = reinterpret_cast<half*>(shared);          // ring x (block_m, 64)
    half* const weights = columns + T::ring * T::block_m * kStage;  // ring x (32, 64)

    int image, row, column;
    w.locate(w.own_row, image, row, column);
    int const vectors = product.vectors;
    int tap = (w.begin * 8 + w.piece) / vectors;
    int vector = w.begin * 8 + w.piece - tap * vectors;
    half const* from_weights =
        p.offset_weight + (static_cast<int64_t>(w.begin) * kPredicted + w.own_row) * kStage + w.piece * kVector;
    unsigned char const* const origin = product.x + (static_cast<int64_t>(image) * g.height + row) * w.row_bytes +
                                        column * static_cast<int>(w.pixel_bytes);
    // Rows of the tile that this thread copies are kStep rows of the map apart, in one column. Bit `tap` says whether
    // that tap of the row's pixel is inside the map.
    constexpr int kStep = T::rows / kTileWidth;
    unsigned inside[T::items];
    unsigned const across = (column > 0 && column <= g.width ? 0111u : 0u) | (column < g.width ? 0222u : 0u) |
                            (column + 1 < g.width ? 0444u : 0u);
#pragma unroll
    for (int i = 0; i < T::items; ++i) {
        int const y = row + i * kStep;
        inside[i] = across & ((y > 0 && y <= g.height ? 07u : 0u) | (y < g.height ? 070u : 0u) |
                              (y + 1 < g.height ? 0700u : 0u));
    }
    auto fetch = [&](int slot) {
        int const tap_y = (tap * 11) >> 5;  // tap / 3
        int const across_and_down = (tap_y - 1) * static_cast<int>(w.row_bytes) +
                                    (tap - tap_y * 3 - 1) * static_cast<int>(w.pixel_bytes) + vector * 16;
        unsigned char const* from = origin + across_and_down;
        half* const to = columns + slot * T::block_m * kStage + w.own_place;
#pragma unroll
        for (int i = 0; i < T::items; ++i) {
            copy_async_cached(to + i * T::rows * kStage, from, inside[i] >> tap & 1);
            from += kStep * w.row_bytes;
        }
#pragma unroll
        for (int i = 0; i < (kPredicted + T::rows - 1) / T::rows; ++i) {
            if (kPredicted % T::rows == 0 || w.own_row + i * T::rows < kPredicted) {
                copy_async(weights + slot * kPredicted * kStage + w.own_place + i * T::rows * kStage,
                           from_weights + i * T::rows * kStage, 1);
            }
        }
        from_weights += kPredicted * kStage;
        vector += 8;
        if constexpr (kDense) {
            bool const wraps = vector >= vectors;
            vector -= wraps ? vectors : 0;
            tap += wraps;
        } else {
            while (vector >= vectors) {
                vector -= vectors;
                ++tap;
            }
        }
    };

    float sums[T::tiles_m][T::predicted_n][4] = {};
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    uint64_t const left_matrix = matrix_descriptor(shared_address(columns + w.warp_m / 4 * 64 * kStage));
    uint64_t const right_matrix = matrix_descriptor(shared_address(weights + w.warp_n * T::predicted_n * 8 * kStage));
#endif
    bool const works = T::grouped || w.warp_n < 2;
    // As many stages at once as there is room for: the fence between copies and product waits for all copies anyway.
    for (int first = w.begin; first < w.end; first += T::ring) {
        int const count = min(T::ring, w.end - first);
        if (first > w.begin) {
            __syncthreads();  // all have left the stages before
        }
        for (int slot = 0; slot < count; ++slot) {
            fetch(slot);
        }
        copies_commit();
        copies_wait();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        publish_writes();
#endif
        __syncthreads();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        if constexpr (T::grouped) {
            for (int slot = 0; slot < count; ++slot) {
                group_begin();
                uint64_t const left = left_matrix + slot * (T::columns_bytes >> 4);
                uint64_t const right = right_matrix + slot * (kPredicted * kStage * 2 >> 4);
#pragma unroll
                for (int step = 0; step < kStage / 16; ++step) {
                    WarpGroup<T::predicted_n * 8>::multiply(sums[0], left + step * 2, right + step * 2);
                }
                group_commit();
            }
            group_wait();
        }
#endif
        if constexpr (!T::grouped) {
            for (int slot = 0; works && slot < count; ++slot) {
                half* const a = columns + slot * T::block_m * kStage;
                half* const b = weights + slot * kPredicted * kStage;
                uint32_t const left_place =
                    shared_address(a + swizzled(w.warp_m * T::tiles_m * 16 + (w.lane & 15), w.lane >> 4));
                uint32_t const right_place = shared_address(
                    b + swizzled(w.warp_n * 16 + (w.lane & 7) + ((w.lane >> 4) << 3), (w.lane >> 3) & 1));
#pragma unroll
                for (int step = 0; step < kStage / 16; ++step) {
                    uint32_t right[4];
                    load_matrices(right, right_place ^ (step * 32));
#pragma unroll
                    for (int m = 0; m < T::tiles_m; ++m) {
                        uint32_t left[4];
                        load_matrices(left, (left_place ^ (step * 32)) + m * 16 * kStage * 2);
                        multiply(sums[m][0], left, right[0], right[1]);
                        multiply(sums[m][1], left, right[2], right[3]);
                    }
                }
            }
        }
    }
    __syncthreads();
    if (works) {
#pragma unroll
        for (int m = 0; m < T::tiles_m; ++m) {
#pragma unroll
            for (int n = 0; n < T::predicted_n; ++n) {
                int const at = (w.warp_m * T::tiles_m + m) * 16 + (w.lane >> 2);
                int const channel = (w.warp_n * T::predicted_n + n) * 8 + (w.lane & 3) * 2;
                predictions[prediction(at, channel)] = sums[m][n][0];
                predictions[prediction(at, channel + 1)] = sums[m][n][1];
                predictions[prediction(at + 8, channel)] = sums[m][n][2];
                predictions[prediction(at + 8, channel + 1)] = sums[m][n][3];
            }
        }
    }
}

template <typename T, bool kDense>
__global__ void __launch_bounds__(T::threads, T::blocks) deform_block(BlockParams const p) {
    extern __shared__ __align__(1024) unsigned char shared[];
    static_assert(2 * T::block_m * kPredicted * 4 <= 2 * T::columns_bytes, "predictions fit over the columns");
    Worker<T, kDense> worker(p.product, shared);
    float* const partial = reinterpret_cast<float*>(shared);  // (block_m, 32): sums of this block's stages
    float* total = partial;                                   // of all blocks of the cluster
    predict(p, worker, shared, partial);
    worker.fetch_weights(0);  // into what lies behind the columns

#if __CUDA_ARCH__ >= 900
    auto const cluster = cooperative_groups::this_cluster();
    if (worker.ranks > 1) {
        // Each block adds up some pixels and hands the sums to all.
        total = partial + T::block_m * kPredicted;
        cluster.sync();
        int const share = T::block_m / worker.ranks * kPredicted;
        for (int i = worker.rank * share + threadIdx.x; i < (worker.rank + 1) * share; i += T::threads) {
            float sum = 0.0f;
#pragma unroll 1
            for (int other = 0; other < worker.ranks; ++other) {
                sum += *cluster.map_shared_rank(partial + i, other);
            }
#pragma unroll 1
            for (int other = 0; other < worker.ranks; ++other) {
                *cluster.map_shared_rank(total + i, other) = sum;
            }
        }
        cluster.sync();
    } else {
        __syncthreads();
    }
#else
    __syncthreads();
#endif

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
            float const delta_y = total[prediction(m, 2 * entry)] + __ldg(p.offset_bias + 2 * entry);
            float const delta_x = total[prediction(m, 2 * entry + 1)] + __ldg(p.offset_bias + 2 * entry + 1);
            float const logit =
                total[prediction(m, 2 * kEntries + entry)] + __ldg(p.offset_bias + 2 * kEntries + entry);
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
