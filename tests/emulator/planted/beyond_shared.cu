// out-of-bounds-shared: one element too many of a shared array
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [64]);
    float* pointer = &tile[0];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
#ifdef MENDED
    const int step = 0;
#else
    const int step = 1;
#endif
    y[blockIdx.x * 64 + threadIdx.x] = pointer[threadIdx.x + step];  // found
}
