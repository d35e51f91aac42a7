// race-global: both blocks write the same elements
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
#ifdef MENDED
    const int i = blockIdx.x * 64 + threadIdx.x;
#else
    const int i = threadIdx.x;
#endif
    y[i] = x[i];  // found
}
