// Reductions over axes, and softmax over the last axis.
//
//   reduce        y[o] = sum or max over r of x[o,r]                    reduce_sum_f32, reduce_max_f32, reduce_*_join_f32
//   its gradient  dx[o,r] = dy[o] at the first largest x[o,r], else 0   reduce_max_place_f32, reduce_max_grad_f32
//   softmax       y = e^x / sum e^x; dx = y (dy - sum dy y)             softmax_f32, softmax_grad_f32
//
// Reduce. The host merges axes until an output o = (outer, column) is a fold over r = (row, place in a run of `inner`): with
// `columns` the last axis stays (inner is the width, a row gives one value a column), else the run itself is folded. A block of 256
// threads takes `outputs` outputs with 256 / outputs lanes each, laid so that neighbours in a warp read neighbours in memory, and
// one segment of r; lanes fold their share in order and are joined in a fixed tree. Segments are joined, in order and in double
// precision, by a second kernel.
// Softmax: `lanes` (a power of two up to 32) lanes of a warp a row.
// Cost: the GRU's bias gradient folds [2,400,1536] to [1536]: 4.9 MB: memory limits.
// Needs: nothing; 2 KB of static shared memory. Determinism: run_to_run (no atomics; every order is fixed by the shapes).
#include "device/prelude.cuh"
#include "device/reduce.cuh"

constexpr int BLOCK = 256;
constexpr int MAX_AXES = 6;

// Twin of `Fold` in src/ops/reduce/cuda.rs. Axes come innermost first.
struct Fold {
    int columns;             // whether the last axis stays
    int inner, rows;
    int outputs_in_block;    // a power of two up to BLOCK
    int count;               // outputs
    int length;              // values folded into each
    int segment;             // values of one segment
    int kept_axes, reduced_axes;
    int kept[MAX_AXES], kept_step[MAX_AXES];
    int reduced[MAX_AXES], reduced_step[MAX_AXES];
};
static_assert(sizeof(Fold) == (9 + 4 * MAX_AXES) * 4, "the host's twin has the same fields");

// Which output a thread works for, and which lane of that output's it is.
struct Part {
    int output, lane, lanes;
    // Distance of neighbouring lanes in threadIdx.x.
    int lane_step;
};

__device__ __forceinline__ Part part_of(const Fold& fold) {
    const int outputs = fold.outputs_in_block, thread = threadIdx.x;
    const int lanes = BLOCK / outputs;
    const int slot = fold.columns ? thread % outputs : thread / lanes;
    const int lane = fold.columns ? thread / outputs : thread % lanes;
    return {static_cast<int>(blockIdx.x) * outputs + slot, lane, lanes, fold.columns ? outputs : 1};
}

// Where output `output` begins in x.
__device__ __forceinline__ int64_t base_of(int output, const Fold& fold) {
    unsigned outer = fold.columns ? output / fold.inner : output;
    int64_t at = fold.columns ? output % fold.inner : 0;
    for (int axis = 0; axis < fold.kept_axes; ++axis) {
        at += static_cast<int64_t>(outer % fold.kept[axis]) * fold.kept_step[axis];
        outer /= fold.kept[axis];
    }
    return at;
}

// Where value r of an output stands from there.
__device__ __forceinline__ int64_t place_of(int r, const Fold& fold) {
    unsigned row = r;
    int64_t at = 0;
    if (!fold.columns) {
        row = fold.rows == 1 ? 0 : r / fold.inner;
        at = r - static_cast<int>(row) * fold.inner;
    }
    for (int axis = 0; axis < fold.reduced_axes; ++axis) {
        const bool last = axis + 1 == fold.reduced_axes;
        const unsigned index = last ? row : row % fold.reduced[axis];
        if (!last) row /= fold.reduced[axis];
        at += static_cast<int64_t>(index) * fold.reduced_step[axis];
    }
    return at;
}

// Joins the lanes of every output; lane 0 gets the result. Ends past a barrier.
template <class Join, class T>
__device__ __forceinline__ T join_lanes(T value, const Part& part) {
    SHARED(T, values, [BLOCK]);
    values[threadIdx.x] = value;
    __syncthreads();
    for (int half = part.lanes / 2; half > 0; half /= 2) {
        if (part.lane < half) {
            value = Join::join(value, values[threadIdx.x + half * part.lane_step]);
            values[threadIdx.x] = value;
        }
        __syncthreads();
    }
    return value;
}

// Folds one segment of every output. With one segment `to` is y; else it is [segments, count].
template <class Join>
__device__ __forceinline__ void fold_segment(const float* x, float* to, const Fold& fold, float scale) {
    const Part part = part_of(fold);
    const int begin = blockIdx.y * fold.segment, end = min(fold.length, begin + fold.segment);
    float value = Join::none();
    if (part.output < fold.count) {
        const float* from = x + base_of(part.output, fold);
        for (int r = begin + part.lane; r < end; r += part.lanes) value = Join::join(value, from[place_of(r, fold)]);
    }
    value = join_lanes<Join>(value, part);
    if (part.lane == 0 && part.output < fold.count) {
        to[static_cast<int64_t>(blockIdx.y) * fold.count + part.output] = value * scale;
    }
}

