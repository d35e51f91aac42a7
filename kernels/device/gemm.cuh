// One tile of a matrix product C = A B, for every kernel that is one: products, convolutions as implicit GEMM, their
// gradients.
//
// A kernel says where its operands come from (a Source each) and what happens to the sums; this file does what lies
// between:
//
//   - a block of 256 threads makes a tile of TILE_ROWS x TILE_COLUMNS sums: 64 x 64, 128 x 32 or 256 x 16 (results
//     that are narrow), or 128 x 64, twice as many for the same staging of one operand (results that are large);
//   - it goes through the length of the sums in steps. A step's part of both operands is read from global memory into
//     registers while the sums of the step before are made; then it is rounded to the operand's format and put into
//     the other of two buffers of shared memory, as words[k][row]: STEP_WORDS words deep. A word is one float, one
//     tf32, or two bf16 that are neighbours along k;
//   - in f32 each thread makes 4 or 8 x 4 sums from float4s of both operands; in tf32 and bf16 each warp makes 32 x 16
//     or 32 x 32 sums from fragments on the tensor cores. As words, the fragments of m16n8k8 (tf32) and m16n8k16
//     (bf16) are the same.
//
// PRECISION is f32, tf32 or bf16. Sums are float, in the order of k: the same bits every time.
//
// A Source has
//   Element                                float, or Bf16 if its memory holds that
//   static constexpr bool ALONG_DEPTH      whether it is read along k or along the rows
//   void start(int slot, int row)          remembers what row `row` needs; slot < SLOTS<rows of the tile>
//   void step(int quad, int k)             what all slots of this thread share in a step; quad < QUADS
//   Quad<Element> four(int slot, int quad, int row, int k)
//                                          elements (row, k..k+3) if ALONG_DEPTH, else (row..row+3, k); zeros outside
//   bool skips(int k, int depth)           whether elements k..k+depth are all zero; the same for all threads
#pragma once
#include "device/element.cuh"

#ifndef TILE_COLUMNS
#define TILE_COLUMNS 64
#endif
#ifndef TILE_ROWS
#define TILE_ROWS 64
#endif
#ifndef PRECISION
#define PRECISION f32
#endif

// The name of a kernel: JOINED(conv_fprop) is conv_fprop_bf16_tile128x64.
#define JOIN_NAMES(op, precision, rows, columns) op##_##precision##_tile##rows##x##columns
#define JOIN_EXPANDED(op, precision, rows, columns) JOIN_NAMES(op, precision, rows, columns)
#define JOINED(op) JOIN_EXPANDED(op, PRECISION, TILE_ROWS, TILE_COLUMNS)

// Of a block; at most 128 registers a thread.
#define TILE_KERNEL KERNEL(TILE_THREADS, 2)
constexpr int TILE_THREADS = 256;
constexpr int STEP_WORDS = 16;

// Formats of the operands: PACK elements make a word, QUADS reads of four elements a run of four words. PAD keeps the rows
// of shared memory at multiples of 16 bytes and its accesses off each other's banks.
struct f32 {
    static constexpr int PACK = 1, QUADS = 1, PAD = 4;
    static constexpr bool SWIZZLED = false;

    template <bool ALONG_DEPTH>
    static __device__ __forceinline__ uint4 words(const float4 (&quads)[1]) {
        const float4 v = quads[0];
        return make_uint4(__float_as_uint(v.x), __float_as_uint(v.y), __float_as_uint(v.z), __float_as_uint(v.w));
    }
};

struct tf32 {
    static constexpr int PACK = 1, QUADS = 1, PAD = 8;
    static constexpr bool SWIZZLED = true;

    template <bool ALONG_DEPTH>
    static __device__ __forceinline__ uint4 words(const float4 (&quads)[1]) {
        const float4 v = quads[0];
        return make_uint4(to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w));
    }

#if __CUDA_ARCH__ >= 800
    static __device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
        mma_m16n8k8_tf32(d, a, b);
    }
#endif
};

// Along k: eight elements of a row. Along the rows: two elements of each of four rows.
struct bf16_pairs {
    static constexpr int PACK = 2, QUADS = 2, PAD = 8;
    static constexpr bool SWIZZLED = true;

