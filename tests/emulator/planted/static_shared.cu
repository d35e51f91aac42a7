// static-shared-memory: more static shared memory than a kernel may declare
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
#ifdef MENDED
    constexpr int SIZE = 11 * 1024;
#else
    constexpr int SIZE = 12 * 1024 + 1;
#endif
    SHARED(float, tile, [SIZE]);  // found
    tile[threadIdx.x] = x[threadIdx.x];
    y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x];
}
