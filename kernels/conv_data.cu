#include "device/prelude.cuh"
// Convolution and its data gradient (transposed convolution), with bias, residual, ReLU and mask.
//   fprop: y[n, o, co] = relu?(sum over taps k, ci of x[n, o stride - before + k dilation, ci] w[k, ci, co] +
//     bias[co] + residual)
//   dgrad: dx[n, i, ci] = relu?(sum over k, co of dy[n, (i + before - k dilation) / stride, co] w[k, ci, co] +
//     bias[ci] + residual)
//   Both are zero where the mask, of the result's shape, is not positive: the gradient of a ReLU on the way back.
//
// Layouts, channels last: x [N, T, H, W, Cin], w [KT, KH, KW, Cin, Cout], y [N, T', H', W', Cout];
//   dense layers are 1 x 1 x 1.
// Cut: implicit GEMM on the tiles of device/gemm.cuh. Rows of the GEMM are the result's pixels, columns its channels,
//   and the sums run over (tap, channel), gathered while staged: no matrix of windows is ever written. As taps and
//   channels are one axis, few channels (1, 3, 8) waste nothing. A stride is no waste in dgrad either: pixels with
//   equal rests under the stride meet the same taps, so there is one launch for each rest, and within it a
//   convolution of stride 1 over those taps only.
//   Block x: column tile fastest, then row tile. Block y: a part of the sums if tiles are too few to fill the GPU;
//   conv_finish then adds the parts from scratch [parts, pixels, channels] and does the rest.
// Counts: rows of N that are not valid are neither read nor computed, tiles without a valid row end at once; they
//   come out as zero.
// Work at the paper's shapes: mask head [1600, 14, 14, 256], 3 x 3: 370 GFLOP, 0.64 GB; stem [8, 400, 64, 64, 1],
//   7 x 7 x 7 to 8 channels: 3.4 GFLOP, 73 MB. Bound by arithmetic; the narrow first layers by the integer arithmetic
//   of their windows.
// Needs: f32 anything; tf32 and bf16 sm_80 (mma.sync). Shared memory 17 KiB to 36 KiB.
// In memory: source and result (with residual and mask) are floats, or bf16 where the plan keeps them so (SOURCE, RESULT); weights,
//   bias and sums are floats.
// Measured on an H200, 528 maps, tiles of 128 x 64: 25 TFLOP/s f32, 100 bf16; before taps were worked out once a step, steps
//   staged ahead and tiles widened: 25 and 64. A window that covers its input is a dense layer for the host: its data
//   gradient once took 70 ms, for 48 of 49 taps that do not exist.
// Determinism: run_to_run.
#include "device/gemm.cuh"
#include "device/window.cuh"

// Twin of Correlation in src/ops/conv/cuda.rs. "Source" is x for fprop and dy for dgrad, "result" y and dx.
struct Correlation {
    Axis axes[3];
    Divisor channels;          // of the source
    Divisor group;             // rows of N in a group of the counts
    int rows, columns, depth;  // of the GEMM: pixels of the result, its channels, taps x channels of the source
    int column_tiles;
    int steps;  // of the sums in a part
    int parts;
    int source_pixels, result_pixels;  // of one map; the latter of the memory that results are written to
    int relu;
    int source_aligned, weights_aligned, result_aligned;
};
static_assert(sizeof(Correlation) == 264, "as on the host");

// Element types in memory; the weights are floats.
#ifndef SOURCE
#define SOURCE f32
#endif
#ifndef RESULT
#define RESULT f32
#endif
using Source = ELEMENT(SOURCE);
using Result = ELEMENT(RESULT);

// What a step's elements from k on have in common: how far tap and channel lie from the first element of a window.
struct Step {
    Place moved;  // far outside if there is no such k
    int elements;
};

// The windows' matrix: rows are pixels of the result, k is (tap, channel).
template <class E>
struct Windows {
    using Element = E;
    static constexpr bool ALONG_DEPTH = true;
    const E* __restrict__ source;
    const Correlation& shape;
    Rows valid;
    long long first[SLOTS<TILE_ROWS>];  // element of the source at which the window begins; it need not exist
    Place window[SLOTS<TILE_ROWS>];
    Step steps[Format::QUADS];

