// misaligned: an asynchronous copy of 16 bytes from a multiple of 4
#include "device/copy.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float4, tile, [16]);
#ifdef MENDED
    const int offset = 0;
#else
    const int offset = 1;
#endif
    if (threadIdx.x < 16) copy_async<16>(&tile[threadIdx.x], x + 4 * threadIdx.x + offset);  // found
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x / 4].x;
}
