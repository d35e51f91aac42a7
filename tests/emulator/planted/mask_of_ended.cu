// bad-mask: the mask names lanes that have returned
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    y[i] = x[i];
    if (threadIdx.x % 32 >= 30) return;
#ifdef MENDED
    y[i] = __shfl_sync(0x3fffffffu, x[i], 0);
#else
    y[i] = __shfl_sync(ALL_LANES, x[i], 0);  // found
#endif
}
