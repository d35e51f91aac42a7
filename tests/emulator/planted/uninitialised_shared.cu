// uninitialised-shared: half of the tile is read before anybody wrote it
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [64]);
#ifdef MENDED
    tile[threadIdx.x] = x[threadIdx.x];
#else
    if (threadIdx.x < 32) tile[threadIdx.x] = x[threadIdx.x];
#endif
    __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];  // found
}
