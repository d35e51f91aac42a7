// Sort keys: a total order of floats with their indices, the same as src/ops/select/order.rs gives, so that ties and NaN come in the
// same order everywhere. Keys of a group differ from each other; the number of smaller ones is a key's place in the order.
#pragma once
#include "device/prelude.cuh"

// The key of what takes no part: larger than every other.
constexpr uint64_t NO_KEY = ~static_cast<uint64_t>(0);

// An integer of the same order as a float that is a number; both zeros are equal.
__device__ __forceinline__ uint32_t ordered(float value) {
    const uint32_t bits = __float_as_uint(__fadd_rn(value, 0.0f));
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ uint64_t key_of(uint32_t major, uint32_t index) {
    return static_cast<uint64_t>(major) << 32 | index;
}

// Sorts ascending to descending values: ties by lower index, NaN last.
__device__ __forceinline__ uint64_t descending_key(float value, uint32_t index) {
    return key_of(value == value ? ~ordered(value) : 0xffffffffu, index);
}

// Sorts ascending to ascending values: ties by lower index, NaN last.
__device__ __forceinline__ uint64_t ascending_key(float value, uint32_t index) {
    return key_of(value == value ? ordered(value) : 0xffffffffu, index);
}

// Keys of some groups, and the places that rank_u64 of order.cu finds for them. Whoever writes a key clears its place.
struct Ranking {
    uint64_t* keys;
    int* ranks;

    __device__ __forceinline__ void put(int64_t at, uint64_t key) const {
        keys[at] = key;
        ranks[at] = 0;
    }
};
