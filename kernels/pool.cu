// Max pooling over up to three axes.
//
//   y[n,o,:] = max over the window of x[n, o stride - before + tap, :], padding left out          max_pool_f32
//   dx[n,i,:] = sum of dy[n,o,:] over the windows whose first largest value x[n,i,:] is           max_pool_grad_f32
//
// Layouts: x, dx [samples, extent0, extent1, extent2, run]; y, dy [samples, output0, output1, output2, run]; run = channels, with
// the trailing axes that are not pooled joined to them; axes that are missing in front have extent 1.
// Cut: 256 threads a block, a thread for every value written, the grid steps over the rest. The gradient first notes for every
// window which tap won (max_pool_winner_f32), then gathers: each value of dx asks the windows that hold it.
// Cost: the paper's stem pools 2x80x32x32x16 by 5 in time: 10.5 MB in, 2.1 MB out, 2.6 million comparisons: memory limits.
// Needs: nothing; no shared memory. Determinism: run_to_run (windows are added in ascending order).
#include "device/element.cuh"

constexpr int BLOCK = 256;
// Room for 64 registers: with fewer the gradient spills.
constexpr int RESIDENT = 4;
constexpr int AXES = 3;

// Twin of `Pool` in src/ops/pool/cuda.rs. Axes outermost first.
struct Pool {
    int run;
    int extent[AXES], output[AXES], window[AXES], stride[AXES], before[AXES];
};
static_assert(sizeof(Pool) == (1 + 5 * AXES) * 4, "the host's twin has the same fields");

// A place in a tensor of samples, three axes and a run.
struct Place {
    int sample;
    int at[AXES];
    int lane;
};

__device__ __forceinline__ Place place_of(unsigned index, const int (&extents)[AXES], int run) {
    Place place;
    place.lane = index % run;
    unsigned rest = index / run;
#pragma unroll
    for (int axis = AXES - 1; axis >= 0; --axis) {
        place.at[axis] = rest % extents[axis];
        rest /= extents[axis];
    }
    place.sample = rest;
    return place;
}

__device__ __forceinline__ int64_t index_of(const Place& place, const int (&extents)[AXES], int run) {
    int64_t index = place.sample;
#pragma unroll
    for (int axis = 0; axis < AXES; ++axis) index = index * extents[axis] + place.at[axis];
    return index * run + place.lane;
}

// The place under tap (a, b, c) of the window of y's place `output`; false in padding.
__device__ __forceinline__ bool under(const Place& output, const Pool& pool, int a, int b, int c, Place& input) {
    input.sample = output.sample;
    input.lane = output.lane;
    input.at[0] = output.at[0] * pool.stride[0] - pool.before[0] + a;
    input.at[1] = output.at[1] * pool.stride[1] - pool.before[1] + b;
    input.at[2] = output.at[2] * pool.stride[2] - pool.before[2] + c;
    bool inside = true;
#pragma unroll
    for (int axis = 0; axis < AXES; ++axis) inside = inside && input.at[axis] >= 0 && input.at[axis] < pool.extent[axis];
    return inside;
}

KERNEL(BLOCK) STORED(max_pool)(const Stored* x, Stored* y, int n, const __grid_constant__ Pool pool) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const Place output = place_of(i, pool.output, pool.run);
        float largest = -INFINITY;
        for (int a = 0; a < pool.window[0]; ++a) {
            for (int b = 0; b < pool.window[1]; ++b) {
                for (int c = 0; c < pool.window[2]; ++c) {
                    Place input;
                    if (!under(output, pool, a, b, c, input)) continue;
                    const float value = x[index_of(input, pool.extent, pool.run)];
                    // NaN passes through.
                    if (value > largest || value != value) largest = value;
                }
            }
        }
        y[i] = largest;
    }
}

// The tap that wins each window: the first one inside, unless a later one is larger.
KERNEL(BLOCK) STORED(max_pool_winner)(const Stored* x, int* winners, int n, const __grid_constant__ Pool pool) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const Place output = place_of(i, pool.output, pool.run);
        float largest = -INFINITY;
        int winner = -1;
        for (int a = 0; a < pool.window[0]; ++a) {
            for (int b = 0; b < pool.window[1]; ++b) {
                for (int c = 0; c < pool.window[2]; ++c) {
                    Place input;
                    if (!under(output, pool, a, b, c, input)) continue;
                    const float value = x[index_of(input, pool.extent, pool.run)];
                    if (value > largest || winner < 0) {
                        largest = value;
                        winner = (a * pool.window[1] + b) * pool.window[2] + c;
                    }
                }
            }
        }
        winners[i] = winner;
    }
}

// First and last window along an axis that hold place `at`.
__device__ __forceinline__ int first_window(int at, const Pool& pool, int axis) {
    const int beyond = at + pool.before[axis] - pool.window[axis] + 1;
    return beyond <= 0 ? 0 : (beyond + pool.stride[axis] - 1) / pool.stride[axis];
}

__device__ __forceinline__ int last_window(int at, const Pool& pool, int axis) {
    return min((at + pool.before[axis]) / pool.stride[axis], pool.output[axis] - 1);
}

KERNEL(BLOCK, RESIDENT) STORED(max_pool_grad)(const Stored* dy, const int* winners, Stored* dx, int n, const __grid_constant__ Pool pool) {
    for (unsigned i = global_thread(); i < n; i += global_threads()) {
        const Place input = place_of(i, pool.extent, pool.run);
        const int last0 = last_window(input.at[0], pool, 0), last1 = last_window(input.at[1], pool, 1);
        const int last2 = last_window(input.at[2], pool, 2);
        float sum = 0.0f;
        for (int a = first_window(input.at[0], pool, 0); a <= last0; ++a) {
            for (int b = first_window(input.at[1], pool, 1); b <= last1; ++b) {
                for (int c = first_window(input.at[2], pool, 2); c <= last2; ++c) {
                    const int64_t window = index_of({input.sample, {a, b, c}, input.lane}, pool.output, pool.run);
                    const int tap0 = input.at[0] + pool.before[0] - a * pool.stride[0];
                    const int tap1 = input.at[1] + pool.before[1] - b * pool.stride[1];
                    const int tap2 = input.at[2] + pool.before[2] - c * pool.stride[2];
                    const int tap = (tap0 * pool.window[1] + tap1) * pool.window[2] + tap2;
                    if (winners[window] == tap) sum += dy[window];
                }
            }
        }
        dx[i] = sum;
    }
}
