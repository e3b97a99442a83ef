// Runs CUDA kernels on the CPU: every thread of a block is a fiber, blocks run one after the other.
// Enough of CUDA for engine/cuda/kernels/*.cu: barriers, full-warp shuffles, atomics on int and unsigned.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct Index3 {
    unsigned x = 0, y = 0, z = 0;
};

static Index3 threadIdx, blockIdx, blockDim, gridDim;

using std::max;
using std::min;

namespace cuda_on_cpu {

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Fiber {
    ucontext_t context;
    State state;
    std::vector<char> stack;
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static size_t running;
static std::vector<unsigned long long> exchange;
static std::function<void()> body;

static void entry() {
    body();
    fibers[running].state = State::kDone;
    swapcontext(&fibers[running].context, &scheduler);
}

static void wait(State state) {
    fibers[running].state = state;
    swapcontext(&fibers[running].context, &scheduler);
}

static bool release(size_t first, size_t last, State state) {
    bool any = false;
    for (size_t i = first; i < last; ++i) {
        if (fibers[i].state == State::kReady) return false;
        if (fibers[i].state != State::kDone && fibers[i].state != state) return false;
        any |= fibers[i].state == state;
    }
    for (size_t i = first; i < last && any; ++i) {
        if (fibers[i].state == state) fibers[i].state = State::kReady;
    }
    return any;
}

static void runBlock(size_t threads) {
    if (fibers.size() < threads) fibers.resize(threads);
    exchange.resize(threads);
    for (size_t i = 0; i < threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.stack.resize(32768);
        fiber.state = State::kReady;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, entry, 0);
    }
    while (true) {
        // Backwards: threads have no order, and what relies on one would rather rely on this one's reverse.
        for (size_t i = threads; i-- > 0;) {
            if (fibers[i].state != State::kReady) continue;
            running = i;
            threadIdx.x = i % blockDim.x;
            threadIdx.y = i / blockDim.x % blockDim.y;
            threadIdx.z = i / blockDim.x / blockDim.y;
            swapcontext(&scheduler, &fibers[i].context);
        }
        bool progress = false, done = true;
        for (size_t warp = 0; warp < threads; warp += 32) {
            progress |= release(warp, std::min(warp + 32, threads), State::kAtWarpBarrier);
        }
        if (!progress) progress = release(0, threads, State::kAtBlockBarrier);
        for (size_t i = 0; i < threads; ++i) done &= fibers[i].state == State::kDone;
        if (done) return;
        if (!progress) std::abort();  // threads wait for others that never come
    }
}

template <class T>
T exchangeWith(T value, unsigned lane, bool valid) {
    size_t const own = running;
    exchange[own] = 0;
    std::memcpy(&exchange[own], &value, sizeof(T));
    wait(State::kAtWarpBarrier);
    T result = value;
    if (valid) std::memcpy(&result, &exchange[own / 32 * 32 + lane], sizeof(T));
    wait(State::kAtWarpBarrier);
    return result;
}

template <class T>
T take(char const*& start, char const* base) {
    size_t const offset = (start - base + alignof(T) - 1) / alignof(T) * alignof(T);
    T value;
    std::memcpy(&value, base + offset, sizeof(T));
    start = base + offset + sizeof(T);
    return value;
}

// `arguments` is laid out as for cuLaunchKernel's CU_LAUNCH_PARAM_BUFFER_POINTER, which is what pycuda uses.
// Returns how many bytes of it the kernel's parameters take.
template <class... Parameters>
size_t launch(void (*kernel)(Parameters...), unsigned const* grid, unsigned const* block, char const* arguments) {
    char const* cursor = arguments;
    std::tuple<Parameters...> values{take<Parameters>(cursor, arguments)...};
    body = [&] { std::apply(kernel, values); };
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x) runBlock(size_t(block[0]) * block[1] * block[2]);
    return cursor - arguments;
}

}  // namespace cuda_on_cpu

static inline void __syncthreads() { cuda_on_cpu::wait(cuda_on_cpu::State::kAtBlockBarrier); }

static inline unsigned lane() { return cuda_on_cpu::running % 32; }

template <class T>
T __shfl_up_sync(unsigned, T value, unsigned delta) {
    return cuda_on_cpu::exchangeWith(value, lane() - delta, lane() >= delta);
}

template <class T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) {
    return cuda_on_cpu::exchangeWith(value, lane() ^ mask, true);
}

template <class T>
T atomicAdd(T* address, T value) {
    T const before = *address;
    *address += value;
    return before;
}

template <class T>
T __ldg(T const* address) {
    return *address;
}

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
