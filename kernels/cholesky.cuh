// Cholesky's factorisation of small symmetric matrices in double, by one block.
#pragma once
#include "device/prelude.cuh"

// The factor of a matrix of `count` rows of `stride`, in place of its lower triangle, with the diagonal's reciprocals; 0 there
// takes a row that has nothing of its own out of the equations. The whole block calls; what it reads must be synchronised.
__device__ __forceinline__ void block_factorise(double* matrix, int count, int stride) {
    // A pivot below this part of the diagonal is rounding: the row depends on those before it.
    const double no_pivot = 1e-12;
    for (int column = 0; column < count; ++column) {
        const double* pivot_row = matrix + static_cast<int64_t>(column) * stride;
        for (int row = column + threadIdx.x; row < count; row += blockDim.x) {
            double* entries = matrix + static_cast<int64_t>(row) * stride;
            const double size = entries[column];
            double value = size;
            for (int k = 0; k < column; ++k) value -= entries[k] * pivot_row[k];
            if (row == column) value = value > no_pivot * size ? 1.0 / sqrt(value) : 0.0;
            entries[column] = value;
        }
        __syncthreads();
        for (int row = column + 1 + threadIdx.x; row < count; row += blockDim.x) {
            matrix[static_cast<int64_t>(row) * stride + column] *= pivot_row[column];
        }
        __syncthreads();
    }
}

// Solves in place for one column x [count], `step` apart, given the factor: one thread.
__device__ __forceinline__ void substitute(const double* factor, int count, int stride, double* x, int64_t step) {
    for (int i = 0; i < count; ++i) {
        double value = x[i * step];
        for (int j = 0; j < i; ++j) value -= factor[static_cast<int64_t>(i) * stride + j] * x[j * step];
        x[i * step] = value * factor[static_cast<int64_t>(i) * stride + i];
    }
    for (int i = count - 1; i >= 0; --i) {
        double value = x[i * step];
        for (int j = i + 1; j < count; ++j) value -= factor[static_cast<int64_t>(j) * stride + i] * x[j * step];
        x[i * step] = value * factor[static_cast<int64_t>(i) * stride + i];
    }
}