    template <bool ALONG_DEPTH>
    static __device__ __forceinline__ uint4 words(const float4 (&quads)[2]) {
        const float4 p = quads[0], q = quads[1];
        if (ALONG_DEPTH) {
            return make_uint4(pack_bf16(p.x, p.y), pack_bf16(p.z, p.w), pack_bf16(q.x, q.y), pack_bf16(q.z, q.w));
        }
        return make_uint4(pack_bf16(p.x, q.x), pack_bf16(p.y, q.y), pack_bf16(p.z, q.z), pack_bf16(p.w, q.w));
    }

    template <bool ALONG_DEPTH>
    static __device__ __forceinline__ uint4 words(const uint2 (&quads)[2]) {
        const uint2 p = quads[0], q = quads[1];
        if (ALONG_DEPTH) return make_uint4(p.x, p.y, q.x, q.y);
        return make_uint4(low_halves(p.x, q.x), high_halves(p.x, q.x), low_halves(p.y, q.y), high_halves(p.y, q.y));
    }

    static __device__ __forceinline__ unsigned low_halves(unsigned a, unsigned b) { return (a & 0xffffu) | b << 16; }
    static __device__ __forceinline__ unsigned high_halves(unsigned a, unsigned b) {
        return a >> 16 | (b & 0xffff0000u);
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

// Words between rows of shared memory, and in a buffer.
template <int ROWS>
constexpr int PITCH = ROWS + Format::PAD;
template <int ROWS>
constexpr int BUFFER = STEP_WORDS * PITCH<ROWS>;

// Where words[word][row] lies: for tensor cores, groups of eight rows change places from one four of words to the next, so that
// runs along k are stored to different banks.
template <int ROWS>
__device__ __forceinline__ constexpr int swizzle(int word) {
    return Format::SWIZZLED ? word / 4 * 8 & (ROWS - 1) & 24 : 0;
}
template <int ROWS>
__device__ __forceinline__ constexpr int place_of(int word, int row) {
    return word * PITCH<ROWS> + (row ^ swizzle<ROWS>(word));
}

// How many runs of four words a thread stages in a step.
template <int ROWS>
constexpr int SLOTS = (ROWS * STEP_WORDS / 4 + TILE_THREADS - 1) / TILE_THREADS;

// The run of four words that a thread stages: along k at one row, or along the rows at one word of k.
template <int ROWS, bool ALONG_DEPTH>
struct Run {
    static constexpr int RUNS = ROWS * STEP_WORDS / 4;
    // Runs across the rows that are staged at once.
    static constexpr int GROUPS = ROWS / 4 / SLOTS<ROWS>;
    int row, word;
    bool exists;

    __device__ __forceinline__ explicit Run(int slot) {
        const int run = static_cast<int>(threadIdx.x) + slot * TILE_THREADS;
        exists = RUNS % TILE_THREADS == 0 || run < RUNS;
        // Lanes that follow each other read what lies side by side in global memory, and all runs of a thread begin at the same
        // word.
        row = ALONG_DEPTH ? run / (STEP_WORDS / 4) : (threadIdx.x % GROUPS + slot * GROUPS) * 4;
        word = ALONG_DEPTH ? run % (STEP_WORDS / 4) * 4 : threadIdx.x / GROUPS;
    }
};

// A step's part of an operand on its way from global memory to shared memory.
template <int ROWS, class Source>
struct Staged {
    Quad<typename Source::Element> quads[SLOTS<ROWS>][Format::QUADS];

    static __device__ __forceinline__ void start(Source& source, int first_row) {
#pragma unroll
        for (int slot = 0; slot < SLOTS<ROWS>; ++slot) {
            const Run<ROWS, Source::ALONG_DEPTH> run(slot);
            if (run.exists) source.start(slot, first_row + run.row);
        }
    }

    __device__ __forceinline__ void load(Source& source, int first_row, int k) {
        constexpr int NEXT = Source::ALONG_DEPTH ? 4 : 1;
        const Run<ROWS, Source::ALONG_DEPTH> first(0);
        if (first.exists) {
#pragma unroll
            for (int quad = 0; quad < Format::QUADS; ++quad) {
                source.step(quad, k + first.word * Format::PACK + NEXT * quad);
            }
        }
#pragma unroll
        for (int slot = 0; slot < SLOTS<ROWS>; ++slot) {
            const Run<ROWS, Source::ALONG_DEPTH> run(slot);
            if (!run.exists) break;
#pragma unroll
            for (int quad = 0; quad < Format::QUADS; ++quad) {
                const int at = k + run.word * Format::PACK + NEXT * quad;
                quads[slot][quad] = source.four(slot, quad, first_row + run.row, at);
            }
        }
    }

    // As words[k][row].
    __device__ __forceinline__ void store(unsigned* words) const {
#pragma unroll
        for (int slot = 0; slot < SLOTS<ROWS>; ++slot) {
            const Run<ROWS, Source::ALONG_DEPTH> run(slot);
            if (!run.exists) break;
            const uint4 four = Format::template words<Source::ALONG_DEPTH>(quads[slot]);
            // Along k, the four words of a run lie in the same columns.
            unsigned* to = words + place_of<ROWS>(run.word, run.row);
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
};

// A thread's sums, and where in the tile they are: `each` calls body(row, column, sums) for runs of WIDTH neighbouring
// columns.

// Tensor cores: a warp has 32 rows and WARP_COLUMNS columns, as products of 16 x 8. A lane (g = lane / 4, t = lane % 4) has
// in each of them columns 2 t and 2 t + 1 of rows g and g + 8.
template <class F>
struct Sums {
    static constexpr int WARP_COLUMNS = TILE_ROWS * TILE_COLUMNS / TILE_THREADS, PRODUCTS = WARP_COLUMNS / 8;
    float sum[2][PRODUCTS][4] = {};
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int first_row = threadIdx.x / 32 / (TILE_COLUMNS / WARP_COLUMNS) * 32;
    int first_column = threadIdx.x / 32 % (TILE_COLUMNS / WARP_COLUMNS) * WARP_COLUMNS;

    // Words k + t of row `first + offset + g` of an operand whose warps take WIDTH rows. The place is a sum whose last part is
    // known when compiled: bits that the swizzle changes are the offset's or, below 32 rows, one of `first`.
    template <int ROWS, int WIDTH>
    __device__ __forceinline__ unsigned word(const unsigned* words, int k, int first, int offset) const {
        const int swizzled = swizzle<ROWS>(k), inside = swizzled & (WIDTH - 1);
        return words[(t * PITCH<ROWS> + (first ^ (swizzled - inside)) + g) + (k * PITCH<ROWS> + (offset ^ inside))];
    }

    __device__ __forceinline__ void multiply(const unsigned* a, const unsigned* b) {
#pragma unroll
        for (int k = 0; k < STEP_WORDS; k += 8) {
            unsigned left[2][4], right[PRODUCTS][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int part = 0; part < 4; ++part) {
                    const int offset = 16 * i + part % 2 * 8;
                    left[i][part] = word<TILE_ROWS, 32>(a, k + part / 2 * 4, first_row, offset);
                }
            }
#pragma unroll
            for (int j = 0; j < PRODUCTS; ++j) {
#pragma unroll
                for (int part = 0; part < 2; ++part) {
                    right[j][part] = word<TILE_COLUMNS, WARP_COLUMNS>(b, k + part * 4, first_column, 8 * j);
                }
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int j = 0; j < PRODUCTS; ++j) F::multiply(sum[i][j], left[i], right[j]);
            }
        }
    }

    template <class Body>
    __device__ __forceinline__ void each(Body body) const {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int j = 0; j < PRODUCTS; ++j) {
                const int row = first_row + 16 * i + g, column = first_column + 8 * j + 2 * t;
                const float upper[2] = {sum[i][j][0], sum[i][j][1]}, lower[2] = {sum[i][j][2], sum[i][j][3]};
                body(row, column, upper);
                body(row + 8, column, lower);
            }
        }
    }
};

