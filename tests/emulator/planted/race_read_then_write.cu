// race-global: a block overwrites what the other one reads
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    const int i = blockIdx.x * 64 + threadIdx.x;
#ifdef MENDED
    const int other = i;
#else
    const int other = 127 - i;
#endif
    float* in_place = reinterpret_cast<float*>(flags);
    const float mine = in_place[other];  // found
    in_place[i] = mine + 1.0f;  // found
    y[i] = mine;
}
