// Batch norm over the last axis, with given (frozen) or with the batch's own statistics, ReLU after it if asked.
//
//   y = gamma h + beta, h = (x - mean) / std                                              batch_norm_f32
//   batch statistics: mean, 1 / std (biased variance), moving statistics in place         batch_norm_moments_f32,
//                                                                                         batch_norm_statistics_f32
//   with d = dy where y > 0: dbeta = sum d, dgamma = sum d h,                             batch_norm_products_f32,
//   dx = gamma / std (d - [dbeta + h dgamma] / n), the bracket with batch statistics only batch_norm_sums_f32, batch_norm_grad_f32
//
// Layouts: x, y, dy, dx [N, .., C] = [rows, C]; everything else [C]; parts of segments [segments, C]. counts (int [groups], may be
// null) say which samples n are valid: the others take no part and come out as zeros.
// Cut: a block of 256 threads is `columns` channels (a power of two up to 32, neighbours in a warp) by 256 / columns lines; it takes
// one segment of rows, a line every so many. Sums of a segment are joined over lines by a fixed tree, those of segments in order
// and in double precision. A segment's squares are about its own mean, so that nothing cancels; it is read twice, the second time
// from the cache.
// Cost: stem.bn2 of the paper's detector is 2x80x32x32 rows of 16: 10.5 MB a reading; forward reads it three times and writes
// it once, backward reads x and dy twice and writes dx: 0.02 GFLOP: memory limits.
// Needs: nothing; 3 KB of static shared memory. Determinism: run_to_run.
#include "device/element.cuh"
#include "norm.cuh"

// As valid_row, of the row's sample and without divisions of 64 bits.
__device__ __forceinline__ bool is_valid(int row, const Rows& all, const int* counts) {
    if (counts == nullptr) return true;
    const int sample = row / all.sample_rows, group = sample / all.group;
    return sample - group * all.group < counts[group];
}

// What a channel's values are normalised with.
struct Channel {
    float mean, inverse, scale, beta;
};

// `spread` is the variance, to which `eps` is added, or 1 / std if eps is negative.
__device__ __forceinline__ Channel channel_of(int channel, const float* gamma, const float* beta, const float* mean,
                                              const float* spread, float eps) {
    const float inverse = eps < 0.0f ? spread[channel] : 1.0f / sqrtf(spread[channel] + eps);
    return {mean[channel], inverse, gamma[channel] * inverse, beta[channel]};
}

// The value before ReLU. One rounding, spelled out: forward and backward must agree on its sign.
__device__ __forceinline__ float normalised(float x, const Channel& c) {
    return __fmaf_rn(x - c.mean, c.scale, c.beta);
}

KERNEL(BLOCK, RESIDENT) STORED(batch_norm)(const Stored* x, const float* gamma, const float* beta, const float* mean, const float* spread,
                             const int* counts, Stored* y, float eps, int relu, Rows all) {
    const Part part = part_of(all);
    if (!part.active) return;
    const Channel channel = channel_of(part.channel, gamma, beta, mean, spread, eps);
    for (int row = part.begin; row < part.end; row += part.lines) {
        const int64_t at = place_of(row, part, all);
        float value = 0.0f;
        if (is_valid(row, all, counts)) {
            value = normalised(x[at], channel);
            if (relu && value < 0.0f) value = 0.0f;
        }
        y[at] = value;
    }
}

// Mean of each segment's valid rows, squares about it, and their number.
KERNEL(BLOCK, RESIDENT) STORED(batch_norm_moments)(const Stored* x, const int* counts, float* means, float* squares, int* numbers, Rows all) {
    const Part part = part_of(all);
    int number = 0;
    float sum = 0.0f;
    for (int row = part.begin; row < part.end; row += part.lines) {
        if (!is_valid(row, all, counts)) continue;
        number += 1;
        if (part.active) sum += x[place_of(row, part, all)];
    }
    number = sum_lines(number, part, all.columns);
    sum = sum_lines(sum, part, all.columns);
    const float mean = number > 0 ? sum / number : 0.0f;
    float square = 0.0f;
    for (int row = part.begin; row < part.end; row += part.lines) {
        if (!part.active || !is_valid(row, all, counts)) continue;
        const float deviation = x[place_of(row, part, all)] - mean;
        square += deviation * deviation;
    }
    square = sum_lines(square, part, all.columns);
    if (part.line == 0 && part.active) {
        const int64_t to = static_cast<int64_t>(blockIdx.y) * all.channels + part.channel;
        means[to] = mean;
        squares[to] = square;
        if (part.channel == 0) numbers[blockIdx.y] = number;
    }
}

