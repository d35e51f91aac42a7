// Which anchors answer to an object, and with which deltas. Between the second and the third kernel order.cu finds the places of the
// random keys.
//
// Layouts: anchors [A,4], boxes [N,G,4], match [N,A] (1, -1, 0), deltas [N,P,4] in anchor order. Group 2 n of the keys holds the
// positives of image n, group 2 n + 1 its negatives; `found` [2 N] their numbers, zero before.
// Cut: the first two one thread an anchor, a row of blocks an image; the largest overlap of each object goes through shared
// memory, then by one integer maximum a block (floats that are not negative are ordered as integers). The last one block an
// image, 512 anchors at a time, with a running count of the positives before each.
// FLOPs: 2 x 14 x A G, 3.4 M for 4092 anchors and 30 objects an image; overlaps are worked out twice rather than kept.
// Launches limit it. Needs: any architecture; 4 G bytes of shared memory. Determinism: run_to_run; integer sums and maxima.
#include "device/prelude.cuh"
#include "device/reduce.cuh"
#include "order.cuh"
#include "targets.cuh"

// Two overlaps closer than this (relative) are a tie.
constexpr float TIE = 1e-5f;

// Boxes without area are no objects.
__device__ __forceinline__ float overlap(Box anchor, Box object) {
    return area(object) > 0.0f ? iou(anchor, object) : 0.0f;
}

// A first match, the object that each anchor overlaps most, and each object's largest overlap as the bits of a float (zero before).
KERNEL(256) rpn_overlaps_f32(const float* anchors, const float* boxes, const int* counts, int* matches, int* nearest,
                             int* best_of_object, int anchor_count, int each, float positive_iou, float negative_iou) {
    SHARED_DYNAMIC(dynamic);
    int* best_here = reinterpret_cast<int*>(dynamic);
    const int image = blockIdx.y, objects = limited(counts[image], each);
    const int anchor = blockIdx.x * blockDim.x + threadIdx.x;
    boxes += static_cast<int64_t>(image) * each * 4;
    for (int object = threadIdx.x; object < objects; object += blockDim.x) best_here[object] = 0;
    __syncthreads();
    if (anchor < anchor_count) {
        const Box mine = load_box(anchors, anchor);
        float best = 0.0f;
        int best_object = 0;
        for (int object = 0; object < objects; ++object) {
            const float here = overlap(mine, load_box(boxes, object));
            if (here > best) best = here, best_object = object;
            if (here > 0.0f) atomicMax(&best_here[object], __float_as_int(here));
        }
        const int64_t at = static_cast<int64_t>(image) * anchor_count + anchor;
        nearest[at] = best_object;
        matches[at] = best >= positive_iou && best > 0.0f ? 1 : best < negative_iou ? -1 : 0;
    }
    __syncthreads();
    for (int object = threadIdx.x; object < objects; object += blockDim.x) {
        atomicMax(&best_of_object[static_cast<int64_t>(image) * each + object], best_here[object]);
    }
}

// Makes the best anchors of each object positive; keys of what is then positive, and of what is negative.
KERNEL(256) rpn_match_f32(const float* anchors, const float* boxes, const int* counts, const float* random,
                          const int* best_of_object, int* matches, uint64_t* keys, int* ranks, int* found, int anchor_count,
                          int each) {
    SHARED(int, found_here, [2]);
    const int image = blockIdx.y, objects = limited(counts[image], each);
    const int anchor = blockIdx.x * blockDim.x + threadIdx.x;
    const Ranking ranking = {keys, ranks};
    boxes += static_cast<int64_t>(image) * each * 4;
    if (threadIdx.x < 2) found_here[threadIdx.x] = 0;
    __syncthreads();
    if (anchor < anchor_count) {
        const int64_t at = static_cast<int64_t>(image) * anchor_count + anchor;
        const Box mine = load_box(anchors, anchor);
        int match = matches[at];
        for (int object = 0; object < objects && match != 1; ++object) {
            const float here = overlap(mine, load_box(boxes, object));
            const float best = __int_as_float(best_of_object[static_cast<int64_t>(image) * each + object]);
            if (here > 0.0f && here >= __fmul_rn(best, 1.0f - TIE)) match = 1;
        }
        matches[at] = match;
        const uint64_t key = ascending_key(random[at], anchor);
        const int64_t group = 2 * static_cast<int64_t>(image) * anchor_count;
        ranking.put(group + anchor, match == 1 ? key : NO_KEY);
        ranking.put(group + anchor_count + anchor, match == -1 ? key : NO_KEY);
        if (match != 0) atomicAdd(&found_here[match == 1 ? 0 : 1], 1);
    }
    __syncthreads();
    if (threadIdx.x < 2) atomicAdd(&found[2 * image + threadIdx.x], found_here[threadIdx.x]);
}

constexpr int LIMIT_THREADS = 512;

// Makes a surplus neutral and writes the deltas of the positives that stay.
KERNEL(LIMIT_THREADS) rpn_limit_f32(const float* anchors, const float* boxes, const int* nearest, const int* ranks,
                                    const int* found, int* matches, float* deltas, int anchor_count, int each, int per_image,
                                    int rows, float4 deviation) {
    const int64_t image = blockIdx.x;
    const int positives = min(found[2 * image], rows), most_negatives = per_image - positives;
    boxes += image * each * 4;
    matches += image * anchor_count;
    nearest += image * anchor_count;
    ranks += 2 * image * anchor_count;
    deltas += image * rows * 4;
    int before = 0;
    for (int first = 0; first < anchor_count; first += LIMIT_THREADS) {
        const int anchor = first + threadIdx.x;
        const int match = anchor < anchor_count ? matches[anchor] : 0;
        const bool positive = match == 1 && ranks[anchor] < rows;
        const bool negative = match == -1 && ranks[anchor_count + anchor] < most_negatives;
        if (match != 0 && !positive && !negative) matches[anchor] = 0;
        int found_here;
        const int row = before + block_rank(positive, found_here);
        before += found_here;
        if (positive) store_box(deltas, row, encode(load_box(anchors, anchor), load_box(boxes, nearest[anchor]), deviation));
    }
    for (int row = before + threadIdx.x; row < rows; row += LIMIT_THREADS) store_box(deltas, row, {0.0f, 0.0f, 0.0f, 0.0f});
}
