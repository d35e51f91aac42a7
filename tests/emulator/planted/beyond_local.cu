// out-of-bounds-array: one element too many of an array in registers
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#ifdef MENDED
    const int size = 4;
#else
    const int size = 5;
#endif
    for (int i = 0; i < size; ++i) sums[(i + n) % size] += x[i];  // found
    y[blockIdx.x * 64 + threadIdx.x] = sums[n % 4];
}
