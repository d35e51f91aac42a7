// The bilinear resize that masks are put on the image with: half-pixel centres, zeros outside the source that take part in the
// interpolation, the result limited to the source's range. In double, each operation rounded on its own, as
// src/ops/detections/resize.rs does, because what is rounded to 0 or 1 behind it often lies at a half.
#pragma once
#include "device/prelude.cuh"
#include "device/reduce.cuh"

// The two source samples that a target sample lies between (-1: outside, zero) and the weight of the second.
struct ResizeSample {
    int low, high;
    double f;
};

__device__ __forceinline__ ResizeSample resize_sample(int from, double to, double i) {
    const double scale = from / (to > 1.0 ? to : 1.0);
    const double position = __dadd_rn(__dmul_rn(i + 0.5, scale), -0.5);
    const double low = floor(position);
    const bool has_low = low >= 0.0 && low < from, has_high = low + 1.0 >= 0.0 && low + 1.0 < from;
    return {has_low ? static_cast<int>(low) : -1, has_high ? static_cast<int>(low) + 1 : -1, position - low};
}

// a (1 - f) + b f
__device__ __forceinline__ double between(double a, double b, double f) {
    return __dadd_rn(__dmul_rn(a, 1.0 - f), __dmul_rn(b, f));
}

// The value between four samples, `read(row, column)`.
template <class Read>
__device__ __forceinline__ double resized(ResizeSample y, ResizeSample x, double lowest, double highest, Read read) {
    const auto value = [&](int row, int column) -> double { return row < 0 || column < 0 ? 0.0 : read(row, column); };
    const double top = between(value(y.low, x.low), value(y.low, x.high), x.f);
    const double bottom = between(value(y.high, x.low), value(y.high, x.high), x.f);
    return fmin(fmax(between(top, bottom, y.f), lowest), highest);
}

// For block_reduce: what is not a number is left out.
struct Lowest {
    static __device__ __forceinline__ float none() { return INFINITY; }
    static __device__ __forceinline__ float join(float a, float b) { return fminf(a, b); }
};

struct Highest {
    static __device__ __forceinline__ float none() { return -INFINITY; }
    static __device__ __forceinline__ float join(float a, float b) { return fmaxf(a, b); }
};

// The range of `count` values, `read(i)`; the whole block calls.
template <class Read>
__device__ __forceinline__ float2 block_range(int count, Read read) {
    float lowest = Lowest::none(), highest = Highest::none();
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const float value = read(i);
        lowest = fminf(lowest, value);
        highest = fmaxf(highest, value);
    }
    return make_float2(block_reduce<Lowest>(lowest), block_reduce<Highest>(highest));
}
