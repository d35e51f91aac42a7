// race-shared: lanes of a warp exchange through shared memory as if they ran in step
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
#ifdef MENDED
    __syncwarp();
#endif
    y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x ^ 1];  // found
}
