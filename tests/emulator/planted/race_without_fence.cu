// race-global: the last block adds up what the others wrote, but they did not publish it
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(int, last, [1]);
    y[blockIdx.x * 64 + threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
#ifdef MENDED
    __threadfence();
#endif
    __syncthreads();
    if (threadIdx.x == 0) last[0] = atomicAdd(&flags[0], 1) == static_cast<int>(gridDim.x) - 1;
    __syncthreads();
    if (last[0] && threadIdx.x == 0) {
        float sum = 0.0f;
        for (unsigned i = 0; i < gridDim.x * 64; ++i) sum += y[i];  // found
        y[128] = sum;
    }
}
