// Wrappers of the PTX instructions for half-precision GEMM with operands in shared memory: cp.async, ldmatrix and mma
// (sm_80 and later), and Hopper's wgmma (sm_90a). PTX ISA 8.x, sections 9.7.14 and 9.7.15.
#pragma once

#include <cstdint>
#include <cuda_fp16.h>

namespace fairmot {

constexpr int kBlockK = 64;  // halves of K in a k-tile: a row of an operand in shared memory
constexpr int kChunk = 8;    // halves in a 16-byte chunk

__device__ __forceinline__ uint32_t smem_address(void const* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Asynchronous copy of a 16-byte chunk from global to shared memory, bypassing L1. Where `predicate`, 0 or 1, is 0:
// zero fill, and `from` is not read.
__device__ __forceinline__ void cp_async_cg(void* to, void const* from, unsigned predicate) {
    unsigned const bytes = predicate * 16;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_address(to)), "l"(from), "r"(bytes));
}

// The same through L1, for what will be read again.
__device__ __forceinline__ void cp_async_ca(void* to, void const* from, unsigned predicate) {
    unsigned const bytes = predicate * 16;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(smem_address(to)), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;"); }

// Waits for all committed copies but the latest `pending` groups.
template <int pending = 0>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], uint32_t const (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Index of a 16-byte chunk in rows of 64 halves in shared memory: the 128-byte swizzle of wgmma, which is also free of
// bank conflicts for ldmatrix, as that reads the same chunk of eight rows at once.
__device__ __forceinline__ int swizzle(int row, int chunk) { return row * kBlockK + ((chunk ^ (row & 7)) * kChunk); }

// Hopper's asynchronous MMA of a warpgroup (sm_90a): d (64, n) += a (64, 16) b (16, n), both operands in shared memory.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kHasWgmma = true;

template <int n>
struct Wgmma;

template <>
struct Wgmma<16> {
    __device__ static void mma(float (&d)[2][4], uint64_t a, uint64_t b) {
        asm volatile(
            "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7 "
            "}, %8, %9, 1, 1, 1, 0, 0;"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
              "+f"(d[1][3])
            : "l"(a), "l"(b));
    }
};

template <>
struct Wgmma<32> {
    __device__ static void mma(float (&d)[4][4], uint64_t a, uint64_t b) {
        asm volatile(
            "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15 "
            "}, %16, %17, 1, 1, 1, 0, 0;"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
              "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
              "+f"(d[3][2]), "+f"(d[3][3])
            : "l"(a), "l"(b));
    }
};

template <>
struct Wgmma<64> {
    __device__ static void mma(float (&d)[8][4], uint64_t a, uint64_t b) {
        asm volatile(
            "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
            "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31 "
            "}, %32, %33, 1, 1, 1, 0, 0;"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
              "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
              "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
              "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
              "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
            : "l"(a), "l"(b));
    }

    // With a in registers: of each warp 16 rows, the A fragment of m16n8k16.
    __device__ static void mma(float (&d)[8][4], uint32_t const (&a)[4], uint64_t b) {
        asm volatile(
            "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
            "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31 "
            "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
              "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
              "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
              "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
              "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    }
};

template <>
struct Wgmma<128> {
    __device__ static void mma(float (&d)[16][4], uint64_t a, uint64_t b) {
        asm volatile(
            "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
            "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
            "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
            "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63 "
            "}, %64, %65, 1, 1, 1, 0, 0;"
            : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
              "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
              "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
              "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
              "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]),
              "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
              "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]),
              "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]),
              "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]),
              "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
            : "l"(a), "l"(b));
    }
};

// Matrix descriptor of a K-major operand with the 128-byte swizzle, as by swizzle(), aligned to 1024 bytes.
__device__ __forceinline__ uint64_t swizzled_descriptor(uint32_t address) {
    constexpr uint64_t kEightRows = 8 * kBlockK * 2;  // bytes
    return (static_cast<uint64_t>(1) << 62) | ((kEightRows >> 4) << 32) | (static_cast<uint64_t>(1) << 16) |
           ((address & 0x3ffff) >> 4);
}

// Matrix descriptor of a K-major operand without swizzle: core matrices of eight rows of one 16-byte chunk (128 bytes,
// aligned to 16); the next eight rows are `stride_offset` bytes on, the next chunk `leading_offset`. PTX ISA, "Strides"
// of the matrices of wgmma: the leading dimension byte offset (bits 16 to 29) goes from one core matrix to the next
// along K, the stride dimension byte offset (bits 32 to 45) along M or N; likewise CUTLASS's mma_traits_sm90_gmma.hpp
// for LayoutType::INTERLEAVE: ((8,m),(T,2)):((1T,SBO),(1,LBO)).
__device__ __forceinline__ uint64_t interleaved_descriptor(uint32_t address, uint32_t stride_offset,
                                                           uint32_t leading_offset) {
    return (static_cast<uint64_t>(stride_offset >> 4) << 32) | (static_cast<uint64_t>(leading_offset >> 4) << 16) |
           ((address & 0x3ffff) >> 4);
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

// Makes this thread's writes to shared memory visible to the async proxy, through which wgmma reads.
__device__ __forceinline__ void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#else
constexpr bool kHasWgmma = false;
#endif

}  // namespace fairmot
