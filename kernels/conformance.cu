// One kernel for each primitive of device/: known registers in, what comes out written down. The processor says what the manual
// says; a GPU says what is so. Nothing here is fast or used by a network.
//
//   mma       D[16,8] = C + A B, A and B rounded, by fragments loaded lane by lane as device/mma.cuh documents
//   ldmatrix  out[lane][2 q + i] = element i of matrix q in that lane; x: [8 matrices, 8 rows, 8], small whole numbers
//   copy      y = x by cp.async in pieces of PIECE_BYTES; every third piece is not valid: zeros
//   reduce    out = sum, largest, index of the largest of 256 values
//
// Cut: one warp (mma, ldmatrix), one block of 256 (copy, reduce). Cost: nothing. Needs: before sm_80 mma is plain arithmetic and
// copies are plain. Constants: PIECE_BYTES 4, 8, 16. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "device/copy.cuh"
#include "device/mma.cuh"
#include "device/reduce.cuh"

#ifndef PIECE_BYTES
#define PIECE_BYTES 16
#endif

KERNEL(32) conformance_mma_bf16(const float* a, const float* b, const float* c, float* d) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    float sum[4] = {c[8 * g + 2 * t], c[8 * g + 2 * t + 1], c[8 * (g + 8) + 2 * t], c[8 * (g + 8) + 2 * t + 1]};
#if __CUDA_ARCH__ >= 800
    const auto pair_a = [&](int row, int k) { return pack_bf16(a[16 * row + k], a[16 * row + k + 1]); };
    const auto pair_b = [&](int k, int column) { return pack_bf16(b[8 * k + column], b[8 * (k + 1) + column]); };
    const uint32_t left[4] = {pair_a(g, 2 * t), pair_a(g + 8, 2 * t), pair_a(g, 2 * t + 8), pair_a(g + 8, 2 * t + 8)};
    const uint32_t right[2] = {pair_b(2 * t, g), pair_b(2 * t + 8, g)};
    mma_m16n8k16_bf16(sum, left, right);
#else
    for (int k = 0; k < 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float x = from_bf16(to_bf16(a[16 * (g + i / 2 * 8) + k]));
            sum[i] += x * from_bf16(to_bf16(b[8 * k + 2 * t + i % 2]));
        }
    }
#endif
#pragma unroll
    for (int i = 0; i < 4; ++i) d[8 * (g + i / 2 * 8) + 2 * t + i % 2] = sum[i];
}

KERNEL(32) conformance_mma_tf32(const float* a, const float* b, const float* c, float* d) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    float sum[4] = {c[8 * g + 2 * t], c[8 * g + 2 * t + 1], c[8 * (g + 8) + 2 * t], c[8 * (g + 8) + 2 * t + 1]};
#if __CUDA_ARCH__ >= 800
    const uint32_t left[4] = {to_tf32(a[8 * g + t]), to_tf32(a[8 * (g + 8) + t]), to_tf32(a[8 * g + t + 4]),
                              to_tf32(a[8 * (g + 8) + t + 4])};
    const uint32_t right[2] = {to_tf32(b[8 * t + g]), to_tf32(b[8 * (t + 4) + g])};
    mma_m16n8k8_tf32(sum, left, right);
#else
    for (int k = 0; k < 8; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float x = __uint_as_float(to_tf32(a[8 * (g + i / 2 * 8) + k]));
            sum[i] += x * __uint_as_float(to_tf32(b[8 * k + 2 * t + i % 2]));
        }
    }
#endif
#pragma unroll
    for (int i = 0; i < 4; ++i) d[8 * (g + i / 2 * 8) + 2 * t + i % 2] = sum[i];
}

#define LDMATRIX_KERNEL(name, matrices)                                                                   \
    KERNEL(32) conformance_##name(const float* x, float* y) {                                             \
        SHARED(bf16, rows, [8 * matrices][8]);                                                            \
        for (int i = threadIdx.x; i < 64 * matrices; i += 32) rows[i / 8][i % 8] = static_cast<bf16>(x[i]); \
        __syncthreads();                                                                                  \
        uint32_t loaded[matrices];                                                                        \
        name(loaded, rows[threadIdx.x % (8 * matrices)]);                                                 \
        _Pragma("unroll") for (int q = 0; q < matrices; ++q) {                                            \
            y[2 * matrices * threadIdx.x + 2 * q] = static_cast<float>(loaded[q] & 0xffffu);              \
            y[2 * matrices * threadIdx.x + 2 * q + 1] = static_cast<float>(loaded[q] >> 16);              \
        }                                                                                                 \
    }
LDMATRIX_KERNEL(ldmatrix_x1, 1)
LDMATRIX_KERNEL(ldmatrix_x2, 2)
LDMATRIX_KERNEL(ldmatrix_x4, 4)
LDMATRIX_KERNEL(ldmatrix_x1_trans, 1)
LDMATRIX_KERNEL(ldmatrix_x2_trans, 2)
LDMATRIX_KERNEL(ldmatrix_x4_trans, 4)

// 256 pieces: one a thread, read back from the neighbour's.
KERNEL(256) conformance_copy(const float* x, float* y) {
    constexpr int VALUES = PIECE_BYTES / 4;
    SHARED(float, pieces, [256][VALUES]);
    copy_async<PIECE_BYTES>(pieces[threadIdx.x], x + VALUES * threadIdx.x, threadIdx.x % 3 != 2);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    const int other = threadIdx.x ^ 1;
#pragma unroll
    for (int i = 0; i < VALUES; ++i) y[VALUES * other + i] = pieces[other][i];
}

KERNEL(256) conformance_reduce(const float* x, float* y) {
    const float value = x[threadIdx.x];
    const float sum = block_sum(value), largest = block_max(value);
    const Indexed best = block_argmax({value, static_cast<int>(threadIdx.x)});
    if (threadIdx.x == 255) {
        y[0] = sum;
        y[1] = largest;
        y[2] = static_cast<float>(best.index);
    }
}
