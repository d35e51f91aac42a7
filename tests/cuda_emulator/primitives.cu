// One kernel for each primitive of kernels/device: operands from global memory, results back to it.
#include "device/mma.cuh"
#include "device/philox.cuh"
#include "device/reduce.cuh"

// Sum, maximum, prefix sum and argmax of a warp.
KERNEL(32) warp_reductions(const float* x, const int* n, float* sum, float* most, int* prefix, Indexed* best) {
    const unsigned i = blockIdx.x * 32 + threadIdx.x;
    sum[i] = warp_sum(x[i]);
    most[i] = warp_max(x[i]);
    prefix[i] = warp_prefix(n[i]);
    best[i] = warp_argmax({x[i], static_cast<int>(threadIdx.x)});
}

KERNEL(1024) block_reductions(const float* x, float* sum, float* most, Indexed* best) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    sum[i] = block_sum(x[i]);
    most[i] = block_max(x[i]);
    best[i] = block_argmax({x[i], static_cast<int>(threadIdx.x)});
}

KERNEL(128) random_words(uint4* words, float4* normal, uint2 key, int blocks) {
    const int i = static_cast<int>(global_thread());
    if (i >= blocks) return;
    const uint4 counter = make_uint4(i, 3, 5, 7);
    words[i] = philox(key, counter);
    normal[i] = normals(key, counter);
}

KERNEL(128) random_numbers(const unsigned* words, float* numbers, int n) {
    const int i = static_cast<int>(global_thread());
    if (i >= n) return;
    float* out = numbers + 6 * i;
    out[0] = uniform(words[i]);
    out[1] = uniform_open(words[i]);
    out[2] = exact_ln(uniform_open(words[i]));
    out[3] = exact_exp(-90.0f + 170.0f * uniform(words[i]));
    const float2 sin_cos = exact_sin_cos_turn(words[i] >> 8);
    out[4] = sin_cos.x;
    out[5] = __uint_as_float(below(words[i], 1000));
}

// Copies n units of BYTES through shared memory in three stages; units from `valid` on become zeros.
template <int BYTES>
__device__ __forceinline__ void staged_copy(const unsigned char* from, unsigned char* to, int n, int valid) {
    constexpr int STAGES = 3;
    SHARED(uint4, stages, [STAGES][32]);
    const int rounds = n / 32;
    for (int round = 0; round < rounds + STAGES - 1; ++round) {
        if (round < rounds) {
            const int unit = round * 32 + threadIdx.x;
            unsigned char* place = reinterpret_cast<unsigned char*>(stages[round % STAGES]) + BYTES * threadIdx.x;
            copy_async<BYTES>(place, from + BYTES * (unit < valid ? unit : 0), unit < valid);
        }
        copy_commit();
        if (round < STAGES - 1) continue;
        copy_wait<STAGES - 1>();
        __syncthreads();
        const int done = round - (STAGES - 1);
        const unsigned char* tile = reinterpret_cast<const unsigned char*>(stages[done % STAGES]);
        // Reversed, so that every thread reads what another one copied.
        const int other = 31 - threadIdx.x;
        for (int byte = 0; byte < BYTES; ++byte) to[BYTES * (done * 32 + other) + byte] = tile[BYTES * other + byte];
        __syncthreads();
    }
}
KERNEL(32) staged_copy_4(const unsigned char* from, unsigned char* to, int n, int valid) {
    staged_copy<4>(from, to, n, valid);
}
KERNEL(32) staged_copy_8(const unsigned char* from, unsigned char* to, int n, int valid) {
    staged_copy<8>(from, to, n, valid);
}
KERNEL(32) staged_copy_16(const unsigned char* from, unsigned char* to, int n, int valid) {
    staged_copy<16>(from, to, n, valid);
}

KERNEL(128) formats(const float* x, unsigned* packed, float2* unpacked, unsigned* rounded, int n) {
    const int i = static_cast<int>(global_thread());
    if (i >= n) return;
    packed[i] = pack_bf16(x[i], -x[i]);
    unpacked[i] = unpack_bf16(packed[i]);
    rounded[i] = to_tf32(x[i]);
}

// What each lane gets of four matrices of 8 x 8 words; out: [form][lane][4].
KERNEL(32) matrix_loads(const uint16_t* x, unsigned* out) {
    SHARED(uint16_t, tile, [32][8]);
    for (int column = 0; column < 8; ++column) tile[threadIdx.x][column] = x[8 * threadIdx.x + column];
    __syncthreads();
    const void* row = tile[threadIdx.x];
    unsigned one[1], two[2], four[4];
    unsigned* mine = out + 4 * threadIdx.x;
#define DUMP(form, function, registers, count) \
    function(registers, row);                  \
    for (int i = 0; i < count; ++i) mine[128 * form + i] = registers[i];
    DUMP(0, ldmatrix_x1, one, 1)
    DUMP(1, ldmatrix_x2, two, 2)
    DUMP(2, ldmatrix_x4, four, 4)
    DUMP(3, ldmatrix_x1_trans, one, 1)
    DUMP(4, ldmatrix_x2_trans, two, 2)
    DUMP(5, ldmatrix_x4_trans, four, 4)
}

#if ARCHITECTURE >= 80

// d (16 x 8) += a (16 x 16) b (16 x 8), all row major, a and b bf16.
KERNEL(32) product_bf16(const bf16* a, const bf16* b, float* d) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    auto pair = [](bf16 low, bf16 high) { return static_cast<unsigned>(low) | static_cast<unsigned>(high) << 16; };
    unsigned left[4], right[2];
    for (int i = 0; i < 4; ++i) {
        const bf16* from = a + 16 * (g + 8 * (i % 2)) + 2 * t + 8 * (i / 2);
        left[i] = pair(from[0], from[1]);
    }
    for (int i = 0; i < 2; ++i) {
        const bf16* from = b + 8 * (2 * t + 8 * i) + g;
        right[i] = pair(from[0], from[8]);
    }
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = d[8 * (g + 8 * (i / 2)) + 2 * t + i % 2];
    mma_m16n8k16_bf16(sum, left, right);
    for (int i = 0; i < 4; ++i) d[8 * (g + 8 * (i / 2)) + 2 * t + i % 2] = sum[i];
}

// d (16 x 8) += a (16 x 8) b (8 x 8), all row major floats, rounded to tf32.
KERNEL(32) product_tf32(const float* a, const float* b, float* d) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned left[4], right[2];
    for (int i = 0; i < 4; ++i) left[i] = to_tf32(a[8 * (g + 8 * (i % 2)) + t + 4 * (i / 2)]);
    for (int i = 0; i < 2; ++i) right[i] = to_tf32(b[8 * (t + 4 * i) + g]);
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = d[8 * (g + 8 * (i / 2)) + 2 * t + i % 2];
    mma_m16n8k8_tf32(sum, left, right);
    for (int i = 0; i < 4; ++i) d[8 * (g + 8 * (i / 2)) + 2 * t + i % 2] = sum[i];
}

#endif

KERNEL(64) rows(const int* counts, int* valid, int rows_, int groups) {
    const int i = static_cast<int>(global_thread());
    if (i < rows_) valid[i] = valid_row(i, rows_, counts, groups);
}
