#include "upsample.h"

#include <cstdint>
#include <cuda_fp16.h>

namespace fairmot {
namespace {

constexpr int kChunk = 8;  // halves in a 16-byte chunk
constexpr int kThreads = 256;

__device__ __forceinline__ void unpack(uint4 const& packed, float (&values)[kChunk]) {
    half2 const* const pairs = reinterpret_cast<half2 const*>(&packed);
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
        float2 const pair = __half22float2(pairs[i]);
        values[2 * i] = pair.x;
        values[2 * i + 1] = pair.y;
    }
}

__device__ __forceinline__ uint4 pack(float const (&values)[kChunk]) {
    uint4 packed;
    half2* const pairs = reinterpret_cast<half2*>(&packed);
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
        pairs[i] = __floats2half2_rn(values[2 * i], values[2 * i + 1]);
    }
    return packed;
}

// With kernel 2 f and stride f every output pixel accumulators over two input rows and two columns.
__global__ void __launch_bounds__(kThreads)
    upsample_add(uint4 const* x, uint4 const* weight, uint4 const* skip, uint4* y, int chunks, int height, int width,
                 int factor, int64_t total) {
    int64_t const i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= total) {
        return;
    }
    int const chunk = static_cast<int>(i % chunks);
    int64_t const pixel = i / chunks;
    int const out_width = width * factor;
    int const column = static_cast<int>(pixel % out_width);
    int64_t const rows = pixel / out_width;
    int const row = static_cast<int>(rows % (height * factor));
    int64_t const image = rows / (height * factor);
    int const tap_y = (row + factor / 2) % factor;
    int const tap_x = (column + factor / 2) % factor;
    int const in_row = (row + factor / 2) / factor;  // of tap_y; tap_y + factor belongs to the row above
    int const in_column = (column + factor / 2) / factor;

    float accumulators[kChunk];
    unpack(skip[i], accumulators);
#pragma unroll
    for (int dy = 0; dy < 2; ++dy) {
#pragma unroll
        for (int dx = 0; dx < 2; ++dx) {
            int const from_row = in_row - dy;
            int const from_column = in_column - dx;
            if (from_row < 0 || from_row >= height || from_column < 0 || from_column >= width) {
                continue;
            }
            float values[kChunk], factors[kChunk];
            unpack(__ldg(x + ((image * height + from_row) * width + from_column) * chunks + chunk), values);
            unpack(__ldg(weight + ((tap_y + dy * factor) * 2 * factor + tap_x + dx * factor) * chunks + chunk),
                   factors);
#pragma unroll
            for (int j = 0; j < kChunk; ++j) {
                accumulators[j] += values[j] * factors[j];
            }
        }
    }
    y[i] = pack(accumulators);
}

constexpr int kPixels = 32;                   // per thread block, one per lane when storing
constexpr int kReaders = kThreads / kPixels;  // threads that load one pixel

__global__ void __launch_bounds__(kThreads)
    normalize_embedding(uint4 const* x, float* y, int chunks, int pixels, int64_t total) {
    extern __shared__ float values[];  // (channels, kPixels + 1)
    int const local = threadIdx.x / kReaders;
    int const reader = threadIdx.x % kReaders;
    int64_t const first = static_cast<int64_t>(blockIdx.x) * kPixels;
    float squares = 0.0f;
    if (first + local < total) {
        for (int chunk = reader; chunk < chunks; chunk += kReaders) {
            float read[kChunk];
            unpack(x[(first + local) * chunks + chunk], read);
#pragma unroll
            for (int j = 0; j < kChunk; ++j) {
                squares += read[j] * read[j];
                values[(chunk * kChunk + j) * (kPixels + 1) + local] = read[j];
            }
        }
    }
#pragma unroll
    for (int step = 1; step < kReaders; step *= 2) {
        squares += __shfl_xor_sync(0xffffffffu, squares, step);
    }
    __shared__ float factor[kPixels];
    if (reader == 0) {
        factor[local] = 1.0f / fmaxf(sqrtf(squares), 1e-12f);
    }
    __syncthreads();
    int const lane = threadIdx.x % kPixels;
    int64_t const index = first + lane;
    if (index >= total) {
        return;
    }
    int64_t const image = index / pixels;
    int64_t const pixel = index - image * pixels;
    int const channels = chunks * kChunk;
    for (int channel = threadIdx.x / kPixels; channel < channels; channel += kThreads / kPixels) {
        y[(image * channels + channel) * pixels + pixel] = values[channel * (kPixels + 1) + lane] * factor[lane];
    }
}

}  // namespace

cudaError_t upsampleAdd(int batch, int channels, int height, int width, int factor, void const* x, void const* weight,
                        void const* skip, void* y, cudaStream_t stream) {
    if (channels % kChunk || factor < 2 || factor % 2) {
        return cudaErrorInvalidValue;
    }
    int64_t const total = static_cast<int64_t>(batch) * height * factor * width * factor * (channels / kChunk);
    upsample_add<<<static_cast<unsigned>((total + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
        static_cast<uint4 const*>(x), static_cast<uint4 const*>(weight), static_cast<uint4 const*>(skip),
        static_cast<uint4*>(y), channels / kChunk, height, width, factor, total);
    return cudaGetLastError();
}

cudaError_t normalizeEmbedding(int batch, int channels, int height, int width, void const* x, float* y,
                               cudaStream_t stream) {
    if (channels % kChunk) {
        return cudaErrorInvalidValue;
    }
    size_t const shared = static_cast<size_t>(channels) * (kPixels + 1) * sizeof(float);
    cudaError_t const error = cudaFuncSetAttribute(normalize_embedding, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(shared));
    if (error != cudaSuccess) {
        return error;
    }
    int64_t const total = static_cast<int64_t>(batch) * height * width;
    normalize_embedding<<<static_cast<unsigned>((total + kPixels - 1) / kPixels), kThreads, shared, stream>>>(
        static_cast<uint4 const*>(x), y, channels / kChunk, height * width, total);
    return cudaGetLastError();
}

}  // namespace fairmot
