// The place of each key in its group's order: the number of smaller keys.
//
// ranks[g,i] = #{ j : keys[g,j] < keys[g,i] }. Layouts: keys and ranks [G,n]; ranks begin as 0; those of NO_KEY stay 0.
// Cut: grid (tiles of 256 keys of all groups, slices of 1024 keys that they are compared with), one thread a key, the slice's keys
// in shared memory, 256 at a time.
// FLOPs: n^2 comparisons of 64 bits a group: 17 M for the 4092 anchors of the paper's detector, spread over 64 blocks a recording.
// A sort in one block (bitonic: 78 passes with a barrier each) does less work but leaves all other multiprocessors idle; the
// quadratic count loses beyond some 10^5 keys a group. Arithmetic limits it: each key is read from memory once a tile.
// Needs: any architecture; 2 KiB of shared memory. Determinism: run_to_run; integer sums do not depend on their order.
#include "device/prelude.cuh"
#include "order.cuh"

constexpr int TILE = 256;
constexpr int SLICE = 1024;

KERNEL(TILE) rank_u64(const uint64_t* keys, int* ranks, int n) {
    SHARED(uint64_t, others, [TILE]);
    const int tiles = static_cast<int>(ceil_div(n, TILE));
    const int64_t group = static_cast<int64_t>(blockIdx.x / tiles) * n;
    const int i = blockIdx.x % tiles * TILE + threadIdx.x;
    const uint64_t mine = i < n ? keys[group + i] : NO_KEY;
    const int begin = blockIdx.y * SLICE, end = min(n, begin + SLICE);

    int smaller = 0;
    for (int first = begin; first < end; first += TILE) {
        const int count = min(TILE, end - first);
        if (static_cast<int>(threadIdx.x) < count) others[threadIdx.x] = keys[group + first + threadIdx.x];
        __syncthreads();
        if (mine != NO_KEY) {
            for (int k = 0; k < count; ++k) smaller += others[k] < mine ? 1 : 0;
        }
        __syncthreads();
    }
    if (smaller > 0) atomicAdd(&ranks[group + i], smaller);
}
