// Where a crop reads its map: the coordinates of TensorFlow's crop_and_resize, with the same roundings as src/ops/roi/sample.rs.
#pragma once
#include "device/prelude.cuh"

// `count` samples between two normalised ends on a map of `size` cells, the first and last exactly on the ends.
struct Axis {
    float start, step, last;
    int clamp;
};

// One sample: the value is (1 - f) map[low] + f map[high]. Outside of the map (or at what is not a number) both are 0.
struct Sample {
    int low, high;
    float f;
    bool inside;
};

__device__ __forceinline__ Axis axis(float low, float high, int size, int count, int clamp) {
    const float last = static_cast<float>(size - 1);
    // For boxes that end at 1 the rounding decides whether the last sample is on the map.
    if (count == 1) return {__fmul_rn(__fmul_rn(0.5f, __fadd_rn(low, high)), last), 0.0f, last, clamp};
    const float step = __fdiv_rn(__fmul_rn(__fsub_rn(high, low), last), static_cast<float>(count - 1));
    return {__fmul_rn(low, last), step, last, clamp};
}

__device__ __forceinline__ Sample sample(Axis axis, int i) {
    // How far outside the map a sample may lie and still be moved to its edge, if that is asked for.
    const float edge = 1e-4f;
    float position = __fadd_rn(axis.start, __fmul_rn(static_cast<float>(i), axis.step));
    if (axis.clamp != 0 && position > -edge && position < __fadd_rn(axis.last, edge)) {
        position = fminf(fmaxf(position, 0.0f), axis.last);
    }
    if (!(position >= 0.0f && position <= axis.last)) return {0, 0, 0.0f, false};
    const float low = floorf(position);
    return {static_cast<int>(low), static_cast<int>(ceilf(position)), __fsub_rn(position, low), true};
}

// Between a and b.
__device__ __forceinline__ float mix(float a, float b, float f) {
    return __fadd_rn(a, __fmul_rn(__fsub_rn(b, a), f));
}