    __device__ __forceinline__ Windows(const E* source, const Correlation& shape, Rows valid)
        : source(source), shape(shape), valid(valid) {}

    __device__ __forceinline__ void start(int slot, int row) {
        // A window far outside reads nothing.
        window[slot] = {-(1 << 30), 0, 0};
        first[slot] = 0;
        if (row >= shape.rows) return;
        int n = row;
        const Place at = place_of_result(shape.axes, n);
        if (!valid.valid(n)) return;
        const Place begin = window_start(shape.axes, at);
        window[slot] = begin;
        const long long pixel = static_cast<long long>(n) * shape.source_pixels + pixels_of(shape.axes, begin);
        first[slot] = pixel * shape.channels.value;
    }

    __device__ __forceinline__ bool skips(int, int) const { return false; }

    __device__ __forceinline__ Step step_at(int k) const {
        int channel = k;
        const Place moved = moved_by(shape.axes, place_of_tap(shape.axes, shape.channels.divide(channel)));
        Step step{moved, pixels_of(shape.axes, moved) * shape.channels.value + channel};
        if (k >= shape.depth) step.moved.t = -(1 << 30);
        return step;
    }

    __device__ __forceinline__ void step(int quad, int k) {
        // Without a common tap each element finds its own.
        if (shape.source_aligned) steps[quad] = step_at(k);
    }

    __device__ __forceinline__ const E* element(int slot, const Step& step) const {
        const Place& at = window[slot];
        const bool inside = exists(shape.axes, {at.t + step.moved.t, at.y + step.moved.y, at.x + step.moved.x});
        return inside ? source + first[slot] + step.elements : nullptr;
    }

    __device__ __forceinline__ Quad<E> four(int slot, int quad, int, int k) const {
        if (shape.source_aligned) {
            const E* from = element(slot, steps[quad]);
            return from == nullptr ? zero_quad<E>() : load_quad(from);
        }
        return quad_of<E>([&](int i) { return element(slot, step_at(k + i)); });
    }
};

// Weights for dgrad: rows are Cin, k is (tap of the window, Cout). w[tap, row, cout].
struct TransposedWeights {
    using Element = float;
    static constexpr bool ALONG_DEPTH = true;
    const float* __restrict__ weights;
    const Correlation& shape;
    const float* steps[Format::QUADS];  // row 0 at k

    __device__ __forceinline__ TransposedWeights(const float* weights, const Correlation& shape)
        : weights(weights), shape(shape) {}

    __device__ __forceinline__ void start(int, int) {}

    __device__ __forceinline__ const float* first_row(int k) const {
        int channel = k;
        const Place tap = place_of_tap(shape.axes, shape.channels.divide(channel));
        const int t = shape.axes[0].first_tap + tap.t * shape.axes[0].tap_step;
        const int y = shape.axes[1].first_tap + tap.y * shape.axes[1].tap_step;
        const int x = shape.axes[2].first_tap + tap.x * shape.axes[2].tap_step;
        const int entry = (t * shape.axes[1].kernel + y) * shape.axes[2].kernel + x;
        return weights + static_cast<long long>(entry) * shape.columns * shape.channels.value + channel;
    }

    __device__ __forceinline__ void step(int quad, int k) {
        if (shape.source_aligned) steps[quad] = first_row(k);
    }

    __device__ __forceinline__ float4 four(int, int quad, int row, int k) const {
        const int inside = row < shape.columns ? shape.depth - k : 0;
        const long long skipped = static_cast<long long>(row) * shape.channels.value;
        if (shape.source_aligned) return inside > 0 ? load4(steps[quad] + skipped) : zero_quad<float>();
        return quad_of<float>([&](int i) { return i < inside ? first_row(k + i) + skipped : nullptr; });
    }
};

// Bias, residual, ReLU, mask, and zeros where a row is not valid.
struct Finish {
    const float* __restrict__ bias;
    const Result* __restrict__ residual;
    const Result* __restrict__ mask;
    Result* result;
    Rows valid;

