// Matrix products of a warp on the tensor cores, the loads that feed them, and the number formats that they take. All
// 32 lanes call together. Lane layouts with g = lane / 4 and t = lane % 4; a register holds two 16-bit elements, the
// lower half first.
#pragma once
#include "device/copy.cuh"

// -- Formats

// A float as bf16, to nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ bf16 to_bf16(float value) {
#if !defined(EMULATED) && __CUDA_ARCH__ >= 800
    bf16 result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
    return result;
#else
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<bf16>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
}

__device__ __forceinline__ float from_bf16(bf16 value) { return __uint_as_float(static_cast<uint32_t>(value) << 16); }

// Two floats as a register of two bf16, `low` in the lower half. PTX: cvt.rn.bf16x2.f32.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
#if !defined(EMULATED) && __CUDA_ARCH__ >= 800
    uint32_t result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
#else
    return static_cast<uint32_t>(to_bf16(low)) | static_cast<uint32_t>(to_bf16(high)) << 16;
#endif
}

// The two bf16 of a register as floats, the lower half in x.
__device__ __forceinline__ float2 unpack_bf16(uint32_t pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

// A float with the fraction of tf32 (10 bits), to nearest, ties away from zero, as the bits of a float. PTX:
// cvt.rna.tf32.f32.
__device__ __forceinline__ uint32_t to_tf32(float value) {
#if !defined(EMULATED) && __CUDA_ARCH__ >= 800
    uint32_t result;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(value));
    return result;
#else
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
    return (bits + 0x1000u) & 0xffffe000u;
#endif
}

// -- Loads from shared memory

// Loads 1, 2 or 4 matrices of 8 x 8 16-bit elements. Row r of matrix q begins where lane 8 q + r points (16 bytes each,
// at a multiple of 16); lane l gets of each matrix elements 2 t and 2 t + 1 of row g. PTX:
// ldmatrix.sync.aligned.m8n8.x{1,2,4}.shared.b16. The _trans forms give elements 2 t and 2 t + 1 of column g.
#ifdef EMULATED
#define LDMATRIX(name, matrices)                                                              \
    __device__ __forceinline__ void name(uint32_t (&result)[matrices], const void* row) {     \
        emulated::ldmatrix(EMULATED_HERE, emulator_##name, #name, 8 * matrices, result, row); \
    }
LDMATRIX(ldmatrix_x1, 1)
LDMATRIX(ldmatrix_x2, 2)
LDMATRIX(ldmatrix_x4, 4)
LDMATRIX(ldmatrix_x1_trans, 1)
LDMATRIX(ldmatrix_x2_trans, 2)
LDMATRIX(ldmatrix_x4_trans, 4)
#undef LDMATRIX
#else
#define LDMATRIX_X1(name, kind)                                                     \
    __device__ __forceinline__ void name(uint32_t (&result)[1], const void* row) {  \
        asm volatile("ldmatrix.sync.aligned.m8n8.x1" kind ".shared.b16 {%0}, [%1];" \
                     : "=r"(result[0])                                              \
                     : "r"(shared_address(row))                                     \
                     : "memory");                                                   \
    }
#define LDMATRIX_X2(name, kind)                                                         \
    __device__ __forceinline__ void name(uint32_t (&result)[2], const void* row) {      \
        asm volatile("ldmatrix.sync.aligned.m8n8.x2" kind ".shared.b16 {%0, %1}, [%2];" \
                     : "=r"(result[0]), "=r"(result[1])                                 \
                     : "r"(shared_address(row))                                         \
                     : "memory");                                                       \
    }
#define LDMATRIX_X4(name, kind)                                                                 \
    __device__ __forceinline__ void name(uint32_t (&result)[4], const void* row) {              \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                     : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])       \
                     : "r"(shared_address(row))                                                 \
                     : "memory");                                                               \
    }
LDMATRIX_X1(ldmatrix_x1, "")
LDMATRIX_X1(ldmatrix_x1_trans, ".trans")
LDMATRIX_X2(ldmatrix_x2, "")
LDMATRIX_X2(ldmatrix_x2_trans, ".trans")
LDMATRIX_X4(ldmatrix_x4, "")
LDMATRIX_X4(ldmatrix_x4_trans, ".trans")
#endif

// -- Products, sm_80 and newer

#if __CUDA_ARCH__ >= 800

// D (16 x 8, float) += A (16 x 16, bf16, row major) B (16 x 8, bf16):
//   a[0] = A(g, 2t..)  a[1] = A(g + 8, 2t..)  a[2] = A(g, 2t + 8..)  a[3] = A(g + 8, 2t + 8..)
//   b[0] = B(2t.., g)  b[1] = B(2t + 8.., g)
//   d[0], d[1] = D(g, 2t..)  d[2], d[3] = D(g + 8, 2t..)
// PTX: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef EMULATED
    emulated::mma(EMULATED_HERE, emulator_mma_m16n8k16_bf16, "mma_m16n8k16_bf16", d, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// D (16 x 8, float) += A (16 x 8, tf32, row major) B (8 x 8, tf32); elements as to_tf32 gives them:
//   a[0] = A(g, t)  a[1] = A(g + 8, t)  a[2] = A(g, t + 4)  a[3] = A(g + 8, t + 4)
//   b[0] = B(t, g)  b[1] = B(t + 4, g)
//   d as above
// PTX: mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef EMULATED
    emulated::mma(EMULATED_HERE, emulator_mma_m16n8k8_tf32, "mma_m16n8k8_tf32", d, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#endif