KERNEL(BLOCK) reduce_sum_f32(const float* x, float* to, float scale, const __grid_constant__ Fold fold) {
    fold_segment<Sum>(x, to, fold, scale);
}

KERNEL(BLOCK) reduce_max_f32(const float* x, float* to, float scale, const __grid_constant__ Fold fold) {
    fold_segment<Max>(x, to, fold, scale);
}

// Joins segments [segments, count]: one thread an output.
KERNEL(BLOCK) reduce_sum_join_f32(const float* parts, float* y, int count, int segments, float scale) {
    for (int output = global_thread(); output < count; output += global_threads()) {
        double sum = 0.0;
        for (int segment = 0; segment < segments; ++segment) sum += parts[static_cast<int64_t>(segment) * count + output];
        y[output] = static_cast<float>(sum * scale);
    }
}

KERNEL(BLOCK) reduce_max_join_f32(const float* parts, float* y, int count, int segments, float scale) {
    for (int output = global_thread(); output < count; output += global_threads()) {
        float largest = Max::none();
        for (int segment = 0; segment < segments; ++segment) {
            largest = Max::join(largest, parts[static_cast<int64_t>(segment) * count + output]);
        }
        y[output] = largest * scale;
    }
}

// ---- the gradient of the maximum ----

struct First {
    static __device__ __forceinline__ Indexed none() { return {-INFINITY, 0x7fffffff}; }
    static __device__ __forceinline__ Indexed join(Indexed a, Indexed b) { return better(a, b); }
};

// The first largest value of every segment, as [segments, count]. A NaN is never larger; one at r = 0 stays the winner.
KERNEL(BLOCK) reduce_max_place_f32(const float* x, Indexed* to, const __grid_constant__ Fold fold) {
    const Part part = part_of(fold);
    const int begin = blockIdx.y * fold.segment, end = min(fold.length, begin + fold.segment);
    Indexed best = First::none();
    if (part.output < fold.count) {
        const float* from = x + base_of(part.output, fold);
        for (int r = begin + part.lane; r < end; r += part.lanes) {
            const float value = from[place_of(r, fold)];
            if (value == value) best = better(best, {value, r});
            else if (r == 0) best = {INFINITY, 0};
        }
    }
    best = join_lanes<First>(best, part);
    if (part.lane == 0 && part.output < fold.count) {
        to[static_cast<int64_t>(blockIdx.y) * fold.count + part.output] = best;
    }
}

KERNEL(BLOCK) reduce_max_grad_f32(const float* dy, const Indexed* places, float* dx, int segments,
                                  const __grid_constant__ Fold fold) {
    const Part part = part_of(fold);
    if (part.output >= fold.count) return;
    Indexed best = First::none();
    for (int segment = 0; segment < segments; ++segment) {
        best = better(best, places[static_cast<int64_t>(segment) * fold.count + part.output]);
    }
    const int begin = blockIdx.y * fold.segment, end = min(fold.length, begin + fold.segment);
    float* to = dx + base_of(part.output, fold);
    for (int r = begin + part.lane; r < end; r += part.lanes) to[place_of(r, fold)] = r == best.index ? dy[part.output] : 0.0f;
}

// ---- softmax ----

// Joins the values of groups of `lanes` neighbouring lanes.
template <class Join>
__device__ __forceinline__ float join_group(float value, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) value = Join::join(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

// Rows of `classes` values. Every lane stays to the end: the warp joins as one.
KERNEL(BLOCK) softmax_f32(const float* x, float* y, int rows, int classes, int lanes) {
    const int64_t row = global_thread() / lanes;
    const int lane = threadIdx.x % lanes, end = row < rows ? classes : 0;
    const float* from = x + row * classes;
    float* to = y + row * classes;
    float largest = Max::none();
    for (int c = lane; c < end; c += lanes) largest = Max::join(largest, from[c]);
    largest = join_group<Max>(largest, lanes);
    float sum = 0.0f;
    for (int c = lane; c < end; c += lanes) {
        const float value = expf(from[c] - largest);
        to[c] = value;
        sum += value;
    }
    sum = join_group<Sum>(sum, lanes);
    for (int c = lane; c < end; c += lanes) to[c] /= sum;
}

KERNEL(BLOCK) softmax_grad_f32(const float* dy, const float* y, float* dx, int rows, int classes, int lanes) {
    const int64_t row = global_thread() / lanes;
    const int lane = threadIdx.x % lanes, end = row < rows ? classes : 0;
    const int64_t at = row * classes;
    float sum = 0.0f;
    for (int c = lane; c < end; c += lanes) sum += dy[at + c] * y[at + c];
    sum = join_group<Sum>(sum, lanes);
    for (int c = lane; c < end; c += lanes) dx[at + c] = y[at + c] * (dy[at + c] - sum);
}
