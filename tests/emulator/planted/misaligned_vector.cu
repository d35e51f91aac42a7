// misaligned: four floats at an address that is no multiple of 16
#include "device/copy.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
#ifdef MENDED
    const int offset = 0;
#else
    const int offset = 1;
#endif
    if (threadIdx.x < 16) {
        const float4 four = load4(x + 4 * threadIdx.x + offset);  // found
        y[blockIdx.x * 64 + threadIdx.x] = four.x + four.y + four.z + four.w;
    }
}
