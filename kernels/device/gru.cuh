// One step of a recurrent layer for a few sequences and units: what the forward and the backward kernels share.
//
// A block of 256 threads takes LINES sequences and UNITS units. Sequences are few and weights many, so the product is
// cut along the
// length of its sums: SLICES threads share a unit, each takes every SLICES-th row of the weights (so that a warp
// reads 64 bytes at a time of two neighbouring rows) and uses it for all sequences; then the slices are added in their
// order.
#pragma once
#include "device/divide.cuh"

constexpr int GRU_THREADS = 256, UNITS = 16, SLICES = 16, LINES = 8;
// Elements of the left operand in shared memory at a time.
constexpr int CHUNK = 256;

// One block on a multiprocessor is enough, as there are few blocks: registers are not rationed.
#define GRU_KERNEL KERNEL(GRU_THREADS, 1)

// What a launch computes. Up to two directions go side by side (block z). Twin of Step in src/ops/recurrent/cuda.rs.
struct Step {
    Divisor group;  // sequences in a group of the counts
    int n, steps, units;
    int directions;       // of the layer
    int first_direction;  // of this launch
    int now[2];           // time of this step in each direction
    int before[2];        // time of the step before it in the direction's order; -1 for the first
    int after[2];         // time of the step after it; -1 for the last
    int hard;             // whether the recurrent activation is the hard sigmoid
};
static_assert(sizeof(Step) == 60, "as on the host");

// Where this thread stands, and where its block's values lie.
struct Cell {
    int side, direction;  // of this launch, of the layer
    int first_line, unit;
    int slice;
    int now, before, after;
    bool any;  // whether the block has a valid sequence

    __device__ __forceinline__ Cell(const Step& step, const Rows& valid) {
        side = blockIdx.z;
        direction = step.first_direction + side;
        first_line = blockIdx.y * LINES;
        unit = blockIdx.x * UNITS + threadIdx.x % UNITS;
        slice = threadIdx.x / UNITS;
        now = step.now[side];
        before = step.before[side];
        after = step.after[side];
        any = valid.any_valid(first_line, min(first_line + LINES, step.n) - 1);
    }

    // After the product: the first LINES x UNITS threads have a sequence and a unit each.
    __device__ __forceinline__ bool owns(const Step& step) const {
        return slice < LINES && line() < step.n && unit < step.units;
    }
    __device__ __forceinline__ int line() const { return first_line + slice; }

    // Offset of a sequence's first value at time t in [N, T, width].
    __device__ __forceinline__ static long long at(const Step& step, int line, int t, int width) {
        return (static_cast<long long>(line) * step.steps + t) * width;
    }
    // In states [N, T, D u] and in last or initial states [N, D u].
    __device__ __forceinline__ long long state(const Step& step, int line, int t) const {
        return at(step, line, t, step.directions * step.units) + direction * step.units;
    }
    __device__ __forceinline__ long long end_state(const Step& step, int line) const {
        return static_cast<long long>(line) * step.directions * step.units + direction * step.units;
    }
    // In saved gates [D, N, T, width].
    __device__ __forceinline__ long long gates(const Step& step, int line, int t, int width) const {
        return ((static_cast<long long>(direction) * step.n + line) * step.steps + t) * width;
    }
    // In scratch [D, N, u].
    __device__ __forceinline__ long long scratch(const Step& step, int line) const {
        return (static_cast<long long>(direction) * step.n + line) * step.units;
    }

    // The state before this step.
    __device__ __forceinline__ float earlier(const Step& step, const float* states, const float* initial, int line,
                                             int unit) const {
        if (before >= 0) return states[state(step, line, before) + unit];
        return initial == nullptr ? 0.0f : initial[end_state(step, line) + unit];
    }
};

// total[c] = sum over k < depth of left(line, k) weights[k pitch + c stride + unit], for the sequence and unit that
// the thread owns. All threads of the block call. `left` is asked for valid sequences only; others count as zeros.
template <int COLUMNS, class Left>
__device__ __forceinline__ void recurrent_product(float (&total)[COLUMNS], const Cell& cell, const Step& step,
                                                  const Rows& valid, Left left, const float* __restrict__ weights,
                                                  int depth, int pitch, int stride) {
    SHARED(float, lines, [LINES][CHUNK]);
    SHARED(float, parts, [COLUMNS][SLICES][LINES * UNITS]);
    float sum[LINES][COLUMNS] = {};
    const bool exists = cell.unit < step.units;
    for (int first = 0; first < depth; first += CHUNK) {
        const int count = min(CHUNK, depth - first);
#pragma unroll
        for (int i = 0; i < LINES; ++i) {
            const int line = cell.first_line + i, k = threadIdx.x;
            static_assert(CHUNK == GRU_THREADS, "a thread stages one element of each sequence");
            lines[i][k] = k < count && line < step.n && valid.valid(line) ? left(line, first + k) : 0.0f;
        }
        __syncthreads();
        if (exists) {
            for (int k = cell.slice; k < count; k += SLICES) {
                const float* row = weights + static_cast<long long>(first + k) * pitch + cell.unit;
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) {
                    const float weight = row[c * stride];
#pragma unroll
                    for (int i = 0; i < LINES; ++i) sum[i][c] += lines[i][k] * weight;
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
#pragma unroll
        for (int i = 0; i < LINES; ++i) parts[c][cell.slice][i * UNITS + threadIdx.x % UNITS] = sum[i][c];
    }
    __syncthreads();
    if (cell.slice >= LINES) return;
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        total[c] = 0.0f;
#pragma unroll
        for (int slice = 0; slice < SLICES; ++slice) total[c] += parts[c][slice][threadIdx.x];
    }
}

// The recurrent activation, and its derivative from its value.
__device__ __forceinline__ float squash(float x, int hard) {
    if (!hard) return 1.0f / (1.0f + expf(-x));
    const float y = 0.2f * x + 0.5f;
    return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;
}
__device__ __forceinline__ float slope(float y, int hard) {
    if (!hard) return y * (1.0f - y);
    return y > 0.0f && y < 1.0f ? 0.2f : 0.0f;
}
