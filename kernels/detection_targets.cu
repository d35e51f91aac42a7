// Which proposals the heads are trained on, and towards what; mask targets; mini masks. Between the first and the second kernel
// order.cu finds the places of the random keys.
//
// Layouts: candidates are the P proposals of an image, then perhaps its G objects; group 2 n of the keys holds the positives of
// image n, group 2 n + 1 its negatives; `found` [2 N] their numbers, zero before. ROIs [N,R,4]: positives, negatives, zeros.
// Mask targets [N,M,h',w'] of the first M ROIs; masks [N,G,h,w]; mini masks [K,h',w'] from masks [K,H,W].
// Cut: one thread a candidate, a row of blocks an image; mask targets one thread an element, grid-stride; mini masks one block a mask.
// Bytes and FLOPs: 14 (P + G) G overlaps, 0.9 M for 2000 proposals and 30 objects an image; mask targets write 0.2 MB an image
// of 66 positives and read as much from the cache. Launches limit it.
// Needs: any architecture; 128 bytes of shared memory. Determinism: run_to_run; integer sums.
#include "device/prelude.cuh"
#include "order.cuh"
#include "resize.cuh"
#include "sample.cuh"
#include "targets.cuh"

// Extents: images, proposals, objects and candidates of each, ROIs of each.
struct Sampling {
    int images, proposals, objects, candidates, rois;
    int most_positives, fill_with_negatives;
    float positive_iou;
    // 1 / the share of positives.
    float per_positive;
};
static_assert(sizeof(Sampling) == 36, "as in src/ops/targets/detection_cuda.rs");

__device__ __forceinline__ Objects objects_of(const float* boxes, const int* classes, const int* counts, int64_t image,
                                              const Sampling& s) {
    return {boxes + image * s.objects * 4, classes + image * s.objects, limited(counts[image], s.objects)};
}

__device__ __forceinline__ Box candidate_box(const float* proposals, const float* boxes, int64_t image, int i, const Sampling& s) {
    return i < s.proposals ? load_box(proposals, image * s.proposals + i) : load_box(boxes, image * s.objects + i - s.proposals);
}

KERNEL(256) detection_match_f32(const float* proposals, const int* proposal_counts, const float* boxes, const int* classes,
                                const int* object_counts, const float* random, uint64_t* keys, int* ranks, int* nearest,
                                int* found, Sampling s) {
    SHARED(int, found_here, [2]);
    const int64_t image = blockIdx.y;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (threadIdx.x < 2) found_here[threadIdx.x] = 0;
    __syncthreads();
    if (i < s.candidates) {
        const Objects objects = objects_of(boxes, classes, object_counts, image, s);
        const int object = i - s.proposals;
        const bool exists = object < 0 ? i < limited(proposal_counts[image], s.proposals)
                                       : object < objects.count && objects.classes[object] >= 0;
        bool positive = false, negative = false;
        if (exists) {
            const Box b = candidate_box(proposals, boxes, image, i, s);
            int best;
            const float overlap = objects.nearest(b, &best);
            nearest[image * s.candidates + i] = best;
            const bool zero = b.y1 == 0.0f && b.x1 == 0.0f && b.y2 == 0.0f && b.x2 == 0.0f;
            positive = !zero && overlap >= s.positive_iou && overlap > 0.0f;
            negative = !zero && !positive && !objects.in_crowd(b);
        }
        const Ranking ranking = {keys, ranks};
        const uint64_t key = ascending_key(random[image * s.candidates + i], i);
        ranking.put(2 * image * s.candidates + i, positive ? key : NO_KEY);
        ranking.put((2 * image + 1) * s.candidates + i, negative ? key : NO_KEY);
        if (positive || negative) atomicAdd(&found_here[positive ? 0 : 1], 1);
    }
    __syncthreads();
    if (threadIdx.x < 2) atomicAdd(&found[2 * image + threadIdx.x], found_here[threadIdx.x]);
}

// Writes the sampled rows; ROIs, classes and deltas are zero before. `objects_of_rois` [N,R]: what each positive goes to.
KERNEL(256) detection_sample_f32(const float* proposals, const float* boxes, const int* classes, const uint64_t* keys,
                                 const int* ranks, const int* nearest, const int* found, float* rois, int* roi_classes,
                                 float* deltas, int* counts, int* positives, int* objects_of_rois, Sampling s, float4 deviation) {
    const int64_t image = blockIdx.y;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= s.candidates) return;
    const int kept = min(found[2 * image], s.most_positives), free = s.rois - kept;
    // One product in float: 1 / 0.33 * 66 must give 200.
    const float wanted = fminf(__fmul_rn(s.per_positive, static_cast<float>(kept)), 2e9f);
    const int share = s.fill_with_negatives != 0 ? free : max(static_cast<int>(wanted) - kept, 0);
    const int negatives = min(min(share, free), found[2 * image + 1]);
    if (i == 0) {
        counts[image] = kept + negatives;
        positives[image] = kept;
    }
    const int64_t positive_at = 2 * image * s.candidates + i, negative_at = positive_at + s.candidates;
    const bool positive = keys[positive_at] != NO_KEY && ranks[positive_at] < kept;
    const bool negative = keys[negative_at] != NO_KEY && ranks[negative_at] < negatives;
    if (!positive && !negative) return;
    const int64_t row = image * s.rois + (positive ? ranks[positive_at] : kept + ranks[negative_at]);
    const Box b = candidate_box(proposals, boxes, image, i, s);
    store_box(rois, row, b);
    if (positive) {
        const int object = nearest[image * s.candidates + i];
        roi_classes[row] = classes[image * s.objects + object];
        store_box(deltas, row, encode(b, load_box(boxes, image * s.objects + object), deviation));
        objects_of_rois[row] = object;
    }
}

