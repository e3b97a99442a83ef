// Deformable convolution of channels-last maps as an implicit GEMM on the tensor cores: a thread block owns a tile of
// output pixels and channels, samples k-tile by k-tile of the im2col matrix straight into shared memory while the
// product of the k-tile before runs, and never writes that matrix to global memory.
#pragma once

#include "deform_conv_tile.cuh"

#include <cooperative_groups.h>
#include <type_traits>

namespace fairmot {

__device__ __forceinline__ uint32_t pack_half2(float a, float b, float floor) {
    half2 const pair = __floats2half2_rn(fmaxf(a, floor), fmaxf(b, floor));
    return *reinterpret_cast<uint32_t const*>(&pair);
}

__device__ __forceinline__ uint32_t interpolate(uint32_t a, uint32_t b, uint32_t c, uint32_t d, float4 const& w) {
    float2 const fa = __half22float2(*reinterpret_cast<half2 const*>(&a));
    float2 const fb = __half22float2(*reinterpret_cast<half2 const*>(&b));
    float2 const fc = __half22float2(*reinterpret_cast<half2 const*>(&c));
    float2 const fd = __half22float2(*reinterpret_cast<half2 const*>(&d));
    half2 const sum = __floats2half2_rn(w.x * fa.x + w.y * fb.x + w.z * fc.x + w.w * fd.x,
                                        w.x * fa.y + w.y * fb.y + w.z * fc.y + w.w * fd.y);
    return *reinterpret_cast<uint32_t const*>(&sum);
}

#if __CUDA_ARCH__ >= 900
// Sum over the blocks of the cluster at one address of their shared memory. Several loads are in flight before the
// first is used, to hide the latency of distributed shared memory.
__device__ __forceinline__ float4 cluster_sum(float4 const* own, int blocks) {
    constexpr int kInFlight = 4;
    float4 const zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    auto const cluster = cooperative_groups::this_cluster();
    float4 sum = zero;
#pragma unroll 1
    for (int first = 0; first < blocks; first += kInFlight) {
        float4 values[kInFlight];
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
            values[i] = first + i < blocks ? *cluster.map_shared_rank(own, first + i) : zero;
        }
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
            sum.x += values[i].x, sum.y += values[i].y, sum.z += values[i].z, sum.w += values[i].w;
        }
    }
    return sum;
}

// Barrier of the cluster after its reads, whose values are in registers by then. Relaxed: unlike cluster.sync(), it
// does not wait for writes.
__device__ __forceinline__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.relaxed;\n\tbarrier.cluster.wait;" ::: "memory");
}
#endif

