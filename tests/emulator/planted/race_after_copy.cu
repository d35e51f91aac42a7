// race-shared: the wait makes a thread see its own copies only, not those of the others
#include "device/copy.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [64]);
    copy_async<4>(&tile[threadIdx.x], &x[threadIdx.x]);  // found
    copy_commit();
    copy_wait<0>();
#ifdef MENDED
    __syncthreads();
#endif
    y[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];  // found
}
