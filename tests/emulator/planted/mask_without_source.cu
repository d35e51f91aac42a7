// bad-mask: a lane reads from one that is not in the mask
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const float mine = x[threadIdx.x];
    float other = mine;
    if (threadIdx.x % 32 < 16) {
#ifdef MENDED
        other = __shfl_sync(0x0000ffffu, mine, 15);
#else
        other = __shfl_sync(0x0000ffffu, mine, 16);  // found
#endif
    }
    y[blockIdx.x * 64 + threadIdx.x] = other;
}
