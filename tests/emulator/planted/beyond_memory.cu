// out-of-bounds-global: an address that was never one of the device
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
#ifdef MENDED
    const float* from = x;
#else
    const float* from = x - 0x40000000000ll;
#endif
    y[i] = from[i];  // found
}
