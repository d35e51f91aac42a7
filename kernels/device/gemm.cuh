// One tile of a matrix product C = A B, for every kernel that is one: products, convolutions as implicit GEMM, their
// gradients.
//
// A kernel says where its operands come from (a Source each) and what happens to the sums; this file does what lies
// between:
//
//   - a block of 256 threads makes a tile of TILE_ROWS x TILE_COLUMNS = 4096 sums; TILE_COLUMNS is 64, or 32 or 16
//     for results that are narrow;
//   - it goes through the length of the sums in steps. A step's part of both operands is read from global memory,
//     rounded to the operand's format, and put into shared memory as words[k][row]: STEP_WORDS words deep. A word is
//     one float, one tf32, or two bf16 that are neighbours along k;
//   - in f32 each thread then makes 4 x 4 sums from float4s of both operands; in tf32 and bf16 each warp makes 32 x
//     16 sums from fragments on the tensor cores. As words, the fragments of m16n8k8 (tf32) and m16n8k16 (bf16) are
//     the same.
//
// PRECISION is f32, tf32 or bf16. Sums are float, in the order of k: the same bits every time.
//
// A Source has `static constexpr bool ALONG_DEPTH` and
//   void start(int slot, int row)          remembers what row `row` needs; slot < SLOTS<rows of the tile>
//   float4 four(int slot, int row, int k)  elements (row, k..k+3) if ALONG_DEPTH, else (row..row+3, k); zeros outside
//   bool skips(int k, int depth)           whether elements k..k+depth are all zero; the same for all threads
#pragma once
#include "device/mma.cuh"

#ifndef TILE_COLUMNS
#define TILE_COLUMNS 64
#endif
#ifndef PRECISION
#define PRECISION f32
#endif

// The name of a kernel: JOINED(conv_fprop) is conv_fprop_bf16_tile64.
#define JOIN_NAMES(op, precision, columns) op##_##precision##_tile##columns
#define JOIN_EXPANDED(op, precision, columns) JOIN_NAMES(op, precision, columns)
#define JOINED(op) JOIN_EXPANDED(op, PRECISION, TILE_COLUMNS)

// Of a block; at most 128 registers a thread.
#define TILE_KERNEL KERNEL(TILE_THREADS, 2)
constexpr int TILE_THREADS = 256;
constexpr int TILE_ROWS = 4096 / TILE_COLUMNS;
constexpr int STEP_WORDS = 16;

// Formats of the operands: PACK elements make a word; `words` gives the four words of a run. PAD keeps the rows of
// shared memory at multiples of 16 bytes and its accesses off each other's banks.
struct f32 {
    static constexpr int PACK = 1, PAD = 4;

    template <class Source>
    static __device__ __forceinline__ uint4 words(Source& source, int slot, int row, int k) {
        const float4 v = source.four(slot, row, k);
        return make_uint4(__float_as_uint(v.x), __float_as_uint(v.y), __float_as_uint(v.z), __float_as_uint(v.w));
    }
};

struct tf32 {
    static constexpr int PACK = 1, PAD = 8;

    template <class Source>
    static __device__ __forceinline__ uint4 words(Source& source, int slot, int row, int k) {
        const float4 v = source.four(slot, row, k);
        return make_uint4(to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w));
    }

#if __CUDA_ARCH__ >= 800
    static __device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
        mma_m16n8k8_tf32(d, a, b);
    }
#endif
};

struct bf16_pairs {
    static constexpr int PACK = 2, PAD = 8;

    // Along k: eight elements of a row. Along the rows: two elements of each of four rows.
    template <class Source>
    static __device__ __forceinline__ uint4 words(Source& source, int slot, int row, int k) {
        const float4 p = source.four(slot, row, k), q = source.four(slot, row, Source::ALONG_DEPTH ? k + 4 : k + 1);
        if (Source::ALONG_DEPTH) {
            return make_uint4(pack_bf16(p.x, p.y), pack_bf16(p.z, p.w), pack_bf16(q.x, q.y), pack_bf16(q.z, q.w));
        }
        return make_uint4(pack_bf16(p.x, q.x), pack_bf16(p.y, q.y), pack_bf16(p.z, q.z), pack_bf16(p.w, q.w));
    }

#if __CUDA_ARCH__ >= 800
    static __device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
        mma_m16n8k16_bf16(d, a, b);
    }
#endif
};