// f32: rows 4 y .. 4 y + 3 of each HALF of the rows (there are one or two), columns 4 x .. 4 x + 3.
template <>
struct Sums<f32> {
    static constexpr int HALVES = TILE_ROWS * TILE_COLUMNS / TILE_THREADS / 16, HALF = TILE_ROWS / HALVES;
    float sum[HALVES][4][4] = {};
    int y = threadIdx.x / (TILE_COLUMNS / 4), x = threadIdx.x % (TILE_COLUMNS / 4);

    __device__ __forceinline__ void multiply(const unsigned* a, const unsigned* b) {
        const auto four = [](const unsigned* from) { return *reinterpret_cast<const float4*>(from); };
#pragma unroll
        for (int k = 0; k < STEP_WORDS; ++k) {
            const float4 q = four(b + place_of<TILE_COLUMNS>(k, 4 * x));
            const float right[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
            for (int half = 0; half < HALVES; ++half) {
                const float4 p = four(a + place_of<TILE_ROWS>(k, half * HALF + 4 * y));
                const float left[4] = {p.x, p.y, p.z, p.w};
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sum[half][i][j] += left[i] * right[j];
                }
            }
        }
    }

    template <class Body>
    __device__ __forceinline__ void each(Body body) const {
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
#pragma unroll
            for (int i = 0; i < 4; ++i) body(half * HALF + 4 * y + i, 4 * x, sum[half][i]);
        }
    }
};

