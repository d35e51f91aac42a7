// Rows of channels cut into blocks: a block of 256 threads is `columns` channels (a power of two up to 32, neighbours in a warp) by
// 256 / columns lines; it takes one segment of rows, a line every so many.
#pragma once
#include "device/prelude.cuh"

constexpr int BLOCK = 256;
// Blocks that a multiprocessor shall hold at least. It leaves room for 64 registers; without it the assembler squeezes some kernels
// into 32 and spills.
constexpr int RESIDENT = 4;

// Twin of `Rows` in src/ops/norm/cuda.rs.
struct Rows {
    int channels, columns;
    int rows, sample_rows;
    int groups, group;  // of counts, and samples of each
    int segment;        // rows that a block takes
};
static_assert(sizeof(Rows) == 28, "the host's twin has the same fields");

// A thread's channel, and the rows of its block that are its own.
struct Part {
    int channel, column, line, lines;
    int begin, end;
    bool active;
};

__device__ __forceinline__ Part part_of(const Rows& all) {
    const int column = threadIdx.x % all.columns, line = threadIdx.x / all.columns, lines = BLOCK / all.columns;
    const int channel = blockIdx.x * all.columns + column;
    const int first = blockIdx.y * all.segment, last = min(all.segment, all.rows - first) + first;
    return {channel, column, line, lines, first + line, last, channel < all.channels};
}

// Where a row's value of the thread's channel stands.
__device__ __forceinline__ int64_t place_of(int row, const Part& part, const Rows& all) {
    return static_cast<int64_t>(row) * all.channels + part.channel;
}

// Sum over the lines of each column, for every one of its threads. Ends past a barrier.
template <class T>
__device__ __forceinline__ T sum_lines(T value, const Part& part, int columns) {
    SHARED(T, values, [BLOCK]);
    values[threadIdx.x] = value;
    __syncthreads();
    for (int half = part.lines / 2; half > 0; half /= 2) {
        if (part.line < half) values[threadIdx.x] += values[threadIdx.x + half * columns];
        __syncthreads();
    }
    const T sum = values[part.column];
    __syncthreads();
    return sum;
}