// Extents of the masks given and of the targets.
struct MaskShape {
    int height, width, target_height, target_width, mini;
};
static_assert(sizeof(MaskShape) == 20, "as in src/ops/targets/detection_cuda.rs");

// `roi` in coordinates of `object`: (0, 0, 1, 1) where they agree.
__device__ __forceinline__ Box relative(Box roi, Box object) {
    const float h = __fsub_rn(object.y2, object.y1), w = __fsub_rn(object.x2, object.x1);
    return {__fdiv_rn(__fsub_rn(roi.y1, object.y1), h), __fdiv_rn(__fsub_rn(roi.x1, object.x1), w),
            __fdiv_rn(__fsub_rn(roi.y2, object.y1), h), __fdiv_rn(__fsub_rn(roi.x2, object.x1), w)};
}

// Bilinear samples of the masks in the positives, corner to corner, rounded to 0 or 1.
template <class T>
__device__ __forceinline__ void mask_targets(const T* masks, const float* boxes, const float* rois, const int* positives,
                                             const int* objects_of_rois, float* targets, const Sampling& s, MaskShape shape) {
    const int cells = shape.target_height * shape.target_width;
    const int64_t total = static_cast<int64_t>(s.images) * s.most_positives * cells;
    for (int64_t at = global_thread(); at < total; at += global_threads()) {
        const int64_t image = at / cells / s.most_positives;
        const int row = static_cast<int>(at / cells % s.most_positives), cell = static_cast<int>(at % cells);
        float value = 0.0f;
        if (row < positives[image]) {
            const int64_t object = image * s.objects + objects_of_rois[image * s.rois + row];
            const Box roi = load_box(rois, image * s.rois + row);
            const Box window = shape.mini != 0 ? relative(roi, load_box(boxes, object)) : roi;
            const Sample y = sample(axis(window.y1, window.y2, shape.height, shape.target_height, 0), cell / shape.target_width);
            const Sample x = sample(axis(window.x1, window.x2, shape.width, shape.target_width, 0), cell % shape.target_width);
            if (y.inside && x.inside) {
                const T* mask = masks + object * shape.height * shape.width;
                const T *top = mask + y.low * shape.width, *bottom = mask + y.high * shape.width;
                value = rintf(mix(mix(top[x.low], top[x.high], x.f), mix(bottom[x.low], bottom[x.high], x.f), y.f));
            }
        }
        targets[at] = value;
    }
}

KERNEL(256) mask_targets_f32(const float* masks, const float* boxes, const float* rois, const int* positives,
                             const int* objects_of_rois, float* targets, Sampling s, MaskShape shape) {
    mask_targets(masks, boxes, rois, positives, objects_of_rois, targets, s, shape);
}

KERNEL(256) mask_targets_u8(const uint8_t* masks, const float* boxes, const float* rois, const int* positives,
                            const int* objects_of_rois, float* targets, Sampling s, MaskShape shape) {
    mask_targets(masks, boxes, rois, positives, objects_of_rois, targets, s, shape);
}

__device__ __forceinline__ int whole_limited(float value, int most) {
    return static_cast<int>(fminf(fmaxf(value, 0.0f), static_cast<float>(most)));
}

// The block's mask cut to its whole-pixel box, resized, rounded, halves to even.
template <class T>
__device__ __forceinline__ void mini_mask(const T* masks, const float* boxes, T* mini, MaskShape shape) {
    const int64_t index = blockIdx.x;
    const Box b = load_box(boxes, index);
    const int y1 = whole_limited(b.y1, shape.height), x1 = whole_limited(b.x1, shape.width);
    const int height = whole_limited(b.y2, shape.height) - y1, width = whole_limited(b.x2, shape.width) - x1;
    const bool empty = height <= 0 || width <= 0;
    const T* cut = masks + (index * shape.height + y1) * shape.width + x1;
    const float2 range = block_range(empty ? 0 : height * width, [=](int i) {
        return static_cast<float>(cut[i / width * shape.width + i % width]);
    });
    const int cells = shape.target_height * shape.target_width;
    for (int cell = threadIdx.x; cell < cells; cell += blockDim.x) {
        double value = 0.0;
        if (!empty) {
            const ResizeSample y = resize_sample(height, shape.target_height, cell / shape.target_width);
            const ResizeSample x = resize_sample(width, shape.target_width, cell % shape.target_width);
            value = resized(y, x, range.x, range.y,
                            [=](int row, int column) { return static_cast<double>(cut[row * shape.width + column]); });
        }
        mini[index * cells + cell] = static_cast<T>(round_half_even(value));
    }
}

KERNEL(256) mini_masks_f32(const float* masks, const float* boxes, float* mini, MaskShape shape) {
    mini_mask(masks, boxes, mini, shape);
}

KERNEL(256) mini_masks_u8(const uint8_t* masks, const float* boxes, uint8_t* mini, MaskShape shape) {
    mini_mask(masks, boxes, mini, shape);
}
