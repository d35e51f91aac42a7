// Elements of tensors in memory: floats, or bf16 where the plan keeps a value so. Arithmetic is in float everywhere.
#pragma once
#include "device/mma.cuh"

// A bf16 in memory, read and written as a float.
struct Bf16 {
    bf16 bits;

    Bf16() = default;
    __device__ __forceinline__ explicit Bf16(float value) : bits(to_bf16(value)) {}
    __device__ __forceinline__ operator float() const { return from_bf16(bits); }
    __device__ __forceinline__ Bf16& operator=(float value) {
        bits = to_bf16(value);
        return *this;
    }
};
static_assert(sizeof(Bf16) == 2, "as in memory");

// The type of elements that a constant of the module names, f32 or bf16.
#define ELEMENT_f32 float
#define ELEMENT_bf16 Bf16
#define ELEMENT_OF(name) ELEMENT_##name
#define ELEMENT(name) ELEMENT_OF(name)

// STORAGE is for kernels whose tensors are kept alike: `Stored` elements. The name of such a kernel: STORED(relu) is relu_f32 or
// relu_bf16.
#ifndef STORAGE
#define STORAGE f32
#endif
using Stored = ELEMENT(STORAGE);
#define STORED_NAMES(op, storage) op##_##storage
#define STORED_EXPANDED(op, storage) STORED_NAMES(op, storage)
#define STORED(op) STORED_EXPANDED(op, STORAGE)

// Four neighbouring elements as they lie in memory.
template <class E>
struct QuadOf;
template <>
struct QuadOf<float> {
    using Type = float4;
};
template <>
struct QuadOf<Bf16> {
    using Type = uint2;
};
template <class E>
using Quad = typename QuadOf<E>::Type;

// At a multiple of four of them, in one access.
__device__ __forceinline__ float4 load_quad(const float* from) { return load4(from); }
__device__ __forceinline__ uint2 load_quad(const Bf16* from) { return *reinterpret_cast<const uint2*>(from); }

__device__ __forceinline__ void store_quad(float* to, float4 values) { store4(to, values); }
__device__ __forceinline__ void store_quad(Bf16* to, float4 values) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(values.x, values.y), pack_bf16(values.z, values.w));
}

__device__ __forceinline__ void store_pair(float* to, float first, float second) {
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
}
__device__ __forceinline__ void store_pair(Bf16* to, float first, float second) {
    *reinterpret_cast<unsigned*>(to) = pack_bf16(first, second);
}

// A quad as floats.
__device__ __forceinline__ float4 floats_of(float4 quad) { return quad; }
__device__ __forceinline__ float4 floats_of(uint2 quad) {
    const float2 low = unpack_bf16(quad.x), high = unpack_bf16(quad.y);
    return make_float4(low.x, low.y, high.x, high.y);
}

__device__ __forceinline__ float4 joined(float a, float b, float c, float d) { return make_float4(a, b, c, d); }
__device__ __forceinline__ uint2 joined(Bf16 a, Bf16 b, Bf16 c, Bf16 d) {
    return make_uint2(a.bits | static_cast<uint32_t>(b.bits) << 16, c.bits | static_cast<uint32_t>(d.bits) << 16);
}

template <class E>
__device__ __forceinline__ Quad<E> zero_quad() {
    const E zero(0.0f);
    return joined(zero, zero, zero, zero);
}

// Element i of the quad is what `at(i)` points to, zero if that is null.
template <class E, class At>
__device__ __forceinline__ Quad<E> quad_of(At at) {
    E values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const E* from = at(i);
        values[i] = from == nullptr ? E(0.0f) : *from;
    }
    return joined(values[0], values[1], values[2], values[3]);
}
