// Losses: each a single value, the mean over what takes part, 0 if nothing does; and their gradients.
//
//   pointwise   mean of l(scale p, scale t) over pairs of predictions p and targets t        pointwise_loss_f32
//               dp = dy / number * scale * l'(scale p, scale t)                              pointwise_loss_grad_f32
//   softmax     mean of log sum e^x - x[class] over rows                                     softmax_loss_f32
//               dx = dy / number * (softmax(x) - [class])                                    softmax_loss_grad_f32
//
// Which prediction meets a target (Selection): its own (rows within counts); its own, both scaled by 1 / max |target| of the row
// (row_scales_f32); the anchor that matches with 1, in order (positive_rows_f32 lists them); the channel of the row's class.
// Every target meets at most one prediction and no two the same, so kernels go through targets, and a gradient is zeros with
// slopes written where predictions are met.
// Cut: 256 threads a block; a thread a target or a row, the grid (at most 1024 blocks where sums are made) steps over the rest.
// Blocks leave sums and numbers in double precision, which one block joins in order (loss_join_f32).
// Cost: the paper's mask loss meets 2x66x28x28 pixels: 0.4 MB of targets; the RPN's class loss has 2x4092 rows of 2: launches limit.
// Needs: nothing; 2 KB of static shared memory. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "device/reduce.cuh"

constexpr int BLOCK = 256;

// Leaves a block's sum and number at parts[blockIdx.x].
__device__ __forceinline__ void leave(double sum, double number, double2* parts) {
    sum = block_reduce<SumWide>(sum);
    number = block_reduce<SumWide>(number);
    if (threadIdx.x == 0) parts[blockIdx.x] = make_double2(sum, number);
}

// One block. Without `dy` the mean; with it (float [1]) what each value's slope is multiplied by.
KERNEL(BLOCK) loss_join_f32(const double2* parts, int count, const float* dy, float* result) {
    double sum = 0.0, number = 0.0;
    for (int i = threadIdx.x; i < count; i += BLOCK) {
        sum += parts[i].x;
        number += parts[i].y;
    }
    sum = block_reduce<SumWide>(sum);
    number = block_reduce<SumWide>(number);
    if (threadIdx.x != 0) return;
    *result = number > 0.0 ? static_cast<float>((dy != nullptr ? static_cast<double>(*dy) : sum) / number) : 0.0f;
}

// ---- losses of one value ----

enum Kind { SMOOTH_L1, SQUARED_ERROR, SIGMOID_CROSS_ENTROPY, BINARY_CROSS_ENTROPY };
constexpr float EPSILON = 1e-7f;

__device__ __forceinline__ float loss_of(int kind, float beta, float p, float t) {
    const float d = p - t;
    switch (kind) {
        case SMOOTH_L1: {
            const float size = fabsf(d);
            return size < beta ? 0.5f * size * size / beta : size - 0.5f * beta;
        }
        case SQUARED_ERROR: return d * d;
        case SIGMOID_CROSS_ENTROPY: return fmaxf(p, 0.0f) - p * t + log1pf(expf(-fabsf(p)));
        default: {
            const float q = p < EPSILON ? EPSILON : p > 1.0f - EPSILON ? 1.0f - EPSILON : p;
            return -(t * logf(q + EPSILON) + (1.0f - t) * logf(1.0f - q + EPSILON));
        }
    }
}

__device__ __forceinline__ float slope_of(int kind, float beta, float p, float t) {
    const float d = p - t;
    switch (kind) {
        // copysign as Rust's signum: 1 at +0.
        case SMOOTH_L1: return fabsf(d) < beta ? d / beta : d != d ? d : copysignf(1.0f, d);
        case SQUARED_ERROR: return 2.0f * d;
        case SIGMOID_CROSS_ENTROPY: {
            const float e = expf(-fabsf(p));
            return (p >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e)) - t;
        }
        default:
            if (!(p >= EPSILON && p <= 1.0f - EPSILON)) return 0.0f;
            return (1.0f - t) / (1.0f - p + EPSILON) - t / (p + EPSILON);
    }
}

// ---- which prediction meets which target ----

enum Selection { ALL, AMPLITUDE, MATCHES, CLASSES, CLASSES_LAST };

