// uninitialised-global: adds to an output that nobody set to zero
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
#ifdef MENDED
    y[i] = 0.0f;
#endif
    y[i] += x[i];  // found
}
