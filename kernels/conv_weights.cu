#include "device/prelude.cuh"
// Weight gradient of a convolution. dw[k, ci, co] = sum over maps n and pixels o of x[n, o stride - before + k
// dilation, ci] dy[n, o, co]
//
// Layouts, channels last: x [N, T, H, W, Cin], dy [N, T', H', W', Cout], dw [KT, KH, KW, Cin, Cout].
// Cut: implicit GEMM on the tiles of device/gemm.cuh. Rows of the GEMM are (tap, Cin), columns Cout, and the sums run
//   over the pixels of all maps. Block x: column tile fastest, then row tile. Block y: a part of the pixels, as there
//   are many of them and few tiles: partial sums go to scratch [parts, taps, Cin, Cout] and sum_parts adds them in
//   order.
// Counts: rows of N that are not valid are left out; steps without a valid row are skipped.
// Work at the paper's shapes: mask head [1600, 14, 14, 256], 3 x 3: 370 GFLOP, 0.64 GB; twitch conv2 [8, 400, 8, 8,
//   16], 15 x 3 x 3: 14 GFLOP, 26 MB. Bound by arithmetic.
// Needs: f32 anything; tf32 and bf16 sm_80 (mma.sync). Shared memory 17 KiB to 36 KiB.
// In memory: x and dy are floats, or bf16 where the plan keeps them so (SOURCE, UPSTREAM); dw and sums are floats.
// Measured on an H200 in bf16: 65 TFLOP/s for the mask head (528 maps), 26 for twitch conv2 (32 crops); before a step's pixels
//   were worked out once for all of a thread's rows, and tiles widened: 26 and 9.
// Determinism: run_to_run.
#include "device/gemm.cuh"
#include "device/window.cuh"

// Twin of WeightSums in src/ops/conv/cuda.rs.
struct WeightSums {
    Axis axes[3];
    Divisor channels;          // Cin
    Divisor pixels;            // of one map of dy
    Divisor group;             // rows of N in a group of the counts
    int rows, columns, depth;  // of the GEMM: taps x Cin, Cout, pixels of all maps of dy
    int column_tiles;
    int steps;     // of the sums in a part
    int x_pixels;  // of one map of x
    int x_aligned, dy_aligned;
    int unused;
    long long partial;  // elements between parts of the partial sums; 0 if there is one part: sums go to dw
};
static_assert(sizeof(WeightSums) == 272, "as on the host");

// Element types in memory; the gradient is float.
#ifndef SOURCE
#define SOURCE f32
#endif
#ifndef UPSTREAM
#define UPSTREAM f32
#endif
using Source = ELEMENT(SOURCE);
using Upstream = ELEMENT(UPSTREAM);

// x as windows see it: rows are (tap, channel), k is the pixel of dy.
template <class E>
struct Seen {
    using Element = E;
    static constexpr bool ALONG_DEPTH = false;
    const E* __restrict__ x;
    const WeightSums& shape;
    Rows valid;
    // How far a row's tap and channel lie from the first element of a window.
    struct Row {
        Place moved;
        int elements;
    } rows[SLOTS<TILE_ROWS>];
    // The windows of a step's pixels.
    struct Window {
        Place at;  // far outside if there is no such pixel, or it does not count
        const E* first;
    } windows[Format::QUADS];

    __device__ __forceinline__ Seen(const E* x, const WeightSums& shape, Rows valid)
        : x(x), shape(shape), valid(valid) {}

    __device__ __forceinline__ Row row_at(int row) const {
        int channel = row;
        const Place moved = moved_by(shape.axes, place_of_tap(shape.axes, shape.channels.divide(channel)));
        return {moved, pixels_of(shape.axes, moved) * shape.channels.value + channel};
    }

    __device__ __forceinline__ void start(int slot, int row) { rows[slot] = row_at(row); }

    __device__ __forceinline__ bool skips(int k, int depth) const {
        if (valid.counts == nullptr) return false;
        const int last = min(k + depth, shape.depth) - 1;
        return !valid.any_valid(shape.pixels.quotient(k), shape.pixels.quotient(last));
    }

    __device__ __forceinline__ void step(int quad, int k) {
        int n = k;
        const Place at = window_start(shape.axes, place_of_result(shape.axes, n));
        const long long pixel = static_cast<long long>(n) * shape.x_pixels + pixels_of(shape.axes, at);
        windows[quad] = {at, x + pixel * shape.channels.value};
        if (k >= shape.depth || !valid.valid(n)) windows[quad].at.t = -(1 << 30);
    }

    __device__ __forceinline__ Quad<E> four(int slot, int quad, int row, int) const {
        const int inside = shape.rows - row;
        const Window& window = windows[quad];
        const auto element = [&](const Row& row) -> const E* {
            const Place at = {window.at.t + row.moved.t, window.at.y + row.moved.y, window.at.x + row.moved.x};
            return exists(shape.axes, at) ? window.first + row.elements : nullptr;
        };
        if (shape.x_aligned) {
            const E* from = inside > 0 ? element(rows[slot]) : nullptr;
            return from == nullptr ? zero_quad<E>() : load_quad(from);
        }
        return quad_of<E>([&](int i) { return i < inside ? element(row_at(row + i)) : nullptr; });
    }
};

// dy: rows are channels, k is the pixel. What is not valid may be anything, even NaN, and counts as zero.
template <class E>
struct Given {
    using Element = E;
    static constexpr bool ALONG_DEPTH = false;
    Matrix<E, false> dy;
    const WeightSums& shape;
    Rows valid;

    __device__ __forceinline__ void start(int, int) {}
    __device__ __forceinline__ void step(int, int) {}

    __device__ __forceinline__ Quad<E> four(int slot, int quad, int row, int k) const {
        const bool counted = valid.counts != nullptr && k < shape.depth;
        if (counted && !valid.valid(shape.pixels.quotient(k))) return zero_quad<E>();
        return dy.four(slot, quad, row, k);
    }
};

TILE_KERNEL JOINED(conv_wgrad)(const Source* x, const Upstream* dy, const int* counts, float* dw, WeightSums shape) {
    const int row = blockIdx.x / shape.column_tiles * TILE_ROWS;
    const int column = blockIdx.x % shape.column_tiles * TILE_COLUMNS;
    const int first = blockIdx.y * shape.steps;
    const int last = min(first + shape.steps, (shape.depth + STEP_DEPTH - 1) / STEP_DEPTH);
    const Rows valid{counts, shape.group};
    Seen<Source> seen(x, shape, valid);
    Given<Upstream> upstream{{dy, shape.columns, shape.depth, shape.columns, shape.dy_aligned != 0}, shape, valid};
    TileSums sums;
    accumulate(sums, seen, upstream, row, column, first, last);

    float* result = dw + blockIdx.y * shape.partial;
    sums.each([&](int i, int j, const auto& values) {
        i += row;
        j += column;
        if (i >= shape.rows) return;
        store_run(result + static_cast<long long>(i) * shape.columns + j, values, shape.columns - j, shape.dy_aligned);
    });
}
