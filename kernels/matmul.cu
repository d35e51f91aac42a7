#include "device/prelude.cuh"
// Batched matrix product. c[b, m, n] = sum over k of op(a)[b, m, k] op(b)[b, k, n]
//
// Layouts: a [batch, M, K], or [batch, K, M] if transposed; b [batch, K, N], or [batch, N, K] if transposed; c
//   [batch, M, N]; dense.
// Cut: device/gemm.cuh. Block x: column tile fastest, then row tile, then batch, so that blocks that share rows of
//   `a` run together; block y: a part of K if tiles are too few to fill the GPU; partial sums then go to scratch
//   [parts, batch, M, N] and sum_parts adds them in order.
// Work at the paper's shapes (recurrent weights' gradient, [512, 3200] x [3200, 1536]): 5.0 GFLOP and 29 MB once;
//   bound by arithmetic. Tiles of 64 x 64 read each operand 1/64 times for each product: 0.3 GB through the caches.
// Needs: f32 anything; tf32 and bf16 sm_80 (mma.sync). Shared memory 17 KiB to 36 KiB.
// Determinism: run_to_run.
#include "device/gemm.cuh"

// Twin of MatMulShape in src/ops/matmul/cuda.rs.
struct Shape {
    int m, n, k;
    int row_tiles, column_tiles;
    int steps;  // of K in a part
    int a_aligned, b_aligned, c_aligned;
    int unused;
    long long partial;  // elements between parts of the partial sums; 0 if there is one part: sums go to c
};
static_assert(sizeof(Shape) == 48, "as on the host");

template <bool TRANSPOSE_A, bool TRANSPOSE_B>
__device__ __forceinline__ void product(const float* a, const float* b, float* c, const Shape& shape) {
    int block = blockIdx.x;
    const int column = block % shape.column_tiles * TILE_COLUMNS;
    block /= shape.column_tiles;
    const int row = block % shape.row_tiles * TILE_ROWS;
    const long long batch = block / shape.row_tiles;
    const int first = blockIdx.y * shape.steps;
    const int last = min(first + shape.steps, static_cast<int>(ceil_div(shape.k, STEP_DEPTH)));

    Matrix<float, !TRANSPOSE_A> left{a + batch * shape.m * shape.k, shape.m, shape.k, TRANSPOSE_A ? shape.m : shape.k,
                              shape.a_aligned != 0};
    Matrix<float, TRANSPOSE_B> right{b + batch * shape.k * shape.n, shape.n, shape.k, TRANSPOSE_B ? shape.k : shape.n,
                              shape.b_aligned != 0};
    TileSums sums;
    accumulate(sums, left, right, row, column, first, last);

    float* result = c + blockIdx.y * shape.partial + batch * shape.m * shape.n;
    sums.each([&](int i, int j, const auto& values) {
        i += row;
        j += column;
        if (i < shape.m)
            store_run(result + static_cast<long long>(i) * shape.n + j, values, shape.n - j, shape.c_aligned);
    });
}

#define MATMUL(kernel, transpose_a, transpose_b)                                \
    TILE_KERNEL kernel(const float* a, const float* b, float* c, Shape shape) { \
        product<transpose_a, transpose_b>(a, b, c, shape);                      \
    }

MATMUL(JOINED(matmul_nn), false, false)
MATMUL(JOINED(matmul_nt), false, true)
MATMUL(JOINED(matmul_tn), true, false)
MATMUL(JOINED(matmul_tt), true, true)
