// divergent-barrier: some threads have returned before the barrier
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
#ifndef MENDED
    if (threadIdx.x >= 60) return;
#endif
    __syncthreads();  // found
    y[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x];
}
