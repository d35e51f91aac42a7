// trap: the kernel itself has found a contradiction
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    y[i] = x[i];
#ifndef MENDED
    if (i == 5) __trap();  // found
#endif
}
