// The detection layer: each ROI's most probable class and box; the rest is done by order.cu and suppress.cu.
//
// Suppression goes within classes, but in one walk over all of them by descending score: boxes of different classes do not
// overlap, and the `max` best of all hold at most `max` of any class.
// Layouts: ROIs [N,R,4], probabilities [N R,C], deltas [N R,C,4], candidates [N,R,4], detections [N,D,6].
// Cut: one thread a ROI (or a detection), grid-stride. Bytes: 4 C + 12 a ROI, then 40 each; launches limit it, not memory.
// Needs: any architecture. Determinism: run_to_run; the number of candidates is an integer sum.
#include "device/prelude.cuh"
#include "boxes.cuh"
#include "order.cuh"

// The first class of the highest probability; class 0 if none is a number.
__device__ __forceinline__ int most_probable(const float* probs, int classes, float* score) {
    int best = 0;
    *score = -INFINITY;
    for (int c = 0; c < classes; ++c) {
        if (probs[c] > *score) *score = probs[c], best = c;
    }
    return best;
}

// Keys by score, the class of each ROI (0 if it is dropped), and how many are left in each image (`found`, zero before).
KERNEL(256) detections_keys_f32(const float* probs, const int* counts, uint64_t* keys, int* ranks, int* classes_of, int* found,
                                int64_t total, int each, int classes, float least) {
    const Ranking ranking = {keys, ranks};
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int image = static_cast<int>(i / each), roi = static_cast<int>(i % each);
        float score = 0.0f;
        const bool valid = counts == nullptr || roi < counts[image];
        const int best = valid ? most_probable(probs + i * classes, classes, &score) : 0;
        const bool keep = best > 0 && (least == 0.0f || score >= least);
        classes_of[i] = keep ? best : 0;
        ranking.put(i, keep ? descending_key(score, roi) : NO_KEY);
        if (keep) atomicAdd(&found[image], 1);
    }
}

// Candidates by descending score: box, class, ROI.
KERNEL(256) detections_sort_f32(const float* rois, const float* deltas, const int* classes_of, const int* ranks,
                                float* candidates, int* candidate_classes, int* order, int64_t total, int each, int classes,
                                float4 deviation, float4 window) {
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int best = classes_of[i];
        if (best == 0) continue;
        const int64_t to = i / each * each + ranks[i];
        const Box moved = decode(load_box(rois, i), load_box(deltas, i * classes + best), deviation);
        store_box(candidates, to, clip(moved, window));
        candidate_classes[to] = best;
        order[to] = static_cast<int>(i % each);
    }
}

// Rows (y1, x1, y2, x2, class, score) of the kept positions [N,D]; zeros where the position is -1.
KERNEL(256) detections_take_f32(const float* probs, const float* candidates, const int* candidate_classes, const int* order,
                                const int* kept, float* detections, int64_t total, int each, int classes, int most) {
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        Box box = {0.0f, 0.0f, 0.0f, 0.0f};
        float2 rest = make_float2(0.0f, 0.0f);
        if (kept[i] >= 0) {
            const int64_t first = i / most * each, at = first + kept[i];
            const int best = candidate_classes[at];
            box = load_box(candidates, at);
            rest = make_float2(static_cast<float>(best), probs[(first + order[at]) * classes + best]);
        }
        float2* row = reinterpret_cast<float2*>(detections + 6 * i);
        row[0] = make_float2(box.y1, box.x1);
        row[1] = make_float2(box.y2, box.x2);
        row[2] = rest;
    }
}
