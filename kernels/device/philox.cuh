// Philox 4x32-10 (Salmon et al., SC 2011) and numbers made of its words: the same bits as src/ops/random gives on the
// CPU. So every operation is one that rounds once (the _rn functions), in the same order, and the compiler may fuse
// none of them.
#pragma once
#include "device/prelude.cuh"

// Four random words for a counter under a key.
__device__ __forceinline__ uint4 philox(uint2 key, uint4 counter) {
    uint4 c = counter;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        if (round > 0) {
            key.x += 0x9e3779b9u;
            key.y += 0xbb67ae85u;
        }
        const uint32_t low0 = 0xd2511f53u * c.x, high0 = __umulhi(0xd2511f53u, c.x);
        const uint32_t low1 = 0xcd9e8d57u * c.z, high1 = __umulhi(0xcd9e8d57u, c.z);
        c = make_uint4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
    }
    return c;
}

// A word as a number in [0, 1): its upper 24 bits / 2^24.
__device__ __forceinline__ float uniform(uint32_t word) {
    return __fmul_rn(__int2float_rn(static_cast<int>(word >> 8)), 1.0f / 16777216.0f);
}

// A word as a number in (0, 1]: (its upper 24 bits + 1) / 2^24.
__device__ __forceinline__ float uniform_open(uint32_t word) {
    return __fmul_rn(__int2float_rn(static_cast<int>((word >> 8) + 1)), 1.0f / 16777216.0f);
}

// A word as an integer below n.
__device__ __forceinline__ uint32_t below(uint32_t word, uint32_t n) { return __umulhi(word, n); }

// ln 2 in two parts, as in src/ops/random/approx.rs.
#define PHILOX_LN2_HIGH 0.69311523f
#define PHILOX_LN2_LOW 3.1946183e-5f

// Natural logarithm of a positive normal number: 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh((m - 1) / (m +
// 1)).
__device__ __forceinline__ float exact_ln(float x) {
    const uint32_t sqrt_half = 0x3f3504f3u;
    const uint32_t shifted = __float_as_uint(x) - sqrt_half;
    const float exponent = __int2float_rn(static_cast<int>(shifted) >> 23);
    const float m = __uint_as_float((shifted & 0x007fffffu) + sqrt_half);
    const float s = __fdiv_rn(__fsub_rn(m, 1.0f), __fadd_rn(m, 1.0f));
    const float z = __fmul_rn(s, s);
    float tail = __fadd_rn(1.0f / 7.0f, __fmul_rn(z, 1.0f / 9.0f));
    tail = __fadd_rn(1.0f / 5.0f, __fmul_rn(z, tail));
    tail = __fadd_rn(1.0f / 3.0f, __fmul_rn(z, tail));
    tail = __fmul_rn(z, tail);
    const float twice = __fmul_rn(2.0f, s);
    const float series = __fadd_rn(twice, __fmul_rn(twice, tail));
    return __fadd_rn(__fmul_rn(exponent, PHILOX_LN2_HIGH), __fadd_rn(__fmul_rn(exponent, PHILOX_LN2_LOW), series));
}

// Exponential function for arguments up to 87; anything below -87 counts as -87.
__device__ __forceinline__ float exact_exp(float x) {
    x = x < -87.0f ? -87.0f : x;
    const float round = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
    const float n = __fsub_rn(__fadd_rn(__fmul_rn(x, 1.44269504f), round), round);
    const float r = __fsub_rn(__fsub_rn(x, __fmul_rn(n, PHILOX_LN2_HIGH)), __fmul_rn(n, PHILOX_LN2_LOW));
    float p = __fadd_rn(1.0f / 120.0f, __fmul_rn(r, 1.0f / 720.0f));
    p = __fadd_rn(1.0f / 24.0f, __fmul_rn(r, p));
    p = __fadd_rn(1.0f / 6.0f, __fmul_rn(r, p));
    p = __fadd_rn(1.0f / 2.0f, __fmul_rn(r, p));
    p = __fadd_rn(1.0f, __fmul_rn(r, p));
    const float scale = __uint_as_float(static_cast<uint32_t>(__float2int_rz(n) + 127) << 23);
    return __fmul_rn(__fadd_rn(1.0f, __fmul_rn(r, p)), scale);
}

// Sine (x) and cosine (y) of turn / 2^24 turns, turn < 2^24.
__device__ __forceinline__ float2 exact_sin_cos_turn(uint32_t turn) {
    const uint32_t quadrant = (turn + (1u << 21)) >> 22;
    const int rest = static_cast<int>(turn) - static_cast<int>(quadrant << 22);
    const float t = __fmul_rn(__int2float_rn(rest), 6.28318530717958647692f / 16777216.0f);
    const float z = __fmul_rn(t, t);
    float sine = __fadd_rn(-1.0f / 5040.0f, __fmul_rn(z, 1.0f / 362880.0f));
    sine = __fadd_rn(1.0f / 120.0f, __fmul_rn(z, sine));
    sine = __fadd_rn(-1.0f / 6.0f, __fmul_rn(z, sine));
    sine = __fadd_rn(t, __fmul_rn(__fmul_rn(t, z), sine));
    float cosine = __fadd_rn(-1.0f / 720.0f, __fmul_rn(z, 1.0f / 40320.0f));
    cosine = __fadd_rn(1.0f / 24.0f, __fmul_rn(z, cosine));
    cosine = __fadd_rn(-1.0f / 2.0f, __fmul_rn(z, cosine));
    cosine = __fadd_rn(1.0f, __fmul_rn(z, cosine));
    const bool swap = quadrant & 1;
    const uint32_t a = __float_as_uint(swap ? cosine : sine), b = __float_as_uint(swap ? sine : cosine);
    // Quadrants 2 and 3 have a negative sine, 1 and 2 a negative cosine.
    return make_float2(__uint_as_float(a ^ ((quadrant & 2) << 30)), __uint_as_float(b ^ (((quadrant + 1) & 2) << 30)));
}

// Two words as two independent standard normal numbers (Box and Muller).
__device__ __forceinline__ float2 box_muller(uint32_t a, uint32_t b) {
    const float radius = __fsqrt_rn(__fmul_rn(-2.0f, exact_ln(uniform_open(a))));
    const float2 sin_cos = exact_sin_cos_turn(b >> 8);
    return make_float2(__fmul_rn(radius, sin_cos.y), __fmul_rn(radius, sin_cos.x));
}

// Four standard normal numbers for a counter under a key: words 0 and 1 give the first two, words 2 and 3 the others.
__device__ __forceinline__ float4 normals(uint2 key, uint4 counter) {
    const uint4 words = philox(key, counter);
    const float2 first = box_muller(words.x, words.y), second = box_muller(words.z, words.w);
    return make_float4(first.x, first.y, second.x, second.y);
}
