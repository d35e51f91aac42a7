// Greedy non-maximum suppression of candidates in order: a bit for every pair that overlaps, then a walk.
//
// A candidate is kept if its intersection over union with no kept one before it is above the threshold; corners may be swapped;
// a box without area overlaps nothing. With classes, only boxes of one class overlap.
// Layouts: candidates [N,M,4], classes [N,M], found [N] (how many candidates there are), bits [N,M,W] with W = M / 64 rounded
// up: bit j % 64 of word j / 64 of row i says that i suppresses j, j > i. Kept positions [N,K], padded with -1; their numbers [N].
// Cut: overlaps: a block of 64 threads for 64 x 64 pairs, one row of pairs a thread; only words that are read are made. Walk:
// one block a recording, 64 candidates at a time: one thread goes through these, then all threads pass on what they suppress,
// a word each. Nothing is read by the host.
// Bytes and FLOPs: for 4092 candidates 8.4 M pairs of 14 operations and 1 MB of bits; the walk reads rows of kept candidates:
// 1000 rows of 512 bytes. Latency limits the walk: 64 steps in a row for each 64 candidates.
// Needs: any architecture; 1.3 KiB of shared memory, and W words for the walk. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "boxes.cuh"

constexpr int WORD = 64;

struct Upright {
    Box box;
    float area;
};

__device__ __forceinline__ Upright upright(Box b) {
    const Box box = {fminf(b.y1, b.y2), fminf(b.x1, b.x2), fmaxf(b.y1, b.y2), fmaxf(b.x1, b.x2)};
    return {box, area(box)};
}

__device__ __forceinline__ bool overlap(const Upright& a, const Upright& b, float threshold) {
    const float height = fmaxf(__fsub_rn(fminf(a.box.y2, b.box.y2), fmaxf(a.box.y1, b.box.y1)), 0.0f);
    const float width = fmaxf(__fsub_rn(fminf(a.box.x2, b.box.x2), fmaxf(a.box.x1, b.box.x1)), 0.0f);
    const float intersection = __fmul_rn(height, width);
    const float both = __fsub_rn(__fadd_rn(a.area, b.area), intersection);
    return a.area > 0.0f && b.area > 0.0f && __fdiv_rn(intersection, both) > threshold;
}

__device__ __forceinline__ int found_in(const int* found, int image, int candidates) {
    return found == nullptr ? candidates : min(max(found[image], 0), candidates);
}

KERNEL(WORD) nms_overlaps_f32(const float* candidates, const int* classes, const int* found, uint64_t* bits, int each,
                              float threshold) {
    SHARED(Upright, columns, [WORD]);
    SHARED(int, column_classes, [WORD]);
    const int image = blockIdx.z, row_tile = blockIdx.y, column_tile = blockIdx.x;
    const int count = found_in(found, image, each);
    if (column_tile < row_tile || column_tile * WORD >= count) return;

    const int64_t first = static_cast<int64_t>(image) * each;
    const int column = column_tile * WORD + threadIdx.x, row = row_tile * WORD + threadIdx.x;
    if (column < count) {
        columns[threadIdx.x] = upright(load_box(candidates, first + column));
        column_classes[threadIdx.x] = classes == nullptr ? 0 : classes[first + column];
    }
    __syncthreads();
    if (row >= count) return;

    const Upright mine = upright(load_box(candidates, first + row));
    const int my_class = classes == nullptr ? 0 : classes[first + row];
    uint64_t word = 0;
    for (int k = 0; k < min(WORD, count - column_tile * WORD); ++k) {
        const bool hit = column_tile * WORD + k > row && column_classes[k] == my_class && overlap(mine, columns[k], threshold);
        word |= static_cast<uint64_t>(hit ? 1 : 0) << k;
    }
    bits[(first + row) * gridDim.x + column_tile] = word;
}

// `order` (or null) says which index a position stands for: [N,M].
KERNEL(256) nms_walk(const uint64_t* bits, const int* found, const int* order, int* kept, int* kept_count, int each, int most) {
    // For each candidate of the recording whether it is suppressed.
    SHARED_DYNAMIC(dynamic);
    uint64_t* gone = reinterpret_cast<uint64_t*>(dynamic);
    SHARED(uint64_t, diagonal, [WORD]);
    SHARED(uint64_t, kept_word, [1]);
    SHARED(int, total, [1]);
    const int image = blockIdx.x, thread = threadIdx.x, threads = blockDim.x;
    const int count = found_in(found, image, each), tiles = static_cast<int>(ceil_div(count, WORD));
    const int64_t first = static_cast<int64_t>(image) * each, words = ceil_div(each, WORD);
    const int64_t out = static_cast<int64_t>(image) * most;

    for (int w = thread; w < tiles; w += threads) gone[w] = 0;
    if (thread == 0) total[0] = 0;
    __syncthreads();
    for (int tile = 0; tile < tiles; ++tile) {
        const int inside = min(WORD, count - tile * WORD);
        if (thread < inside) diagonal[thread] = bits[(first + tile * WORD + thread) * words + tile];
        __syncthreads();
        if (thread == 0) {
            uint64_t suppressed = gone[tile], survivors = 0;
            int slot = total[0];
            for (int k = 0; k < inside && slot < most; ++k) {
                if (suppressed >> k & 1) continue;
                suppressed |= diagonal[k];
                survivors |= static_cast<uint64_t>(1) << k;
                const int position = tile * WORD + k;
                kept[out + slot++] = order == nullptr ? position : order[first + position];
            }
            total[0] = slot;
            kept_word[0] = survivors;
        }
        __syncthreads();
        if (total[0] == most) break;
        for (int w = tile + 1 + thread; w < tiles; w += threads) {
            uint64_t word = gone[w];
            for (uint64_t rest = kept_word[0]; rest != 0; rest &= rest - 1) {
                word |= bits[(first + tile * WORD + __ffsll(static_cast<long long>(rest)) - 1) * words + w];
            }
            gone[w] = word;
        }
        __syncthreads();
    }
    for (int slot = total[0] + thread; slot < most; slot += threads) kept[out + slot] = -1;
    if (thread == 0) kept_count[image] = total[0];
}
