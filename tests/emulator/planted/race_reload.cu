// race-shared: the tile is filled again while other warps may still read it
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [64]);
    float sum = 0.0f;
    for (int round = 0; round < 3; ++round) {
        tile[threadIdx.x] = x[round * 64 + threadIdx.x];  // found
        __syncthreads();
        sum += tile[63 - threadIdx.x];  // found
#ifdef MENDED
        __syncthreads();
#endif
    }
    y[blockIdx.x * 64 + threadIdx.x] = sum;
}
