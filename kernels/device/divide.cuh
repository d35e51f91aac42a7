// Division by a number that the host knows: a multiplication and a shift instead of some twenty instructions.
#pragma once
#include "device/prelude.cuh"

// Made by Divisor::new in src/device/cuda/divisor.rs: for 0 <= n < 2^31, n / value = (high(n multiplier) + n) >> shift.
struct Divisor {
    int value;
    unsigned multiplier;
    unsigned shift;

    __device__ __forceinline__ int quotient(int n) const {
        return static_cast<int>((__umulhi(static_cast<unsigned>(n), multiplier) + static_cast<unsigned>(n)) >> shift);
    }

    // n / value; n becomes the remainder.
    __device__ __forceinline__ int divide(int& n) const {
        const int result = quotient(n);
        n -= result * value;
        return result;
    }
};

// Rows of a leading axis with device-side counts: they come in groups, of which each has `counts[group]` valid rows
// at its front.
struct Rows {
    const int* counts;
    Divisor group;

    __device__ __forceinline__ bool valid(int row) const {
        if (counts == nullptr) return true;
        const int index = group.divide(row);
        return row < counts[index];
    }

    // Whether any row of first..=last is valid: in each group the first of them decides.
    __device__ __forceinline__ bool any_valid(int first, int last) const {
        if (counts == nullptr) return true;
        while (first <= last) {
            int place = first;
            const int index = group.divide(place);
            if (place < counts[index]) return true;
            first += group.value - place;
        }
        return false;
    }
};
