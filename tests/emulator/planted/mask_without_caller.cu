// bad-mask: lanes 16 to 31 name only lanes 0 to 15
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
#ifdef MENDED
    const unsigned mask = ALL_LANES;
#else
    const unsigned mask = 0x0000ffffu;
#endif
    const float mine = x[threadIdx.x];
    y[blockIdx.x * 64 + threadIdx.x] = __shfl_xor_sync(mask, mine, 1);  // found
}
