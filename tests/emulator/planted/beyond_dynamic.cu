// out-of-bounds-shared: more dynamic shared memory than the launch gave
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED_DYNAMIC(memory);
    float* tile = reinterpret_cast<float*>(memory);
#ifdef MENDED
    const int size = 256;
#else
    const int size = 257;
#endif
    for (int i = threadIdx.x; i < size; i += 64) tile[i] = 0.0f;  // found
    y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x];
}
