// First line of every kernel file: how a kernel and its shared memory are declared, sizes, and rows that count.
//
// A kernel is compiled for the device by NVRTC, and for the host by the emulator of the tests, which defines EMULATED
// and gives the CUDA names itself. No system header is included anywhere.
#pragma once

#ifndef EMULATED

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;

// KERNEL(threads of a block at most) name(arguments) { ... }
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)

// SHARED(float, tile, [32][33]); at the top of a kernel. Aligned for accesses of 16 bytes.
#define SHARED(type, name, ...) __shared__ __align__(16) type name __VA_ARGS__

// unsigned char* name: the shared memory that the launch asks for, aligned to 128 bytes.
#define SHARED_DYNAMIC(name) extern __shared__ __align__(128) unsigned char name[]

#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)

#endif

// The architecture compiled for: 75, 80, 90, ...
#define ARCHITECTURE (__CUDA_ARCH__ / 10)

constexpr unsigned WARP_SIZE = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Bits of a bf16, which kernels store as a plain 16-bit word.
typedef uint16_t bf16;

// This thread's place in the grid's first axis.
__device__ __forceinline__ int64_t global_thread() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Threads in the grid's first axis.
__device__ __forceinline__ int64_t global_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

__device__ __forceinline__ unsigned lane_index() { return threadIdx.x % WARP_SIZE; }

// a / b rounded up.
__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Whether row `row` of `rows` is valid: rows come in `groups` groups of equal size, of which group g has counts[g]
// valid ones at its front. All are valid without counts (null or no groups). What is not valid is skipped and its
// output is zero.
__device__ __forceinline__ bool valid_row(int64_t row, int64_t rows, const int* __restrict__ counts, int groups) {
    if (counts == nullptr || groups == 0) return true;
    int64_t group = rows / groups;
    return group > 0 && row % group < counts[row / group];
}
