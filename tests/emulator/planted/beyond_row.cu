// out-of-bounds-array: the second index runs over the end of its row, which stays inside of the array
#include "device/prelude.cuh"

KERNEL(64) planted(const float* x, float* y, int* flags, int n) {
    SHARED(float, tile, [8][8]);
#ifdef MENDED
    const int columns = 8;
#else
    const int columns = 9;
#endif
    for (int column = threadIdx.x == 0 ? 0 : columns; column < columns; ++column) {
        tile[n % 8][column] = x[column];  // found
    }
    y[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x];
}
