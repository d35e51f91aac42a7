// Elements of tensors in memory: floats, or bf16 where the plan stores a value so. Arithmetic is in float everywhere.
#pragma once
#include "device/mma.cuh"

template <class E>
struct ElementOf;
template <>
struct ElementOf<float> {
    using Quad = float4;
};
template <>
struct ElementOf<bf16> {
    using Quad = uint2;
};
// Four neighbouring elements.
template <class E>
using Quad = typename ElementOf<E>::Quad;

__device__ __forceinline__ float load_element(const float* from) { return *from; }
__device__ __forceinline__ float load_element(const bf16* from) { return from_bf16(*from); }

__device__ __forceinline__ void store_element(float* to, float value) { *to = value; }
__device__ __forceinline__ void store_element(bf16* to, float value) { *to = to_bf16(value); }

// Four elements at a multiple of four of them, in one access.
__device__ __forceinline__ float4 load_quad(const float* from) { return load4(from); }
__device__ __forceinline__ uint2 load_quad(const bf16* from) { return *reinterpret_cast<const uint2*>(from); }

__device__ __forceinline__ void store_quad(float* to, float4 values) { store4(to, values); }
__device__ __forceinline__ void store_quad(bf16* to, float4 values) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(values.x, values.y), pack_bf16(values.z, values.w));
}

__device__ __forceinline__ void store_pair(float* to, float first, float second) {
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
}
__device__ __forceinline__ void store_pair(bf16* to, float first, float second) {
    *reinterpret_cast<unsigned*>(to) = pack_bf16(first, second);
}

// A quad as floats.
__device__ __forceinline__ float4 floats_of(float4 quad) { return quad; }
__device__ __forceinline__ float4 floats_of(uint2 quad) {
    const float2 low = unpack_bf16(quad.x), high = unpack_bf16(quad.y);
    return make_float4(low.x, low.y, high.x, high.y);
}

__device__ __forceinline__ void clear(float4& quad) { quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f); }
__device__ __forceinline__ void clear(uint2& quad) { quad = make_uint2(0, 0); }

template <class E>
__device__ __forceinline__ Quad<E> zero_quad() {
    Quad<E> zero;
    clear(zero);
    return zero;
}

__device__ __forceinline__ float4 joined(float a, float b, float c, float d) { return make_float4(a, b, c, d); }
__device__ __forceinline__ uint2 joined(bf16 a, bf16 b, bf16 c, bf16 d) {
    return make_uint2(a | static_cast<uint32_t>(b) << 16, c | static_cast<uint32_t>(d) << 16);
}

// Element i of the quad is what `at(i)` points to, zero if that is null.
template <class E, class At>
__device__ __forceinline__ Quad<E> quad_of(At at) {
    E values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const E* from = at(i);
        values[i] = from == nullptr ? E(0) : *from;
    }
    return joined(values[0], values[1], values[2], values[3]);
}
