// out-of-bounds-global: <= where < is meant
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    y[i] = x[i];
    if (i != 0) return;
#ifdef MENDED
    for (int k = 0; k < n; ++k) y[k + 128] = x[k];
#else
    for (int k = 0; k <= n; ++k) y[k + 128] = x[k];  // found
#endif
}