// The work of one thread. kDense: kernel 3x3, one offset group, and neither channels nor outputs need predicates:
// both are multiples of the tile.
//
// Use: load_b(0), set_sample() for all sampling points of the tile, __syncthreads(), run().
template <typename T, bool kDense>
struct ImplicitGemm {
    GemmParams const& p;
    half* const smem_a;           // 2 stages x (block_m, 64): sampled columns
    half* const smem_b;           // 2 stages x (block_n, 64): weights
    float* const smem_c;          // (block_m, epilogue_pitch), aliases the operands after the mainloop
    int* const output_pixel;      // (block_m,), number of the pixel in the batch, negative outside the map
    uint4* const corner_offset;   // (points, block_m): byte offsets from x of the four pixels around a sampling point
    float4* const corner_weight;  // (points, block_m): their bilinear weights times the mask
    unsigned const pixel_bytes = p.chunks * 16;
    unsigned const row_bytes = p.geometry.width * pixel_bytes;
    int const warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) >> 5, 0);  // uniform to the compiler
    int const lane = threadIdx.x & 31;
    int const warp_m = T::uses_wgmma ? (warp / 4 / T::warpgroups_n) * 4 + warp % 4 : warp / T::warps_n;
    int const warp_n = T::uses_wgmma ? warp / 4 % T::warpgroups_n : warp % T::warps_n;
    int const first_channel = blockIdx.y * T::block_n;
    // Split-K: the blocks of a cluster, along z, divide the k-tiles.
    int const split = blockIdx.z;
    int const split_k = gridDim.z;
    int const k_begin = p.k_tiles * split / split_k;
    int const k_end = p.k_tiles * (split + 1) / split_k;
    // Every thread copies the same 16-byte chunk of rows load_row, load_row + T::rows_per_pass, ...; T::rows_per_pass
    // is a multiple of 8, so the swizzle is the same and these lie T::rows_per_pass * 64 halves apart.
    int const chunk = threadIdx.x & 7;
    int const load_row = threadIdx.x >> 3;
    int const load_offset = swizzle(load_row, chunk);
    half const* gmem_b;  // of the next k-tile

    __device__ ImplicitGemm(GemmParams const& params, unsigned char* smem)
        : p(params),
          smem_a(reinterpret_cast<half*>(smem)),
          smem_b(smem_a + 2 * T::block_m * kBlockK),
          smem_c(reinterpret_cast<float*>(smem)),
          output_pixel(reinterpret_cast<int*>(smem + T::gemm_bytes)),
          corner_offset(reinterpret_cast<uint4*>(output_pixel + T::block_m)),
          corner_weight(reinterpret_cast<float4*>(corner_offset + points() * T::block_m)),
          gmem_b(p.weight + (static_cast<int64_t>(k_begin) * p.out_channels + first_channel + load_row) * kBlockK +
                 chunk * kChunk) {}

    __device__ int taps() const { return kDense ? 9 : p.geometry.taps; }

    __device__ int points() const { return kDense ? 9 : taps() * p.geometry.offset_groups; }

    // Image, row and column of pixel `m` of the tile; returns whether it is inside the map.
    __device__ bool locate_pixel(int m, int& image, int& row, int& column) const {
        int const tile = blockIdx.x / p.tiles_x;
        image = tile / p.tiles_y;
        row = (tile - image * p.tiles_y) * (T::block_m / kTileWidth) + m / kTileWidth;
        column = (blockIdx.x - tile * p.tiles_x) * kTileWidth + m % kTileWidth;
        return column < p.geometry.out_width && row * p.geometry.out_width < p.geometry.out_pixels;
    }

    __device__ void load_b(int stage) {
#pragma unroll
        for (int i = 0; i < T::b_passes; ++i) {
            int const row = load_row + i * T::rows_per_pass;
            bool const predicate = kDense || first_channel + row < p.out_channels;
            if (T::block_n % T::rows_per_pass == 0 || row < T::block_n) {
                cp_async_cg(smem_b + stage * T::block_n * kBlockK + load_offset + i * T::rows_per_pass * kBlockK,
                            predicate ? gmem_b + i * T::rows_per_pass * kBlockK : p.weight, predicate);
            }
        }
        gmem_b += static_cast<int64_t>(p.out_channels) * kBlockK;
        cp_async_commit();
    }

    // Store offsets and weights of one sampling point of pixel `m`; `image` is ignored if the pixel is not `valid`.
    // 32-bit byte offsets: expectIndexable() in operation.h bounds the map.
    __device__ void set_sample(int point, int m, bool valid, int image, int row, int column, float delta_y,
                               float delta_x, float mask) const {
        Geometry const& g = p.geometry;
        int const tap = kDense || g.offset_groups == 1 ? point : point % taps();
        Sample const at = locate_sample(g, row, column, tap, kDense ? 3 : g.kernel_width, delta_y, delta_x, mask);
        // Pixels with weight 0 are loaded too, clamped to the map.
        int const top = max(at.y, 0), bottom = min(at.y + 1, g.height - 1);
        int const left = max(at.x, 0), right = min(at.x + 1, g.width - 1);
        unsigned const base = valid ? image * g.height : 0;
        unsigned const upper = (base + top) * row_bytes;
        unsigned const lower = (base + bottom) * row_bytes;
        corner_offset[point * T::block_m + m] = make_uint4(upper + left * pixel_bytes, upper + right * pixel_bytes,
                                                           lower + left * pixel_bytes, lower + right * pixel_bytes);
        corner_weight[point * T::block_m + m] = make_float4(at.w00, at.w01, at.w10, at.w11);
    }

    __device__ void run() {
        float accumulators[T::mma_m][T::mma_n][4];
        mainloop(accumulators);
        epilogue(accumulators);
    }

    __device__ __forceinline__ void mainloop(float (&accumulators)[T::mma_m][T::mma_n][4]) {
        int tap = kDense ? k_begin / (p.chunks / 8) : (k_begin * 8 + chunk) / p.chunks;
        int channel_chunk = k_begin * 8 + chunk - tap * p.chunks;
        uint4 corners[T::a_passes][4];
        int sample = 0;  // of `corners`, in corner_offset and corner_weight
        bool predicate = false;
        auto load_corners = [&]() {
            predicate = kDense || tap < taps();
            if (predicate) {
                int const group = kDense || p.geometry.offset_groups == 1 ? 0 : channel_chunk / p.chunks_per_group;
                sample = (group * taps() + tap) * T::block_m + load_row;
                unsigned char const* const from = p.x + channel_chunk * 16;
#pragma unroll
                for (int pass = 0; pass < T::a_passes; ++pass) {
                    uint4 const at = corner_offset[sample + pass * T::rows_per_pass];
                    corners[pass][0] = __ldg(reinterpret_cast<uint4 const*>(from + at.x));
                    corners[pass][1] = __ldg(reinterpret_cast<uint4 const*>(from + at.y));
                    corners[pass][2] = __ldg(reinterpret_cast<uint4 const*>(from + at.z));
                    corners[pass][3] = __ldg(reinterpret_cast<uint4 const*>(from + at.w));
                }
            }
            channel_chunk += 8;
            if constexpr (kDense) {
                bool const wraps = channel_chunk >= p.chunks;  // uniform over the chunks of a k-tile
                channel_chunk -= wraps ? p.chunks : 0;
                tap += wraps;
            } else {
                while (channel_chunk >= p.chunks) {
                    channel_chunk -= p.chunks;
                    ++tap;
                }
            }
        };
        auto store_a = [&](int stage) {
            half* const to = smem_a + stage * T::block_m * kBlockK + load_offset;
#pragma unroll
            for (int pass = 0; pass < T::a_passes; ++pass) {
                uint4 sum = make_uint4(0, 0, 0, 0);
                if (predicate) {
                    float4 const w = corner_weight[sample + pass * T::rows_per_pass];
                    uint4 const(&c)[4] = corners[pass];
                    sum.x = interpolate(c[0].x, c[1].x, c[2].x, c[3].x, w);
                    sum.y = interpolate(c[0].y, c[1].y, c[2].y, c[3].y, w);
                    sum.z = interpolate(c[0].z, c[1].z, c[2].z, c[3].z, w);
                    sum.w = interpolate(c[0].w, c[1].w, c[2].w, c[3].w, w);
                }
                *reinterpret_cast<uint4*>(to + pass * T::rows_per_pass * kBlockK) = sum;
            }
        };

        // This lane's rows of the fragments; the chunk of MMA step s is that of step 0 with 2 s xored in.
        uint32_t const a_address = smem_address(smem_a + swizzle(warp_m * T::mma_m * 16 + (lane & 15), lane >> 4));
        uint32_t const b_address =
            smem_address(smem_b + swizzle(warp_n * T::mma_n * 8 + (lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1));
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        uint64_t const a_descriptor = swizzled_descriptor(smem_address(smem_a + warp_m / 4 * 64 * kBlockK));
        uint64_t const b_descriptor = swizzled_descriptor(smem_address(smem_b + warp_n * T::mma_n * 8 * kBlockK));
#endif
#pragma unroll
        for (int m = 0; m < T::mma_m; ++m) {
#pragma unroll
            for (int n = 0; n < T::mma_n; ++n) {
                accumulators[m][n][0] = accumulators[m][n][1] = accumulators[m][n][2] = accumulators[m][n][3] = 0.0f;
            }
        }
        auto mma_k_tile = [&](int k_tile, auto parity) {
            constexpr int stage = decltype(parity)::value;
            __syncthreads();
            bool const more = k_tile + 1 < k_end;
            if (more) {
                load_b(stage ^ 1);
                if constexpr (!T::uses_wgmma) {
                    load_corners();  // overlaps the MMAs
                }
            }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
            if constexpr (T::uses_wgmma) {
                uint64_t const a = a_descriptor + ((stage * T::block_m * kBlockK * 2) >> 4);
                uint64_t const b = b_descriptor + ((stage * T::block_n * kBlockK * 2) >> 4);
                wgmma_fence();
#pragma unroll
                for (int step = 0; step < kBlockK / 16; ++step) {
                    Wgmma<T::mma_n * 8>::mma(accumulators[0], a + step * 2, b + step * 2);  // 32 bytes on
                }
                wgmma_commit();
                if (more) {
                    store_a(stage ^ 1);
                    // Before the next loads start: the proxy fence would wait for them.
                    cp_async_wait();
                    fence_async_proxy();
                }
                if (k_tile + 2 < k_end) {
                    load_corners();  // overlaps the wait and the barrier
                }
                wgmma_wait();
                return;
            }
#endif
            uint32_t const a_stage = a_address + stage * T::block_m * kBlockK * 2;
            uint32_t const b_stage = b_address + stage * T::block_n * kBlockK * 2;
#pragma unroll
            for (int step = 0; step < kBlockK / 16; ++step) {
                uint32_t a[T::mma_m][4];
#pragma unroll
                for (int m = 0; m < T::mma_m; ++m) {
                    ldmatrix_x4(a[m], (a_stage ^ (step * 32)) + m * 16 * kBlockK * 2);
                }
#pragma unroll
                for (int n = 0; n < T::mma_n; n += 2) {
                    uint32_t b[4];
                    ldmatrix_x4(b, (b_stage ^ (step * 32)) + n * 8 * kBlockK * 2);
#pragma unroll
                    for (int m = 0; m < T::mma_m; ++m) {
                        mma_m16n8k16(accumulators[m][n], a[m], b[0], b[1]);
                        mma_m16n8k16(accumulators[m][n + 1], a[m], b[2], b[3]);
                    }
                }
            }
            if (more) {
                store_a(stage ^ 1);
                cp_async_wait();
            }
        };
        load_corners();
        store_a(0);
        cp_async_wait();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        fence_async_proxy();
#endif
        if (T::uses_wgmma && k_begin + 1 < k_end) {
            load_corners();
        }
        for (int k_tile = k_begin; k_tile < k_end; k_tile += 2) {
            mma_k_tile(k_tile, std::integral_constant<int, 0>{});
            if (k_tile + 1 < k_end) {
                mma_k_tile(k_tile + 1, std::integral_constant<int, 1>{});
            }
        }
        __syncthreads();
    }

    // Accumulators to shared memory, the split-K reduction over the cluster, bias, ReLU, and 16-byte stores.
    __device__ __forceinline__ void epilogue(float const (&accumulators)[T::mma_m][T::mma_n][4]) {
#pragma unroll
        for (int m = 0; m < T::mma_m; ++m) {
#pragma unroll
            for (int n = 0; n < T::mma_n; ++n) {
                int const row = (warp_m * T::mma_m + m) * 16 + (lane >> 2);
                int const column = (warp_n * T::mma_n + n) * 8 + (lane & 3) * 2;
                *reinterpret_cast<float2*>(smem_c + row * T::epilogue_pitch + column) =
                    make_float2(accumulators[m][n][0], accumulators[m][n][1]);
                *reinterpret_cast<float2*>(smem_c + (row + 8) * T::epilogue_pitch + column) =
                    make_float2(accumulators[m][n][2], accumulators[m][n][3]);
            }
        }
        // Every block of the cluster reduces and stores its share of the rows.
#if __CUDA_ARCH__ >= 900
        if (split_k > 1) {
            cooperative_groups::this_cluster().sync();
        } else {
            __syncthreads();
        }
#else
        __syncthreads();
#endif
        constexpr int kChunks = T::block_n / kChunk;
        int const share = T::block_m / split_k;
        int const thread = threadIdx.x;
        int const channel = first_channel + thread % kChunks * kChunk;
        if (channel < p.out_channels) {
            float4 const bias_low = *reinterpret_cast<float4 const*>(p.bias + channel);
            float4 const bias_high = *reinterpret_cast<float4 const*>(p.bias + channel + 4);
            for (int row = split * share + thread / kChunks; row < (split + 1) * share; row += T::threads / kChunks) {
                if (output_pixel[row] < 0) {
                    continue;
                }
                float4 const* const own =
                    reinterpret_cast<float4 const*>(smem_c + row * T::epilogue_pitch + thread % kChunks * kChunk);
#if __CUDA_ARCH__ >= 900
                float4 low = split_k > 1 ? cluster_sum(own, split_k) : own[0];
                float4 high = split_k > 1 ? cluster_sum(own + 1, split_k) : own[1];
#else
                float4 low = own[0];
                float4 high = own[1];
#endif
                low.x += bias_low.x, low.y += bias_low.y, low.z += bias_low.z, low.w += bias_low.w;
                high.x += bias_high.x, high.y += bias_high.y, high.z += bias_high.z, high.w += bias_high.w;
                float const floor = p.relu ? 0.0f : -INFINITY;
                uint4 const packed = make_uint4(pack_half2(low.x, low.y, floor), pack_half2(low.z, low.w, floor),
                                                pack_half2(high.x, high.y, floor), pack_half2(high.z, high.w, floor));
                *reinterpret_cast<uint4*>(p.y + static_cast<int64_t>(output_pixel[row]) * p.out_channels + channel) =
                    packed;
            }
        }
#if __CUDA_ARCH__ >= 900
        if (split_k > 1) {
            cluster_barrier();  // no block may exit while others read its shared memory
        }
#endif
    }
};

}  // namespace fairmot
