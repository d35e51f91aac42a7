// Reductions over a warp or a block, in a fixed order: the same bits every time, whatever the schedule.
//
// Every thread of the warp (or block) calls, with all lanes active, and every one of them gets the result. A block has
// a multiple of 32 threads, at most 1024, along x. PTX: shfl.sync.bfly, shfl.sync.idx.
#pragma once
#include "device/prelude.cuh"

struct Sum {
    static __device__ __forceinline__ float none() { return 0.0f; }
    static __device__ __forceinline__ float join(float a, float b) { return __fadd_rn(a, b); }
};

// In double precision: where sums of parts are joined.
struct SumWide {
    static __device__ __forceinline__ double none() { return 0.0; }
    static __device__ __forceinline__ double join(double a, double b) { return __dadd_rn(a, b); }
};

// The larger one; +0 is larger than -0, and a NaN wins over everything, so that it is not lost.
struct Max {
    static __device__ __forceinline__ float none() { return -INFINITY; }
    static __device__ __forceinline__ float join(float a, float b) {
        if (a == b) return __uint_as_float(__float_as_uint(a) & __float_as_uint(b));
        return a > b || a != a ? a : b;
    }
};

struct Min {
    static __device__ __forceinline__ float none() { return INFINITY; }
    static __device__ __forceinline__ float join(float a, float b) {
        if (a == b) return __uint_as_float(__float_as_uint(a) | __float_as_uint(b));
        return a < b || a != a ? a : b;
    }
};

// Joins the values of the 32 lanes. Butterfly: in step s lane l meets lane l ^ s; as both join the same two values, and
// each of the joins above commutes bit for bit, all lanes hold the same bits.
template <class Join, class T>
__device__ __forceinline__ T warp_reduce(T value) {
#pragma unroll
    for (int step = WARP_SIZE / 2; step > 0; step /= 2) {
        value = Join::join(value, __shfl_xor_sync(ALL_LANES, value, step));
    }
    return value;
}

// Joins the values of all threads of the block: each warp's first, then those of the warps in their order. Ends with
// all threads past a barrier, so that it may be called again at once.
template <class Join, class T>
__device__ __forceinline__ T block_reduce(T value) {
    SHARED(T, warps, [WARP_SIZE]);
    const unsigned warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    value = warp_reduce<Join>(value);
    if (lane == 0) warps[warp] = value;
    __syncthreads();
    value = lane < blockDim.x / WARP_SIZE ? warps[lane] : Join::none();
    value = warp_reduce<Join>(value);
    __syncthreads();
    return value;
}

__device__ __forceinline__ float warp_sum(float value) { return warp_reduce<Sum>(value); }
__device__ __forceinline__ float warp_max(float value) { return warp_reduce<Max>(value); }
__device__ __forceinline__ float block_sum(float value) { return block_reduce<Sum>(value); }
__device__ __forceinline__ float block_max(float value) { return block_reduce<Max>(value); }

// A value and where it stands. Ties go to the lower index.
struct Indexed {
    float value;
    int index;
};

__device__ __forceinline__ Indexed better(Indexed a, Indexed b) {
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

// The largest value of the warp and its index.
__device__ __forceinline__ Indexed warp_argmax(Indexed mine) {
#pragma unroll
    for (int step = WARP_SIZE / 2; step > 0; step /= 2) {
        mine =
            better(mine, {__shfl_xor_sync(ALL_LANES, mine.value, step), __shfl_xor_sync(ALL_LANES, mine.index, step)});
    }
    return mine;
}

// The largest value of the block and its index. Threads without a value give { -INFINITY, INT_MAX }.
__device__ __forceinline__ Indexed block_argmax(Indexed mine) {
    SHARED(float, values, [WARP_SIZE]);
    SHARED(int, indices, [WARP_SIZE]);
    const unsigned warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    mine = warp_argmax(mine);
    if (lane == 0) {
        values[warp] = mine.value;
        indices[warp] = mine.index;
    }
    __syncthreads();
    mine = lane < blockDim.x / WARP_SIZE ? Indexed{values[lane], indices[lane]} : Indexed{-INFINITY, 0x7fffffff};
    mine = warp_argmax(mine);
    __syncthreads();
    return mine;
}

// Sum of the values of all lanes below this one: an exclusive prefix sum over the warp.
__device__ __forceinline__ int warp_prefix(int value) {
    int sum = value;
#pragma unroll
    for (unsigned step = 1; step < WARP_SIZE; step *= 2) {
        int below = __shfl_up_sync(ALL_LANES, sum, step);
        if (threadIdx.x % WARP_SIZE >= step) sum += below;
    }
    return sum - value;
}

// How many threads of the block below this one have `mine` set, and in `total` how many there are in all. Ends past a
// barrier.
__device__ __forceinline__ int block_rank(bool mine, int& total) {
    SHARED(int, found, [WARP_SIZE]);
    const unsigned warp = threadIdx.x / WARP_SIZE, lane = lane_index();
    const unsigned lanes = __ballot_sync(ALL_LANES, mine);
    if (lane == 0) found[warp] = __popc(lanes);
    __syncthreads();
    int rank = __popc(lanes & ((1u << lane) - 1));
    total = 0;
    for (unsigned w = 0; w < blockDim.x / WARP_SIZE; ++w) {
        if (w < warp) rank += found[w];
        total += found[w];
    }
    __syncthreads();
    return rank;
}
