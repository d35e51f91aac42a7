// A frozen batch norm folded into the weights of the layer before it, and the way back for gradients.
//
//   w' = w s, b' = (b - mean) s + beta, s = gamma / sqrt(variance + eps)                 batch_norm_fold_f32
//   dw = dw' s, and sums of dw' w over each segment of rows                               batch_norm_fold_grad_f32
//   db = db' s, dgamma = (sum dw' w + db' (b - mean)) / sqrt(variance + eps)              batch_norm_fold_sums_f32
//
// Layouts: w, w', dw, dw' [.., Cout] = [rows, C]; everything else [C]; sums of segments [segments, C]. b may be null: zeros.
// Cut: see norm.cuh; a thread's scale is worked out once. Sums of a segment are joined over lines by a fixed tree, those of segments
// in order and in double precision.
// Cost: the largest of the paper's detector, [3,3,512,512]: 18.9 MB moved forward, 28.3 MB back, 7 MFLOP: memory limits; most are so
// small that their launch costs more: one node forward and one back instead of seven and seven.
// Needs: nothing; 1 KB of static shared memory. Determinism: run_to_run.
#include "norm.cuh"

__device__ __forceinline__ float deviation_of(const float* variance, int channel, float eps) {
    return sqrtf(variance[channel] + eps);
}

__device__ __forceinline__ float centred(const float* bias, const float* mean, int channel) {
    return bias != nullptr ? bias[channel] - mean[channel] : -mean[channel];
}

// Results that nothing reads are null.
KERNEL(BLOCK, RESIDENT) batch_norm_fold_f32(const float* weight, const float* gamma, const float* beta, const float* mean,
                                            const float* variance, const float* bias, float* folded, float* folded_bias,
                                            float eps, Rows all) {
    const Part part = part_of(all);
    if (!part.active) return;
    const float scale = gamma[part.channel] / deviation_of(variance, part.channel, eps);
    if (folded_bias != nullptr && blockIdx.y == 0 && part.line == 0) {
        folded_bias[part.channel] = centred(bias, mean, part.channel) * scale + beta[part.channel];
    }
    if (folded == nullptr) return;
    for (int row = part.begin; row < part.end; row += part.lines) {
        const int64_t at = place_of(row, part, all);
        folded[at] = weight[at] * scale;
    }
}

KERNEL(BLOCK, RESIDENT) batch_norm_fold_grad_f32(const float* weight, const float* gamma, const float* variance,
                                                 const float* dfolded, float* dweight, float* sums, float eps, Rows all) {
    const Part part = part_of(all);
    float sum = 0.0f;
    if (part.active) {
        const float scale = gamma[part.channel] / deviation_of(variance, part.channel, eps);
        for (int row = part.begin; row < part.end; row += part.lines) {
            const int64_t at = place_of(row, part, all);
            const float d = dfolded[at];
            sum += d * weight[at];
            dweight[at] = d * scale;
        }
    }
    sum = sum_lines(sum, part, all.columns);
    if (part.line == 0 && part.active) sums[static_cast<int64_t>(blockIdx.y) * all.channels + part.channel] = sum;
}

// Joins the segments. dgamma or dbias are null where nothing reads them.
KERNEL(BLOCK, RESIDENT) batch_norm_fold_sums_f32(const float* sums, int segments, const float* gamma, const float* mean,
                                                 const float* variance, const float* dfolded_bias, const float* bias,
                                                 float* dgamma, float* dbias, float eps, Rows all) {
    const Part part = part_of(all);
    double sum = 0.0;
    for (int segment = part.line; segment < segments && part.active; segment += part.lines) {
        sum += sums[static_cast<int64_t>(segment) * all.channels + part.channel];
    }
    sum = sum_lines(sum, part, all.columns);
    if (part.line != 0 || !part.active) return;
    const float deviation = deviation_of(variance, part.channel, eps), d = dfolded_bias[part.channel];
    if (dbias != nullptr) dbias[part.channel] = d * (gamma[part.channel] / deviation);
    if (dgamma != nullptr) {
        dgamma[part.channel] = (static_cast<float>(sum) + d * centred(bias, mean, part.channel)) / deviation;
    }
}
