// shift: a shift by the width of the number
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
#ifdef MENDED
    const int by = n % 32;
#else
    const int by = n % 32 + 32;
#endif
    y[blockIdx.x * 64 + threadIdx.x] = static_cast<float>(1u << by);  // found
}
