// Numbers whose operations round once each and are never fused, so that a formula written with them has the bits that the CPU
// gives it, and elementary functions of such numbers: the same bits as src/ops/random/wide.rs.
#pragma once
#include "device/prelude.cuh"

// A float.
struct exact {
    float value;

    exact() = default;
    __device__ __forceinline__ exact(float x) : value(x) {}

    friend __device__ __forceinline__ exact operator+(exact a, exact b) { return __fadd_rn(a.value, b.value); }
    friend __device__ __forceinline__ exact operator-(exact a, exact b) { return __fsub_rn(a.value, b.value); }
    friend __device__ __forceinline__ exact operator*(exact a, exact b) { return __fmul_rn(a.value, b.value); }
    friend __device__ __forceinline__ exact operator/(exact a, exact b) { return __fdiv_rn(a.value, b.value); }
    friend __device__ __forceinline__ exact operator-(exact a) { return -a.value; }
    friend __device__ __forceinline__ exact root(exact a) { return __fsqrt_rn(a.value); }
};

// A double. Division and root of doubles are rounded once whatever they are written as.
struct wide {
    double value;

    wide() = default;
    __device__ __forceinline__ wide(double x) : value(x) {}

    friend __device__ __forceinline__ wide operator+(wide a, wide b) { return __dadd_rn(a.value, b.value); }
    friend __device__ __forceinline__ wide operator-(wide a, wide b) { return __dadd_rn(a.value, -b.value); }
    friend __device__ __forceinline__ wide operator*(wide a, wide b) { return __dmul_rn(a.value, b.value); }
    friend __device__ __forceinline__ wide operator/(wide a, wide b) { return a.value / b.value; }
    friend __device__ __forceinline__ wide root(wide a) { return sqrt(a.value); }
};

constexpr double WIDE_LN2_HIGH = 0.6931471803691238;
constexpr double WIDE_LN2_LOW = 1.9082149292705877e-10;
// Adding 1.5 * 2^52 rounds to the nearest integer, which then stands in the lowest bits.
constexpr double WIDE_ROUND = 6755399441055744.0;

// Natural logarithm of a positive normal number.
__device__ __forceinline__ wide wide_ln(wide x) {
    const int64_t sqrt_half = 0x3fe6a09e667f3bcd;
    const int64_t shifted = __double_as_longlong(x.value) - sqrt_half;
    const wide exponent = static_cast<double>(static_cast<int>(shifted >> 52));
    const wide m = __longlong_as_double((shifted & 0x000fffffffffffff) + sqrt_half);
    const wide s = (m - 1.0) / (m + 1.0);
    const wide z = s * s;
    wide tail = 0.0;
#pragma unroll
    for (int k = 10; k >= 1; --k) tail = z * (wide(1.0 / (2 * k + 1)) + tail);
    return exponent * WIDE_LN2_HIGH + (exponent * WIDE_LN2_LOW + (wide(2.0) * s + wide(2.0) * s * tail));
}

// Exponential function for arguments in -700..700; others count as the nearest of these.
__device__ __forceinline__ wide wide_exp(wide x) {
    x = x.value < -700.0 ? -700.0 : x.value;
    x = x.value > 700.0 ? 700.0 : x.value;
    const wide shifted = x * 1.4426950408889634 + WIDE_ROUND;
    const wide n = shifted - WIDE_ROUND;
    const wide r = (x - n * WIDE_LN2_HIGH) - n * WIDE_LN2_LOW;
    wide power = 1.0;
#pragma unroll
    for (int k = 13; k >= 1; --k) power = wide(1.0) + r * (1.0 / k) * power;
    const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(shifted.value)) + 1023u;
    return power * __longlong_as_double(static_cast<int64_t>(bits << 52));
}

// 1 - z / (k (k + 1)) (1 - z / ((k + 2) (k + 3)) ...), k from FIRST on.
template <int FIRST>
__device__ __forceinline__ wide wide_series(wide z) {
    wide sum = 1.0;
#pragma unroll
    for (int k = 7; k >= 0; --k) sum = wide(1.0) - z * (1.0 / ((2 * k + FIRST) * (2 * k + FIRST + 1))) * sum;
    return sum;
}

// Sine (x) and cosine (y) of an angle in radians.
__device__ __forceinline__ float2 wide_sin_cos(exact angle) {
    const wide x = static_cast<double>(angle.value);
    const wide shifted = x * 0.6366197723675814 + WIDE_ROUND;
    const wide n = shifted - WIDE_ROUND;
    const wide t = (x - n * 1.570796325802803) - n * 9.920935796805404e-10;
    const wide z = t * t;
    const float sine = static_cast<float>((t * wide_series<2>(z)).value);
    const float cosine = static_cast<float>(wide_series<1>(z).value);
    const int quadrant = static_cast<int>(__double_as_longlong(shifted.value) & 3);
    const float2 first = quadrant & 1 ? make_float2(cosine, -sine) : make_float2(sine, cosine);
    return quadrant & 2 ? make_float2(-first.x, -first.y) : first;
}

// Length of the hypotenuse.
__device__ __forceinline__ exact wide_hypot(exact a, exact b) {
    const wide x = static_cast<double>(a.value), y = static_cast<double>(b.value);
    return static_cast<float>(root(x * x + y * y).value);
}
