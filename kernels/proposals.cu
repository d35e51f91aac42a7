// The proposal layer: anchors by foreground probability, moved, clipped, thinned. Kernels before and after those of order.cu (places)
// and suppress.cu (overlaps, walk).
//
// Layouts: probabilities [N,A,2], deltas [N,A,4], anchors [A,4], candidates [N,M,4], boxes [N,K,4].
// Cut: one thread an anchor (or a box), grid-stride. Bytes: 8 read, 12 written an anchor, then 36 read, 16 written for each one
// of the M best; for the paper's 4092 anchors 0.3 MB a recording: launches limit it, not memory.
// Needs: any architecture. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "boxes.cuh"
#include "order.cuh"

KERNEL(256) proposals_keys_f32(const float* probs, uint64_t* keys, int* ranks, int64_t total, int anchors) {
    const Ranking ranking = {keys, ranks};
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        ranking.put(i, descending_key(probs[2 * i + 1], static_cast<uint32_t>(i % anchors)));
    }
}

// The `each` best anchors of each image in order, moved by their deltas and clipped.
KERNEL(256) proposals_decode_f32(const float* deltas, const float* anchors, const int* ranks, float* candidates, int64_t total,
                                 int anchor_count, int each, float4 deviation, float4 window) {
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        if (ranks[i] >= each) continue;
        const Box moved = decode(load_box(anchors, i % anchor_count), load_box(deltas, i), deviation);
        store_box(candidates, i / anchor_count * each + ranks[i], clip(moved, window));
    }
}

// Boxes at the kept positions [N,K]; zeros where the position is -1.
KERNEL(256) proposals_take_f32(const float* candidates, const int* kept, float* boxes, int64_t total, int each, int most) {
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int position = kept[i];
        const Box none = {0.0f, 0.0f, 0.0f, 0.0f};
        store_box(boxes, i, position < 0 ? none : load_box(candidates, i / most * each + position));
    }
}
