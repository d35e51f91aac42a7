// deadlock: one lane waits at the barrier of the block, the others of its warp for it
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
#ifdef MENDED
    __syncwarp();
    __syncthreads();
#else
    if (threadIdx.x > 0) __syncwarp();
    __syncthreads();  // found
    if (threadIdx.x == 0) __syncwarp();
#endif
    y[i] = x[i];
}