// Twin of `Pairs` in src/ops/loss/cuda.rs. A row is what one index of `third` or one scale belongs to.
struct Pairs {
    int kind, selection;
    float beta;
    int targets;  // number of target values
    int row;      // target values of a row
    int rows;     // rows of targets: of an image, or (all, amplitude) of all
    int entries;  // entries of `third` of an image (anchors, classes), or (all, amplitude) groups of counts
    int classes;
};
static_assert(sizeof(Pairs) == 8 * 4, "the host's twin has the same fields");

struct Pair {
    int64_t prediction;
    float scale;
    bool meets;
};

// `third` is counts, classes, or the list of positive rows; `scales` those of rows.
__device__ __forceinline__ Pair pair_of(int target, const int* third, const float* scales, const Pairs& pairs) {
    const int row = target / pairs.row, place = target - row * pairs.row;
    switch (pairs.selection) {
        case ALL: return {target, 1.0f, valid_row(row, pairs.rows, third, pairs.entries)};
        case AMPLITUDE: {
            const bool valid = valid_row(row, pairs.rows, third, pairs.entries);
            const float scale = valid ? scales[row] : 0.0f;
            return {target, scale, valid && scale < INFINITY};
        }
        case MATCHES: {
            const int anchor = third[row], image = row / pairs.rows;
            return {(static_cast<int64_t>(image) * pairs.entries + anchor) * pairs.row + place, 1.0f, anchor >= 0};
        }
        default: {
            const int image = row / pairs.rows;
            const int label = third[image * pairs.entries + (row - image * pairs.rows)];
            const bool meets = label > 0 && label < pairs.classes;
            const int64_t first = static_cast<int64_t>(row) * pairs.row * pairs.classes;
            if (pairs.selection == CLASSES) return {first + static_cast<int64_t>(label) * pairs.row + place, 1.0f, meets};
            return {first + static_cast<int64_t>(place) * pairs.classes + label, 1.0f, meets};
        }
    }
}

// 1 / max |target| of row blockIdx.x; infinite for a row of zeros. NaN counts as nothing.
KERNEL(BLOCK) row_scales_f32(const float* targets, float* scales, int row) {
    const float* values = targets + static_cast<int64_t>(blockIdx.x) * row;
    float largest = 0.0f;
    for (int i = threadIdx.x; i < row; i += BLOCK) largest = fmaxf(largest, fabsf(values[i]));
    largest = block_max(largest);
    if (threadIdx.x == 0) scales[blockIdx.x] = 1.0f / largest;
}

// A block an image: the anchors that match with 1, in order, at most `rows` of them; -1 in rows that are left.
KERNEL(BLOCK) positive_rows_f32(const int* matches, int* anchors_of, int anchors, int rows) {
    matches += static_cast<int64_t>(blockIdx.x) * anchors;
    anchors_of += static_cast<int64_t>(blockIdx.x) * rows;
    int before = 0;
    for (int first = 0; first < anchors && before < rows; first += BLOCK) {
        const int anchor = first + threadIdx.x;
        const bool positive = anchor < anchors && matches[anchor] == 1;
        int total;
        const int place = before + block_rank(positive, total);
        if (positive && place < rows) anchors_of[place] = anchor;
        before += total;
    }
    for (int place = before + threadIdx.x; place < rows; place += BLOCK) anchors_of[place] = -1;
}

KERNEL(BLOCK) pointwise_loss_f32(const float* predictions, const float* targets, const int* third, const float* scales,
                                 double2* parts, Pairs pairs) {
    double sum = 0.0, number = 0.0;
    for (int i = global_thread(); i < pairs.targets; i += global_threads()) {
        const Pair pair = pair_of(i, third, scales, pairs);
        if (!pair.meets) continue;
        sum += loss_of(pairs.kind, pairs.beta, pair.scale * predictions[pair.prediction], pair.scale * targets[i]);
        number += 1.0;
    }
    leave(sum, number, parts);
}

// The number of pairs alone.
KERNEL(BLOCK) pointwise_count_f32(const int* third, const float* scales, double2* parts, Pairs pairs) {
    double number = 0.0;
    for (int i = global_thread(); i < pairs.targets; i += global_threads()) number += pair_of(i, third, scales, pairs).meets;
    leave(0.0, number, parts);
}