#define FORMAT_f32 f32
#define FORMAT_tf32 tf32
#define FORMAT_bf16 bf16_pairs
#define FORMAT_OF(precision) FORMAT_##precision
#define FORMAT_EXPANDED(precision) FORMAT_OF(precision)
using Format = FORMAT_EXPANDED(PRECISION);

// Elements of k in a step.
constexpr int STEP_DEPTH = STEP_WORDS * Format::PACK;

// Words between rows of shared memory.
template <int ROWS>
constexpr int PITCH = ROWS + Format::PAD;

// How many runs of four words a thread stages in a step.
template <int ROWS>
constexpr int SLOTS = (ROWS * STEP_WORDS / 4 + TILE_THREADS - 1) / TILE_THREADS;

// The run of four words that a thread stages: along k at one row, or along the rows at one word of k.
template <int ROWS, bool ALONG_DEPTH>
struct Run {
    static constexpr int RUNS = ROWS * STEP_WORDS / 4;
    int row, word;
    bool exists;

    __device__ __forceinline__ explicit Run(int slot) {
        const int run = static_cast<int>(threadIdx.x) + slot * TILE_THREADS;
        exists = RUNS % TILE_THREADS == 0 || run < RUNS;
        // Lanes that follow each other read what lies side by side in global memory.
        row = ALONG_DEPTH ? run / (STEP_WORDS / 4) : run % (ROWS / 4) * 4;
        word = ALONG_DEPTH ? run % (STEP_WORDS / 4) * 4 : run / (ROWS / 4);
    }
};

template <int ROWS, class Source>
__device__ __forceinline__ void start(Source& source, int first_row) {
#pragma unroll
    for (int slot = 0; slot < SLOTS<ROWS>; ++slot) {
        const Run<ROWS, Source::ALONG_DEPTH> run(slot);
        if (run.exists) source.start(slot, first_row + run.row);
    }
}

// Puts a step's part of an operand into shared memory as words[k][row].
template <int ROWS, class Source>
__device__ __forceinline__ void stage(unsigned* words, Source& source, int first_row, int k) {
#pragma unroll
    for (int slot = 0; slot < SLOTS<ROWS>; ++slot) {
        const Run<ROWS, Source::ALONG_DEPTH> run(slot);
        if (!run.exists) break;
        const uint4 four = Format::words(source, slot, first_row + run.row, k + run.word * Format::PACK);
        unsigned* to = words + run.word * PITCH<ROWS> + run.row;
        if (Source::ALONG_DEPTH) {
            to[0] = four.x;
            to[PITCH<ROWS>] = four.y;
            to[2 * PITCH<ROWS>] = four.z;
            to[3 * PITCH<ROWS>] = four.w;
        } else {
            *reinterpret_cast<uint4*>(to) = four;
        }
    }
}

// A thread's 16 sums, and where in the tile they are: `each` calls body(row, column, sums) for runs of WIDTH
// neighbouring columns.

// Tensor cores: a warp has 32 x 16 sums, as 2 x 2 products of 16 x 8. A lane (g = lane / 4, t = lane % 4) has in each
// of them columns 2 t and 2 t + 1 of rows g and g + 8.
template <class F>
struct Sums {
    static constexpr int WARP_COLUMNS = TILE_COLUMNS / 16;
    float sum[2][2][4] = {};
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int first_row = threadIdx.x / 32 / WARP_COLUMNS * 32, first_column = threadIdx.x / 32 % WARP_COLUMNS * 16;

    __device__ __forceinline__ void multiply(const unsigned* a, const unsigned* b) {
#pragma unroll
        for (int k = 0; k < STEP_WORDS; k += 8) {
            unsigned left[2][4], right[2][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const unsigned* from = a + (k + t) * PITCH<TILE_ROWS> + first_row + 16 * i + g;
                left[i][0] = from[0];
                left[i][1] = from[8];
                left[i][2] = from[4 * PITCH<TILE_ROWS>];
                left[i][3] = from[4 * PITCH<TILE_ROWS> + 8];
            }
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const unsigned* from = b + (k + t) * PITCH<TILE_COLUMNS> + first_column + 8 * j + g;
                right[j][0] = from[0];
                right[j][1] = from[4 * PITCH<TILE_COLUMNS>];
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int j = 0; j < 2; ++j) F::multiply(sum[i][j], left[i], right[j]);
            }
        }
    }

    template <class Body>
    __device__ __forceinline__ void each(Body body) const {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int row = first_row + 16 * i + g, column = first_column + 8 * j + 2 * t;
                const float upper[2] = {sum[i][j][0], sum[i][j][1]}, lower[2] = {sum[i][j][2], sum[i][j][3]};
                body(row, column, upper);
                body(row + 8, column, lower);
            }
        }
    }
};

