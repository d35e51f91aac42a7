// Optimizers: one launch works on all tensors of a network (up to TENSORS of them; more take a launch for every TENSORS).
//
//   sgd_f32          v = momentum v - rate g; p += v, g = scale (gradient + factor p)
//   adam_f32         m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p = keep p - size m / (sqrt v + epsilon),
//                    size = rate sqrt(1-b2^t) / (1-b1^t), keep = 1 - rate decay
//   norms_f32        sum of squares of every chunk of gradient + factor p; global_norm_f32: their root; clip_scale_f32: min(1, limit / norm)
//   clip_scales_f32  min(1, limit / its norm) for every tensor; clip_per_tensor_f32: tensors multiplied by theirs
//
// Layouts: tensors are plain runs that begin at multiples of 16 bytes; a table by value says where they lie, how long they are, and
// which chunk of 4096 values is the last of each. rate, scale, norm: [1]; step t: int [1]: all on the device.
// Cut: a block of 256 threads a chunk; it finds its tensor in the table by bisection.
// Cost: the paper's detector has 63.8 million parameters: Adam moves 1.8 GB, 0.8 GFLOP: memory limits.
// Why tables and not one contiguous run: its 482 tensors fit into one launch either way and the same bytes are moved, for 21 KB of
// kernel parameters instead of some 50 bytes. One run for the gradients would have to be reserved from the first of them to the
// last, while the activations are still there: 719 instead of 476 MiB of live values in a training step of two recordings.
// Needs: kernel parameters of up to 25 KB (driver for CUDA 12.1 or newer); 2 KB of static shared memory. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "device/reduce.cuh"

constexpr int BLOCK = 256;
constexpr int CHUNK = 4096;
constexpr int TENSORS = 512;

// Twin of `Table` in src/ops/optim/cuda.rs.
struct Table {
    int64_t tensors;
    int end[TENSORS];  // the chunk past the last of each tensor
    int64_t length[TENSORS];
};
static_assert(sizeof(Table) == 8 + 12 * TENSORS, "the host's twin has the same fields");

struct Read { const float* at[TENSORS]; };
struct Write { float* at[TENSORS]; };
// A number for each tensor. Twin of `Factors` in src/ops/optim/cuda.rs.
struct Factors { float of[TENSORS]; };

// The part of a tensor that a block works on.
struct Chunk {
    int tensor;
    int64_t begin, end;
};

__device__ __forceinline__ int first_chunk(const Table& table, int tensor) {
    return tensor == 0 ? 0 : table.end[tensor - 1];
}

__device__ __forceinline__ Chunk chunk_of(const Table& table) {
    const int chunk = blockIdx.x;
    int low = 0, high = static_cast<int>(table.tensors) - 1;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (chunk < table.end[middle]) high = middle;
        else low = middle + 1;
    }
    const int64_t begin = static_cast<int64_t>(chunk - first_chunk(table, low)) * CHUNK;
    const int64_t length = table.length[low];
    return {low, begin, begin + CHUNK < length ? begin + CHUNK : length};
}

// A gradient with that of an L2 penalty; parameters may be null where the factor is zero.
__device__ __forceinline__ float penalised(float gradient, const float* parameters, float factor, int64_t i) {
    return factor == 0.0f ? gradient : gradient + factor * parameters[i];
}

KERNEL(BLOCK) sgd_f32(const float* rate, const float* scale, const __grid_constant__ Write parameters,
                      const __grid_constant__ Read gradients, const __grid_constant__ Write velocities, float momentum,
                      const __grid_constant__ Factors factors, const __grid_constant__ Table table) {
    const Chunk chunk = chunk_of(table);
    float* p = parameters.at[chunk.tensor];
    const float penalty = factors.of[chunk.tensor];
    float* v = velocities.at[chunk.tensor];
    const float* g = gradients.at[chunk.tensor];
    const float step = *rate, factor = *scale;
    for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += BLOCK) {
        const float velocity = momentum * v[i] - step * (factor * penalised(g[i], p, penalty, i));
        v[i] = velocity;
        p[i] += velocity;
    }
}

// base to a whole power, in double precision as on the host.
__device__ __forceinline__ double power(double base, int exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent /= 2, base *= base) {
        if (exponent % 2) result *= base;
    }
    return result;
}

