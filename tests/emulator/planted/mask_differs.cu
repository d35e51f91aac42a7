// bad-mask: the lanes of a warp name different masks that both hold lane 0
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const float mine = x[threadIdx.x];
#ifdef MENDED
    const unsigned mask = ALL_LANES;
#else
    const unsigned mask = threadIdx.x % 32 < 16 ? ALL_LANES : 0xffff0001u;
#endif
    y[blockIdx.x * 64 + threadIdx.x] = __shfl_sync(mask, mine, 0);  // found
}
