// Integer and vector types by their CUDA names, and the words that decorate device code.
#pragma once

typedef __SIZE_TYPE__ size_t;
typedef __INT8_TYPE__ int8_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __INT16_TYPE__ int16_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __INT32_TYPE__ int32_t;
typedef __UINT32_TYPE__ uint32_t;
// As on the device, where 64-bit atomics and min, max know long long alone.
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef __UINTPTR_TYPE__ uintptr_t;

#define __device__
#define __host__
#define __global__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __align__(bytes) alignas(bytes)
#define __grid_constant__

// The sizes and alignments are those of the device: a float4 read from an address that is no multiple of 16 is an error
// there.
#define EMULATED_VECTOR(element, name, align2, align4)                                          \
    struct alignas(align2) name##2 { element x, y; };                                           \
    struct name##3 { element x, y, z; };                                                        \
    struct alignas(align4) name##4 { element x, y, z, w; };                                     \
    static inline name##2 make_##name##2(element x, element y) { return {x, y}; }               \
    static inline name##3 make_##name##3(element x, element y, element z) { return {x, y, z}; } \
    static inline name##4 make_##name##4(element x, element y, element z, element w) { return {x, y, z, w}; }
typedef unsigned emulated_uint;
typedef unsigned char emulated_uchar;
typedef unsigned short emulated_ushort;
EMULATED_VECTOR(float, float, 8, 16)
EMULATED_VECTOR(int, int, 8, 16)
EMULATED_VECTOR(emulated_uint, uint, 8, 16)
EMULATED_VECTOR(emulated_uchar, uchar, 2, 4)
EMULATED_VECTOR(emulated_ushort, ushort, 4, 8)
EMULATED_VECTOR(short, short, 4, 8)
struct alignas(16) double2 {
    double x, y;
};
struct alignas(16) longlong2 {
    long long x, y;
};
struct alignas(16) ulonglong2 {
    unsigned long long x, y;
};
static inline double2 make_double2(double x, double y) { return {x, y}; }
static inline longlong2 make_longlong2(long long x, long long y) { return {x, y}; }
static inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