// f32: rows 4 y .. 4 y + 3, columns 4 x .. 4 x + 3.
template <>
struct Sums<f32> {
    float sum[4][4] = {};
    int y = threadIdx.x / (TILE_COLUMNS / 4), x = threadIdx.x % (TILE_COLUMNS / 4);

    __device__ __forceinline__ void multiply(const unsigned* a, const unsigned* b) {
        const float4* rows = reinterpret_cast<const float4*>(a) + y;
        const float4* columns = reinterpret_cast<const float4*>(b) + x;
#pragma unroll
        for (int k = 0; k < STEP_WORDS; ++k) {
            const float4 p = rows[k * (PITCH<TILE_ROWS> / 4)], q = columns[k * (PITCH<TILE_COLUMNS> / 4)];
            const float left[4] = {p.x, p.y, p.z, p.w}, right[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) sum[i][j] += left[i] * right[j];
            }
        }
    }

    template <class Body>
    __device__ __forceinline__ void each(Body body) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) body(4 * y + i, 4 * x, sum[i]);
    }
};

using TileSums = Sums<Format>;

// Adds steps first..last of the tile at (row, column) to `sums`. All threads of the block call.
template <class A, class B>
__device__ __forceinline__ void accumulate(TileSums& sums, A& a, B& b, int row, int column, int first, int last) {
    SHARED(unsigned, a_words, [STEP_WORDS * PITCH<TILE_ROWS>]);
    SHARED(unsigned, b_words, [STEP_WORDS * PITCH<TILE_COLUMNS>]);
    start<TILE_ROWS>(a, row);
    start<TILE_COLUMNS>(b, column);
    for (int step = first; step < last; ++step) {
        const int k = step * STEP_DEPTH;
        if (a.skips(k, STEP_DEPTH)) continue;
        stage<TILE_ROWS>(a_words, a, row, k);
        stage<TILE_COLUMNS>(b_words, b, column, k);
        __syncthreads();
        sums.multiply(a_words, b_words);
        __syncthreads();
    }
}

// A matrix in memory as a Source: element (row, k) at `data[row pitch + k]` if DEPTH_LAST, else at `data[k pitch +
// row]`.
// `aligned`: whether runs of four may be read at once (pitch and start are multiples of 4).
template <bool DEPTH_LAST>
struct Matrix {
    static constexpr bool ALONG_DEPTH = DEPTH_LAST;
    const float* __restrict__ data;
    int rows, depth;
    long long pitch;
    bool aligned;

    __device__ __forceinline__ void start(int, int) {}
    __device__ __forceinline__ bool skips(int, int) const { return false; }

    __device__ __forceinline__ float4 four(int, int row, int k) const {
        const float* from = data + (DEPTH_LAST ? row * pitch + k : k * pitch + row);
        // How many of the four lie inside.
        const int inside = DEPTH_LAST ? (row < rows ? depth - k : 0) : (k < depth ? rows - row : 0);
        return four_of(from, inside, aligned);
    }

    static __device__ __forceinline__ float4 four_of(const float* from, int inside, bool aligned) {
        if (inside >= 4 && aligned) return load4(from);
        return make_float4(inside > 0 ? from[0] : 0.0f, inside > 1 ? from[1] : 0.0f, inside > 2 ? from[2] : 0.0f,
                           inside > 3 ? from[3] : 0.0f);
    }
};

// Writes the part of `values` that lies inside a row of `inside` more elements; four or two at once if `aligned`.
template <int WIDTH>
__device__ __forceinline__ void store_run(float* to, const float (&values)[WIDTH], int inside, bool aligned) {
    if constexpr (WIDTH == 4) {
        if (inside >= 4 && aligned) return store4(to, make_float4(values[0], values[1], values[2], values[3]));
    }
    if constexpr (WIDTH == 2) {
        if (inside >= 2 && aligned) {
            *reinterpret_cast<float2*>(to) = make_float2(values[0], values[1]);
            return;
        }
    }
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) {
        if (i < inside) to[i] = values[i];
    }
}