// dx holds zeros; `share` is dy / number.
KERNEL(BLOCK) pointwise_loss_grad_f32(const float* predictions, const float* targets, const int* third, const float* scales,
                                      const float* share, float* dx, Pairs pairs) {
    for (int i = global_thread(); i < pairs.targets; i += global_threads()) {
        const Pair pair = pair_of(i, third, scales, pairs);
        if (!pair.meets) continue;
        const float p = pair.scale * predictions[pair.prediction], t = pair.scale * targets[i];
        dx[pair.prediction] = *share * pair.scale * slope_of(pairs.kind, pairs.beta, p, t);
    }
}

// ---- softmax cross-entropy ----

#ifndef ACTIVE_WORDS
#define ACTIVE_WORDS 1
#endif

// Twin of `Labels` in src/ops/loss/cuda.rs.
struct Labels {
    int rows, classes;
    int groups;      // of counts
    int matches;     // labels are anchor matches: 1 is class 1, -1 class 0, 0 is left out
    int restricted;  // only rows whose most probable class is active take part
};
static_assert(sizeof(Labels) == 5 * 4, "the host's twin has the same fields");

// A bit for every class.
struct Active {
    unsigned words[ACTIVE_WORDS];
};

// The class of a row; -1 if it is left out.
__device__ __forceinline__ int class_of(int row, const float* logits, const int* labels, const int* counts, const Labels& of,
                                        const Active& active) {
    if (!valid_row(row, of.rows, counts, of.groups)) return -1;
    if (of.restricted) {
        int best = 0;
        for (int c = 1; c < of.classes; ++c) best = logits[c] > logits[best] ? c : best;
        if (!(active.words[best / 32] >> best % 32 & 1)) return -1;
    }
    const int label = labels[row];
    if (of.matches) return label == 0 ? -1 : label == 1;
    return label >= 0 && label < of.classes ? label : -1;
}

// The largest logit (x) and the logarithm of the sum of exponentials above it (y).
__device__ __forceinline__ float2 log_sum(const float* logits, int classes) {
    float largest = -INFINITY, sum = 0.0f;
    for (int c = 0; c < classes; ++c) largest = fmaxf(largest, logits[c]);
    for (int c = 0; c < classes; ++c) sum += expf(logits[c] - largest);
    return make_float2(largest, logf(sum));
}

KERNEL(BLOCK) softmax_loss_f32(const float* logits, const int* labels, const int* counts, double2* parts, Labels of,
                               const __grid_constant__ Active active) {
    double sum = 0.0, number = 0.0;
    for (int row = global_thread(); row < of.rows; row += global_threads()) {
        const float* mine = logits + static_cast<int64_t>(row) * of.classes;
        const int chosen = class_of(row, mine, labels, counts, of, active);
        if (chosen < 0) continue;
        const float2 log = log_sum(mine, of.classes);
        sum += log.y - (mine[chosen] - log.x);
        number += 1.0;
    }
    leave(sum, number, parts);
}

// The number of rows alone.
KERNEL(BLOCK) softmax_count_f32(const float* logits, const int* labels, const int* counts, double2* parts, Labels of,
                                const __grid_constant__ Active active) {
    double number = 0.0;
    for (int row = global_thread(); row < of.rows; row += global_threads()) {
        number += class_of(row, logits + static_cast<int64_t>(row) * of.classes, labels, counts, of, active) >= 0;
    }
    leave(0.0, number, parts);
}

KERNEL(BLOCK) softmax_loss_grad_f32(const float* logits, const int* labels, const int* counts, const float* share, float* dx,
                                    Labels of, const __grid_constant__ Active active) {
    for (int row = global_thread(); row < of.rows; row += global_threads()) {
        const float* mine = logits + static_cast<int64_t>(row) * of.classes;
        float* to = dx + static_cast<int64_t>(row) * of.classes;
        const int chosen = class_of(row, mine, labels, counts, of, active);
        const float2 log = log_sum(mine, of.classes);
        for (int c = 0; c < of.classes; ++c) {
            to[c] = chosen < 0 ? 0.0f : *share * (expf(mine[c] - log.x - log.y) - (c == chosen ? 1.0f : 0.0f));
        }
    }
}
