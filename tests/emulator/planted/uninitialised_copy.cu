// uninitialised-shared: the wait leaves the group on its way whose data is read
#include "device/copy.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [2][64]);
    for (int stage = 0; stage < 2; ++stage) {
        copy_async<4>(&tile[stage][threadIdx.x], &x[stage * 64 + threadIdx.x]);
        copy_commit();
    }
#ifdef MENDED
    copy_wait<0>();
#else
    copy_wait<1>();
#endif
    __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = tile[1][63 - threadIdx.x];  // found
}
