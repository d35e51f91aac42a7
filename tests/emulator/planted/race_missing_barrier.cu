// race-shared: a thread reads what another warp writes, with no barrier between
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
#ifdef MENDED
    __syncthreads();
#endif
    y[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];  // found
}
