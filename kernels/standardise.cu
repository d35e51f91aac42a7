// Standardising: every sample (entry of the first axis) to mean 0 and standard deviation 1, and the gradient of that.
//
//   y = (x - mean) / std, std with divisor n; zeros where std <= 1e-6 |mean|      standardise_f32
//   dx = (dy - mean(dy) - y mean(dy y)) / std                                     standardise_grad_f32
//
// Layouts: x, y, dy, dx [samples, n]; partial results of segments [samples, segments] pairs.
// Cut: grid (segments, samples), a block of 256 threads a segment of 16384 values. First each segment's mean and squares about that
// mean (standardise_moments_f32; the second reading comes from the cache), then a block a sample joins them in double precision
// (standardise_statistics_f32), then the values. The gradient puts sums of dy and dy y between (standardise_products_f32).
// Cost: a recording of 400x64x64: 6.6 MB read two or three times and written once, 8 MFLOP: memory limits.
// Needs: nothing; 1 KB of static shared memory. Determinism: run_to_run.
#include "device/prelude.cuh"
#include "device/reduce.cuh"

constexpr int BLOCK = 256;
constexpr int SEGMENT = 16384;

struct Segment {
    int64_t begin;  // in the tensor
    int values;
};

__device__ __forceinline__ Segment segment_of(int64_t n) {
    const int64_t start = static_cast<int64_t>(blockIdx.x) * SEGMENT;
    const int64_t left = n - start;
    return {blockIdx.y * n + start, static_cast<int>(left < SEGMENT ? left : SEGMENT)};
}

// Mean and sum of squares about it of every segment.
KERNEL(BLOCK) standardise_moments_f32(const float* x, float2* parts, int64_t n) {
    const Segment segment = segment_of(n);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < segment.values; i += BLOCK) sum += x[segment.begin + i];
    const float mean = block_sum(sum) / segment.values;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < segment.values; i += BLOCK) {
        const float deviation = x[segment.begin + i] - mean;
        squares += deviation * deviation;
    }
    squares = block_sum(squares);
    if (threadIdx.x == 0) parts[blockIdx.y * gridDim.x + blockIdx.x] = make_float2(mean, squares);
}

// Mean and 1 / std of sample blockIdx.x; 1 / std is 0 for a constant sample.
KERNEL(BLOCK) standardise_statistics_f32(const float2* parts, float2* statistics, int64_t n, int segments) {
    parts += static_cast<int64_t>(blockIdx.x) * segments;
    double sum = 0.0, squares = 0.0;
    for (int i = threadIdx.x; i < segments; i += BLOCK) {
        const int64_t left = n - static_cast<int64_t>(i) * SEGMENT;
        sum += static_cast<double>(parts[i].x) * (left < SEGMENT ? left : SEGMENT);
    }
    const double mean = block_reduce<SumWide>(sum) / n;
    for (int i = threadIdx.x; i < segments; i += BLOCK) {
        const int64_t left = n - static_cast<int64_t>(i) * SEGMENT;
        const double away = parts[i].x - mean;
        squares += parts[i].y + away * away * (left < SEGMENT ? left : SEGMENT);
    }
    const double deviation = sqrt(block_reduce<SumWide>(squares) / n);
    if (threadIdx.x == 0) {
        const bool varies = deviation > 1e-6 * fabs(mean) || deviation != deviation;
        statistics[blockIdx.x] = make_float2(static_cast<float>(mean), varies ? static_cast<float>(1.0 / deviation) : 0.0f);
    }
}

KERNEL(BLOCK) standardise_f32(const float* x, const float2* statistics, float* y, int64_t n) {
    const Segment segment = segment_of(n);
    const float2 sample = statistics[blockIdx.y];
    for (int i = threadIdx.x; i < segment.values; i += BLOCK) {
        y[segment.begin + i] = (x[segment.begin + i] - sample.x) * sample.y;
    }
}

// Sums of dy and of dy y over every segment.
KERNEL(BLOCK) standardise_products_f32(const float* x, const float* dy, const float2* statistics, float2* parts, int64_t n) {
    const Segment segment = segment_of(n);
    const float2 sample = statistics[blockIdx.y];
    float sum = 0.0f, dot = 0.0f;
    for (int i = threadIdx.x; i < segment.values; i += BLOCK) {
        const float d = dy[segment.begin + i];
        sum += d;
        dot += d * ((x[segment.begin + i] - sample.x) * sample.y);
    }
    sum = block_sum(sum);
    dot = block_sum(dot);
    if (threadIdx.x == 0) parts[blockIdx.y * gridDim.x + blockIdx.x] = make_float2(sum, dot);
}

// Both sums of sample blockIdx.x, divided by n.
KERNEL(BLOCK) standardise_means_f32(const float2* parts, float2* means, int64_t n, int segments) {
    parts += static_cast<int64_t>(blockIdx.x) * segments;
    double sum = 0.0, dot = 0.0;
    for (int i = threadIdx.x; i < segments; i += BLOCK) {
        sum += parts[i].x;
        dot += parts[i].y;
    }
    sum = block_reduce<SumWide>(sum);
    dot = block_reduce<SumWide>(dot);
    if (threadIdx.x == 0) means[blockIdx.x] = make_float2(static_cast<float>(sum / n), static_cast<float>(dot / n));
}

KERNEL(BLOCK) standardise_grad_f32(const float* x, const float* dy, const float2* statistics, const float2* means, float* dx,
                                   int64_t n) {
    const Segment segment = segment_of(n);
    const float2 sample = statistics[blockIdx.y], mean = means[blockIdx.y];
    for (int i = threadIdx.x; i < segment.values; i += BLOCK) {
        const float y = (x[segment.begin + i] - sample.x) * sample.y;
        dx[segment.begin + i] = sample.y * (dy[segment.begin + i] - mean.x - y * mean.y);
    }
}