    // `values` are sums of GEMM row `row` from column `column` on.
    template <int WIDTH>
    __device__ __forceinline__ void store(const Correlation& shape, int row, int column,
                                          const float (&values)[WIDTH]) const {
        int n = row;
        const Place at = place_of_result(shape.axes, n);
        const int t = shape.axes[0].first_result + at.t * shape.axes[0].result_step;
        const int y = shape.axes[1].first_result + at.y * shape.axes[1].result_step;
        const int x = shape.axes[2].first_result + at.x * shape.axes[2].result_step;
        const long long pixel =
            static_cast<long long>(n) * shape.result_pixels + (t * shape.axes[1].result + y) * shape.axes[2].result + x;
        const long long first = pixel * shape.columns + column;
        const int inside = shape.columns - column;
        const bool is_valid = valid.valid(n);
        float finished[WIDTH];
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) {
            float value = values[i];
            if (bias != nullptr && i < inside) value += bias[column + i];
            if (residual != nullptr && i < inside) value += residual[first + i];
            if (shape.relu && value < 0.0f) value = 0.0f;
            if (mask != nullptr && i < inside && !(mask[first + i] > 0.0f)) value = 0.0f;
            finished[i] = is_valid ? value : 0.0f;
        }
        store_run(result + first, finished, inside, shape.result_aligned);
    }
};

// The tile of this block. `partial`: where sums go if there are several parts.
template <class Weights>
__device__ __forceinline__ void correlate(const Source* source, Weights weights, const Finish& finish, float* partial,
                                          const Correlation& shape) {
    const int row = blockIdx.x / shape.column_tiles * TILE_ROWS;
    const int column = blockIdx.x % shape.column_tiles * TILE_COLUMNS;
    int first_map = row, last_map = min(row + TILE_ROWS, shape.rows) - 1;
    place_of_result(shape.axes, first_map);
    place_of_result(shape.axes, last_map);

    TileSums sums;
    if (finish.valid.any_valid(first_map, last_map)) {
        const int first = blockIdx.y * shape.steps;
        const int last = min(first + shape.steps, (shape.depth + STEP_DEPTH - 1) / STEP_DEPTH);
        Windows<Source> windows(source, shape, finish.valid);
        accumulate(sums, windows, weights, row, column, first, last);
    }
    sums.each([&](int i, int j, const auto& values) {
        i += row;
        j += column;
        if (i >= shape.rows || j >= shape.columns) return;
        if (shape.parts > 1) {
            const long long pixel = static_cast<long long>(blockIdx.y) * shape.rows + i;
            store_run(partial + pixel * shape.columns + j, values, shape.columns - j, shape.result_aligned);
        } else {
            finish.store(shape, i, j, values);
        }
    });
}

TILE_KERNEL JOINED(conv_fprop)(const Source* x, const float* w, const float* bias, const Result* residual,
                               const Result* mask, const int* counts, Result* y, float* partial, Correlation shape) {
    const Finish finish{bias, residual, mask, y, {counts, shape.group}};
    const Matrix<float, false> weights{w, shape.columns, shape.depth, shape.columns, shape.weights_aligned != 0};
    correlate(x, weights, finish, partial, shape);
}

TILE_KERNEL JOINED(conv_dgrad)(const Source* dy, const float* w, const float* bias, const Result* residual,
                               const Result* mask, const int* counts, Result* dx, float* partial, Correlation shape) {
    const Finish finish{bias, residual, mask, dx, {counts, shape.group}};
    const TransposedWeights weights(w, shape);
    correlate(dy, weights, finish, partial, shape);
}

// Adds the parts of every sum in their order, then finishes: one thread an element, steps by the whole grid.
KERNEL(256, 2)
conv_finish_f32(const float* __restrict__ partial, const float* bias, const Result* residual, const Result* mask,
                const int* counts, Result* result, Correlation shape) {
    const Finish finish{bias, residual, mask, result, {counts, shape.group}};
    const long long elements = static_cast<long long>(shape.rows) * shape.columns;
    for (long long i = global_thread(); i < elements; i += global_threads()) {
        float sum[1] = {partial[i]};
        for (int part = 1; part < shape.parts; ++part) sum[0] += partial[part * elements + i];
        const int row = static_cast<int>(i / shape.columns);
        finish.store(shape, row, static_cast<int>(i - static_cast<long long>(row) * shape.columns), sum);
    }
}
