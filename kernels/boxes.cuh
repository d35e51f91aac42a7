// Arithmetic on single boxes (y1, x1, y2, x2), each product and sum rounded on its own: the same bits as src/ops/boxes/geometry.rs
// gives on the CPU, up to the last place of expf and logf.
#pragma once
#include "device/prelude.cuh"

struct Box {
    float y1, x1, y2, x2;
};

// Box `index` of boxes stored one after the other, at a multiple of 16 bytes.
__device__ __forceinline__ Box load_box(const float* __restrict__ boxes, int64_t index) {
    const float4 b = reinterpret_cast<const float4*>(boxes)[index];
    return {b.x, b.y, b.z, b.w};
}

__device__ __forceinline__ void store_box(float* __restrict__ boxes, int64_t index, Box b) {
    reinterpret_cast<float4*>(boxes)[index] = make_float4(b.y1, b.x1, b.y2, b.x2);
}

__device__ __forceinline__ float area(Box b) {
    return __fmul_rn(__fsub_rn(b.y2, b.y1), __fsub_rn(b.x2, b.x1));
}

// Intersection over union; 0 if the union is not positive.
__device__ __forceinline__ float iou(Box a, Box b) {
    const float height = fmaxf(__fsub_rn(fminf(a.y2, b.y2), fmaxf(a.y1, b.y1)), 0.0f);
    const float width = fmaxf(__fsub_rn(fminf(a.x2, b.x2), fmaxf(a.x1, b.x1)), 0.0f);
    const float intersection = __fmul_rn(height, width);
    const float both = __fsub_rn(__fadd_rn(area(a), area(b)), intersection);
    return both > 0.0f ? __fdiv_rn(intersection, both) : 0.0f;
}

__device__ __forceinline__ float centre(float low, float size) {
    return __fadd_rn(low, __fmul_rn(0.5f, size));
}

// The deltas (dy, dx, dh, dw) that move `b` onto `target`, divided by `deviation`.
__device__ __forceinline__ Box encode(Box b, Box target, float4 deviation) {
    const float h = __fsub_rn(b.y2, b.y1), w = __fsub_rn(b.x2, b.x1);
    const float target_h = __fsub_rn(target.y2, target.y1), target_w = __fsub_rn(target.x2, target.x1);
    const float dy = __fdiv_rn(__fsub_rn(centre(target.y1, target_h), centre(b.y1, h)), h);
    const float dx = __fdiv_rn(__fsub_rn(centre(target.x1, target_w), centre(b.x1, w)), w);
    const float dh = logf(__fdiv_rn(target_h, h)), dw = logf(__fdiv_rn(target_w, w));
    return {__fdiv_rn(dy, deviation.x), __fdiv_rn(dx, deviation.y), __fdiv_rn(dh, deviation.z), __fdiv_rn(dw, deviation.w)};
}

// The inverse of encode: `b` moved by deltas times `deviation`.
__device__ __forceinline__ Box decode(Box b, Box deltas, float4 deviation) {
    const float dy = __fmul_rn(deltas.y1, deviation.x), dx = __fmul_rn(deltas.x1, deviation.y);
    const float dh = __fmul_rn(deltas.y2, deviation.z), dw = __fmul_rn(deltas.x2, deviation.w);
    const float h = __fsub_rn(b.y2, b.y1), w = __fsub_rn(b.x2, b.x1);
    const float y = __fadd_rn(centre(b.y1, h), __fmul_rn(dy, h));
    const float x = __fadd_rn(centre(b.x1, w), __fmul_rn(dx, w));
    const float moved_h = __fmul_rn(h, expf(dh)), moved_w = __fmul_rn(w, expf(dw));
    const float y1 = __fsub_rn(y, __fmul_rn(0.5f, moved_h)), x1 = __fsub_rn(x, __fmul_rn(0.5f, moved_w));
    return {y1, x1, __fadd_rn(y1, moved_h), __fadd_rn(x1, moved_w)};
}

// A coordinate that is not a number becomes the lower edge.
__device__ __forceinline__ float limit(float value, float low, float high) {
    const float raised = value > low ? value : low;
    return raised < high ? raised : high;
}

// The part of `b` inside `window` (y1, x1, y2, x2).
__device__ __forceinline__ Box clip(Box b, float4 window) {
    return {limit(b.y1, window.x, window.z), limit(b.x1, window.y, window.w), limit(b.y2, window.x, window.z),
            limit(b.x2, window.y, window.w)};
}

// To the nearest whole number, halves to even.
__device__ __forceinline__ double round_half_even(double value) {
    const double low = floor(value), rest = value - low;
    if (rest != 0.5) return rest < 0.5 ? low : low + 1.0;
    return floor(low * 0.5) * 2.0 == low ? low : low + 1.0;
}

// A normalised coordinate in pixels: norm * scale + shift, each rounded.
__device__ __forceinline__ double to_pixels(float norm, double scale, double shift) {
    return __dadd_rn(__dmul_rn(norm, scale), shift);
}
