#include "device/prelude.cuh"
// Sums over pixels and rows kept by counts: the gradients of a bias, and of the residual of padded rows.
//   bias_grad: db[c] = sum over the pixels of valid rows of dy[pixel, c];  keep_rows: y[n, i] = x[n, i] if row n is
//     valid, else 0
//
// Layouts: dy [pixels, C], db [C]; x, y [N, elements].
// Cut, bias_grad: a block sums `chunk` pixels of `columns` channels (a power of two up to 32): each thread goes down
//   one channel, then the threads of a channel join as a tree in shared memory. Block x: channels; block y: chunk.
//   The chunks' sums go to scratch [chunks, C], where a second launch of the same kernel adds them.
//   keep_rows: some blocks for each row, which step through it.
// Bytes at the paper's shapes: dy of mask head [1600, 28, 28, 256]: 1.3 GB. Bound by memory.
// Needs: any architecture. Determinism: run_to_run.
#include "device/divide.cuh"
#include "device/element.cuh"

// Twin of PixelSums in src/ops/conv/cuda_rows.rs.
struct PixelSums {
    Divisor per_row;  // pixels of a row of N
    Divisor group;    // rows of N in a group of the counts
    int pixels, channels;
    int columns;  // channels of a block
    int chunk;    // pixels of a block
};
static_assert(sizeof(PixelSums) == 40, "as on the host");

KERNEL(256) STORED(bias_grad)(const Stored* __restrict__ dy, const int* counts, float* db, PixelSums shape) {
    SHARED(float, sums, [256]);
    const int column = threadIdx.x % shape.columns, lines = 256 / shape.columns;
    const int channel = blockIdx.x * shape.columns + column;
    const int first = blockIdx.y * shape.chunk + threadIdx.x / shape.columns;
    const int last = min((static_cast<int>(blockIdx.y) + 1) * shape.chunk, shape.pixels);
    const Rows valid{counts, shape.group};
    float sum = 0.0f;
    if (channel < shape.channels) {
        for (int pixel = first; pixel < last; pixel += lines) {
            if (counts == nullptr || valid.valid(shape.per_row.quotient(pixel))) {
                sum += dy[static_cast<long long>(pixel) * shape.channels + channel];
            }
        }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128; half >= shape.columns; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (static_cast<int>(threadIdx.x) < shape.columns && channel < shape.channels) {
        db[static_cast<long long>(blockIdx.y) * shape.channels + channel] = sums[threadIdx.x];
    }
}

// `blocks`: how many blocks share a row.
KERNEL(256)
STORED(keep_rows)(const Stored* __restrict__ x, const int* counts, Stored* y, long long per_row, int blocks, Divisor group) {
    const int row = blockIdx.x / blocks;
    const bool is_valid = Rows{counts, group}.valid(row);
    const long long first = row * per_row;
    for (long long i = blockIdx.x % blocks * 256 + threadIdx.x; i < per_row; i += blocks * 256) {
        y[first + i] = is_valid ? static_cast<float>(x[first + i]) : 0.0f;
    }
}
