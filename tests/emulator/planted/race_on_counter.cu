// race-shared: a counter is read while other warps still add to it
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(int, counter, [1]);
    if (threadIdx.x == 0) counter[0] = 0;
    __syncthreads();
    atomicAdd(&counter[0], 1);  // found
#ifdef MENDED
    __syncthreads();
#endif
    y[blockIdx.x * 64 + threadIdx.x] = static_cast<float>(counter[0]);  // found
}
