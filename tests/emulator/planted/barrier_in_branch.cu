// divergent-barrier: the two branches have a barrier each
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
#ifdef MENDED
    y[i] = threadIdx.x < 32 ? x[i] : -x[i];
    __syncthreads();
#else
    if (threadIdx.x < 32) {
        y[i] = x[i];
        __syncthreads();  // found
    } else {
        y[i] = -x[i];
        __syncthreads();  // found
    }
#endif
}