// Twin of `AdamConstants` in src/ops/optim/cuda.rs.
struct AdamConstants {
    float beta1, beta2, epsilon;
};
static_assert(sizeof(AdamConstants) == 12, "the host's twin has the same fields");

KERNEL(BLOCK) adam_f32(const float* rate, const float* scale, const int* step, const __grid_constant__ Write parameters,
                       const __grid_constant__ Read gradients, const __grid_constant__ Write means,
                       const __grid_constant__ Write squares, AdamConstants adam, const __grid_constant__ Factors decays,
                       const __grid_constant__ Table table) {
    SHARED(float, size, [1]);
    if (threadIdx.x == 0) {
        const int t = max(*step, 1);
        const double correction = sqrt(1.0 - power(adam.beta2, t)) / (1.0 - power(adam.beta1, t));
        size[0] = static_cast<float>(*rate * correction);
    }
    __syncthreads();
    const Chunk chunk = chunk_of(table);
    float* p = parameters.at[chunk.tensor];
    float* m = means.at[chunk.tensor];
    float* v = squares.at[chunk.tensor];
    const float* gradient = gradients.at[chunk.tensor];
    const float keep = 1.0f - *rate * decays.of[chunk.tensor], factor = *scale;
    for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += BLOCK) {
        const float g = factor * gradient[i];
        const float mean = adam.beta1 * m[i] + (1.0f - adam.beta1) * g;
        const float square = adam.beta2 * v[i] + (1.0f - adam.beta2) * g * g;
        m[i] = mean;
        v[i] = square;
        p[i] = keep * p[i] - size[0] * mean / (sqrtf(square) + adam.epsilon);
    }
}

// Sum of squares of every chunk, into sums[first_sum + chunk].
KERNEL(BLOCK) norms_f32(const __grid_constant__ Read tensors, const __grid_constant__ Read parameters,
                        const __grid_constant__ Factors factors, double* sums, int first_sum,
                        const __grid_constant__ Table table) {
    const Chunk chunk = chunk_of(table);
    const float* x = tensors.at[chunk.tensor];
    const float* p = parameters.at[chunk.tensor];
    const float factor = factors.of[chunk.tensor];
    double sum = 0.0;
    for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += BLOCK) {
        const float value = penalised(x[i], p, factor, i);
        sum += static_cast<double>(value) * value;
    }
    sum = block_reduce<SumWide>(sum);
    if (threadIdx.x == 0) sums[first_sum + blockIdx.x] = sum;
}

// One block.
KERNEL(BLOCK) global_norm_f32(const double* sums, int count, float* norm) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += BLOCK) sum += sums[i];
    sum = block_reduce<SumWide>(sum);
    if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sum));
}

__device__ __forceinline__ float scale_for(float norm, float limit) {
    return norm > limit ? limit / norm : 1.0f;
}

KERNEL(32) clip_scale_f32(const float* norm, float* scale, float limit) {
    if (threadIdx.x == 0) *scale = scale_for(*norm, limit);
}

// A block a tensor.
KERNEL(BLOCK) clip_scales_f32(const double* sums, float* scales, float limit, const __grid_constant__ Table table) {
    double sum = 0.0;
    for (int i = first_chunk(table, blockIdx.x) + threadIdx.x; i < table.end[blockIdx.x]; i += BLOCK) sum += sums[i];
    sum = block_reduce<SumWide>(sum);
    if (threadIdx.x == 0) scales[blockIdx.x] = scale_for(static_cast<float>(sqrt(sum)), limit);
}

KERNEL(BLOCK) clip_per_tensor_f32(const __grid_constant__ Read tensors, const __grid_constant__ Read parameters,
                                  const __grid_constant__ Factors factors, const __grid_constant__ Write clipped,
                                  const float* scales, const __grid_constant__ Table table) {
    const Chunk chunk = chunk_of(table);
    const float* x = tensors.at[chunk.tensor];
    float* y = clipped.at[chunk.tensor];
    const float* p = parameters.at[chunk.tensor];
    const float scale = scales[chunk.tensor], factor = factors.of[chunk.tensor];
    for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += BLOCK) y[i] = scale * penalised(x[i], p, factor, i);
}
