// Top-k and the first half of non-maximum suppression: keys of scores, and what is taken by its place in their order.
//
// Places come from order.cu between the two kernels, overlaps and the walk from suppress.cu.
// Layouts: scores [G,n]; boxes [N,A,4]. Cut: one thread a score, grid-stride. Bytes: 4 read, 12 written for each score, then 4 read
// and 8 (or 20) written for each one taken: launches limit it, not memory.
// Needs: any architecture. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "boxes.cuh"
#include "order.cuh"

// Keys of [G,n] scores; without counts (null) all count.
KERNEL(256) score_keys_f32(const float* scores, const int* counts, uint64_t* keys, int* ranks, int64_t total, int n) {
    const Ranking ranking = {keys, ranks};
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int index = static_cast<int>(i % n);
        const bool valid = counts == nullptr || index < counts[i / n];
        ranking.put(i, valid ? descending_key(scores[i], index) : NO_KEY);
    }
}

KERNEL(256) top_k_f32(const float* x, const int* ranks, float* values, int* indices, int64_t total, int n, int k) {
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        if (ranks[i] >= k) continue;
        const int64_t to = i / n * k + ranks[i];
        values[to] = x[i];
        indices[to] = static_cast<int>(i % n);
    }
}

// Boxes of [N,A] by descending score, and the index that each position stands for.
KERNEL(256) nms_sort_f32(const float* boxes, const int* counts, const int* ranks, float* candidates, int* order, int64_t total,
                         int each) {
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int64_t image = i / each;
        const int index = static_cast<int>(i % each);
        if (counts != nullptr && index >= counts[image]) continue;
        const int64_t to = image * each + ranks[i];
        store_box(candidates, to, load_box(boxes, i));
        order[to] = index;
    }
}
