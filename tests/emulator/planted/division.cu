// division-by-zero: an integer divided by a count that is zero
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
#ifdef MENDED
    const int count = flags[i] + 1;
#else
    const int count = flags[i];
#endif
    y[i] = x[n / count % 128];  // found
}