// Joins the segments: mean, 1 / std, and the moving statistics. Without any valid row the moving ones stay.
KERNEL(BLOCK, RESIDENT) batch_norm_statistics_f32(const float* means, const float* squares, const int* numbers, int segments, float* mean,
                                        float* inverse_std, float* moving_mean, float* moving_var, float eps, float momentum,
                                        int unbiased, Rows all) {
    const Part part = part_of(all);
    double sum = 0.0, rows = 0.0;
    for (int segment = part.line; segment < segments; segment += part.lines) {
        rows += numbers[segment];
        if (part.active) sum += numbers[segment] * static_cast<double>(means[static_cast<int64_t>(segment) * all.channels + part.channel]);
    }
    rows = sum_lines(rows, part, all.columns);
    sum = sum_lines(sum, part, all.columns);
    const double centre = rows > 0.0 ? sum / rows : 0.0;
    double square = 0.0;
    for (int segment = part.line; segment < segments; segment += part.lines) {
        if (!part.active) continue;
        const int64_t at = static_cast<int64_t>(segment) * all.channels + part.channel;
        const double away = means[at] - centre;
        square += squares[at] + numbers[segment] * away * away;
    }
    square = sum_lines(square, part, all.columns);
    if (part.line != 0 || !part.active) return;
    const float variance = rows > 0.0 ? static_cast<float>(square / rows) : 0.0f;
    mean[part.channel] = static_cast<float>(centre);
    inverse_std[part.channel] = 1.0f / sqrtf(variance + eps);
    if (rows > 0.0) {
        const float correction = unbiased ? static_cast<float>(rows / ((rows > 2.0 ? rows : 2.0) - 1.0)) : 1.0f;
        const float taken = 1.0f - momentum;
        moving_mean[part.channel] = momentum * moving_mean[part.channel] + taken * static_cast<float>(centre);
        moving_var[part.channel] = momentum * moving_var[part.channel] + taken * (correction * variance);
    }
}

// dy where the output was positive, or everywhere without ReLU.
__device__ __forceinline__ float passed(float dy, float x, const Channel& channel, int relu) {
    return relu && normalised(x, channel) <= 0.0f ? 0.0f : dy;
}

// Sums of d and of d h over each segment.
KERNEL(BLOCK, RESIDENT) STORED(batch_norm_products)(const Stored* x, const float* gamma, const float* beta, const float* mean,
                                      const float* spread, const Stored* dy, const int* counts, float* sums, float* dots,
                                      float eps, int relu, Rows all) {
    const Part part = part_of(all);
    float sum = 0.0f, dot = 0.0f;
    if (part.active) {
        const Channel channel = channel_of(part.channel, gamma, beta, mean, spread, eps);
        for (int row = part.begin; row < part.end; row += part.lines) {
            if (!is_valid(row, all, counts)) continue;
            const int64_t at = place_of(row, part, all);
            const float value = x[at], d = passed(dy[at], value, channel, relu);
            sum += d;
            dot += d * ((value - channel.mean) * channel.inverse);
        }
    }
    sum = sum_lines(sum, part, all.columns);
    dot = sum_lines(dot, part, all.columns);
    if (part.line == 0 && part.active) {
        const int64_t to = static_cast<int64_t>(blockIdx.y) * all.channels + part.channel;
        sums[to] = sum;
        dots[to] = dot;
    }
}

// Joins the segments to dbeta and dgamma (null where nothing reads them); `shares` gets both divided by the number of valid rows,
// or zeros if the statistics were given.
KERNEL(BLOCK, RESIDENT) batch_norm_sums_f32(const float* sums, const float* dots, int segments, const int* counts, float* dgamma,
                                  float* dbeta, float* shares, int batch_statistics, Rows all) {
    const Part part = part_of(all);
    double sum = 0.0, dot = 0.0;
    for (int segment = part.line; segment < segments && part.active; segment += part.lines) {
        sum += sums[static_cast<int64_t>(segment) * all.channels + part.channel];
        dot += dots[static_cast<int64_t>(segment) * all.channels + part.channel];
    }
    sum = sum_lines(sum, part, all.columns);
    dot = sum_lines(dot, part, all.columns);
    if (part.line != 0 || !part.active) return;
    int64_t rows = all.rows;
    if (counts != nullptr && all.groups > 0) {
        rows = 0;
        for (int group = 0; group < all.groups; ++group) rows += min(max(counts[group], 0), all.group);
        rows *= all.sample_rows;
    }
    const float share = batch_statistics && rows > 0 ? 1.0f / static_cast<float>(rows) : 0.0f;
    const float total = static_cast<float>(sum), product = static_cast<float>(dot);
    if (dgamma != nullptr) dgamma[part.channel] = product;
    if (dbeta != nullptr) dbeta[part.channel] = total;
    shares[part.channel] = total * share;
    shares[all.channels + part.channel] = product * share;
}

// `shares` as above; null for zeros.
KERNEL(BLOCK, RESIDENT) STORED(batch_norm_grad)(const Stored* x, const float* gamma, const float* beta, const float* mean, const float* spread,
                                  const Stored* dy, const int* counts, const float* shares, Stored* dx, float eps, int relu,
                                  Rows all) {
    const Part part = part_of(all);
    if (!part.active) return;
    const Channel channel = channel_of(part.channel, gamma, beta, mean, spread, eps);
    const float sum = shares != nullptr ? shares[part.channel] : 0.0f;
    const float dot = shares != nullptr ? shares[all.channels + part.channel] : 0.0f;
    for (int row = part.begin; row < part.end; row += part.lines) {
        const int64_t at = place_of(row, part, all);
        float value = 0.0f;
        if (is_valid(row, all, counts)) {
            const float d = passed(dy[at], x[at], channel, relu);
            value = channel.scale * (d - sum - (x[at] - channel.mean) * channel.inverse * dot);
        }
        dx[at] = value;
    }
}
