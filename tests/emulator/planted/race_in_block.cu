// race-global: threads of a block hand values over through global memory without a barrier
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    y[i] = x[i];  // found
#ifdef MENDED
    __syncthreads();
#endif
    y[128 + i] = y[blockIdx.x * 64 + 63 - threadIdx.x];  // found
}