using TileSums = Sums<Format>;

// The first step from `step` on that adds something, or `last`.
template <class A>
__device__ __forceinline__ int next_step(const A& a, int step, int last) {
    while (step < last && a.skips(step * STEP_DEPTH, STEP_DEPTH)) ++step;
    return step;
}

// Adds steps first..last of the tile at (row, column) to `sums`. All threads of the block call.
template <class A, class B>
__device__ __forceinline__ void accumulate(TileSums& sums, A& a, B& b, int row, int column, int first, int last) {
    SHARED(unsigned, a_words, [2 * BUFFER<TILE_ROWS>]);
    SHARED(unsigned, b_words, [2 * BUFFER<TILE_COLUMNS>]);
    using Left = Staged<TILE_ROWS, A>;
    using Right = Staged<TILE_COLUMNS, B>;
    Left left;
    Right right;
    Left::start(a, row);
    Right::start(b, column);
    int step = next_step(a, first, last);
    if (step < last) {
        left.load(a, row, step * STEP_DEPTH);
        right.load(b, column, step * STEP_DEPTH);
    }
    for (int buffer = 0; step < last; buffer ^= 1) {
        // What was read two steps ago may be overwritten: all threads have passed the barrier since.
        unsigned* const a_now = a_words + buffer * BUFFER<TILE_ROWS>;
        unsigned* const b_now = b_words + buffer * BUFFER<TILE_COLUMNS>;
        left.store(a_now);
        right.store(b_now);
        __syncthreads();
        step = next_step(a, step + 1, last);
        if (step < last) {
            left.load(a, row, step * STEP_DEPTH);
            right.load(b, column, step * STEP_DEPTH);
        }
        sums.multiply(a_now, b_now);
    }
}

// A matrix in memory as a Source: element (row, k) at `data[row pitch + k]` if DEPTH_LAST, else at `data[k pitch +
// row]`.
// `aligned`: whether runs of four may be read at once (pitch and start are multiples of 4).
template <class E, bool DEPTH_LAST>
struct Matrix {
    using Element = E;
    static constexpr bool ALONG_DEPTH = DEPTH_LAST;
    const E* __restrict__ data;
    int rows, depth;
    long long pitch;
    bool aligned;

    __device__ __forceinline__ void start(int, int) {}
    __device__ __forceinline__ void step(int, int) {}
    __device__ __forceinline__ bool skips(int, int) const { return false; }

    __device__ __forceinline__ Quad<E> four(int, int, int row, int k) const {
        const E* from = data + (DEPTH_LAST ? row * pitch + k : k * pitch + row);
        // How many of the four lie inside.
        const int inside = DEPTH_LAST ? (row < rows ? depth - k : 0) : (k < depth ? rows - row : 0);
        if (inside >= 4 && aligned) return load_quad(from);
        return quad_of<E>([&](int i) { return i < inside ? from + i : nullptr; });
    }
};

// Writes the part of `values` that lies inside a row of `inside` more elements; four or two at once if `aligned`.
template <class E, int WIDTH>
__device__ __forceinline__ void store_run(E* to, const float (&values)[WIDTH], int inside, bool aligned) {
    if (inside >= WIDTH && aligned) {
        if constexpr (WIDTH == 4) return store_quad(to, make_float4(values[0], values[1], values[2], values[3]));
        if constexpr (WIDTH == 2) return store_pair(to, values[0], values[1]);
    }
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) {
        if (i < inside) to[i] = values[i];
    }
}
