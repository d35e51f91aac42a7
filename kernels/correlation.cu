// Correlation of each pixel's smoothed signal with its neighbours', and each pixel's energy; and the gradient to the recordings.
//
// y = running mean of x over S frames, less its mean over time; e(p) = mean_t y(p)^2, E its mean over the pixels,
// sd(p)^2 = e(p) + floor E; map o at p is mean_t y(p) y(p+o) / (sd(p) sd(p+o)), 0 outside; the last map is ln(e(p) / E + 1e-3).
// Layouts: recordings x, signals y and their gradients [N,T,P] (P = H W pixels), sums of products [N,K,S,P] (K offsets without
// their opposites, S slices of 64 frames), maps [N,P,C], levels 1 / sd [N,P].
// Cut: one thread a value, neighbouring threads on neighbouring pixels, so that frames are read coalesced. Products: a thread
// takes a slice of frames of one pixel and one offset. Energies: one block a recording.
// Bytes and FLOPs: for 64 x 64 pixels, 400 frames and 24 neighbours: x and y 6.6 MB each; 12 + 1 offsets of 1.6 M products: 43
// MFLOP, two reads from the cache each, which limits it. Backward: four times the products and another array of the size of y.
// Needs: any architecture; 4 T bytes of shared memory for the weights of the mean. Determinism: run_to_run; fixed orders.
#include "device/prelude.cuh"
#include "device/reduce.cuh"

constexpr int SLICE = 64;
constexpr int MAX_OFFSETS = 256;
constexpr float LOG_ENERGY_FLOOR = 1e-3f;

struct Field {
    int images, frames, height, width, smooth_frames, slices, pairs, channels;
    float floor;

    __device__ __forceinline__ int pixels() const { return height * width; }
    // The frames that frame t of the running mean covers.
    __device__ __forceinline__ int window_begin(int t) const { return max(t - smooth_frames / 2, 0); }
    __device__ __forceinline__ int window_end(int t) const {
        return static_cast<int>(min(static_cast<int64_t>(t) + smooth_frames / 2 + 1, static_cast<int64_t>(frames)));
    }
    __device__ __forceinline__ float window_weight(int t) const {
        return __fdiv_rn(1.0f, static_cast<float>(window_end(t) - window_begin(t)));
    }
};
static_assert(sizeof(Field) == 36, "as in src/ops/correlation/cuda.rs");

// Offsets: dy, dx. With `source` the index of the pair that a map is read from, times two, plus 1 if the pair is the opposite
// one, whose value at p is the map's at p + o; -1 if no two pixels of the field are that far apart.
struct Offsets {
    short dy[MAX_OFFSETS], dx[MAX_OFFSETS], source[MAX_OFFSETS];
};
static_assert(sizeof(Offsets) == 1536, "as in src/ops/correlation/cuda.rs");

// The pixel at an offset from `p`; -1 outside of the field.
__device__ __forceinline__ int at_offset(const Field& field, int p, int dy, int dx) {
    const int y = p / field.width + dy, x = p % field.width + dx;
    return y >= 0 && y < field.height && x >= 0 && x < field.width ? y * field.width + x : -1;
}

// The mean over time of the running mean: each frame weighed by the windows that hold it.
KERNEL(256) correlation_mean_f32(const float* x, float* mean, Field field) {
    SHARED_DYNAMIC(dynamic);
    float* weights = reinterpret_cast<float*>(dynamic);
    for (int s = threadIdx.x; s < field.frames; s += blockDim.x) {
        // The windows that hold s are those of the frames in s's own window.
        float sum = 0.0f;
        for (int t = field.window_begin(s); t < field.window_end(s); ++t) sum += field.window_weight(t);
        weights[s] = sum / static_cast<float>(field.frames);
    }
    __syncthreads();
    const int pixels = field.pixels(), p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= pixels) return;
    x += static_cast<int64_t>(blockIdx.y) * field.frames * pixels + p;
    // Four sums: each four times shorter, and four reads on their way at once.
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    int s = 0;
    for (; s + 4 <= field.frames; s += 4) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[k] += weights[s + k] * x[static_cast<int64_t>(s + k) * pixels];
    }
    for (; s < field.frames; ++s) sum[0] += weights[s] * x[static_cast<int64_t>(s) * pixels];
    mean[static_cast<int64_t>(blockIdx.y) * pixels + p] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

KERNEL(256) correlation_smooth_f32(const float* x, const float* mean, float* y, Field field) {
    const int pixels = field.pixels();
    const int64_t total = static_cast<int64_t>(field.images) * field.frames * pixels;
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int p = static_cast<int>(i % pixels), t = static_cast<int>(i / pixels % field.frames);
        const int64_t image = i / pixels / field.frames;
        const float* pixel = x + image * field.frames * pixels + p;
        float sum = 0.0f;
        for (int s = field.window_begin(t); s < field.window_end(t); ++s) sum += pixel[static_cast<int64_t>(s) * pixels];
        y[i] = sum * field.window_weight(t) - mean[image * pixels + p];
    }
}

// Sums over a slice of frames of y(p) y(p + o) for pair blockIdx.y; 0 where p + o is outside of the field.
KERNEL(256) correlation_products_f32(const float* y, float* sums, Field field, const __grid_constant__ Offsets offsets) {
    const int pixels = field.pixels(), p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= pixels) return;
    const int pair = blockIdx.y, slice = blockIdx.z % field.slices;
    const int64_t image = blockIdx.z / field.slices;
    const int other = at_offset(field, p, offsets.dy[pair], offsets.dx[pair]);
    float sum = 0.0f;
    if (other >= 0) {
        y += image * field.frames * pixels;
        for (int t = slice * SLICE; t < min(field.frames, (slice + 1) * SLICE); ++t) {
            const float* frame = y + static_cast<int64_t>(t) * pixels;
            sum += frame[p] * frame[other];
        }
    }
    sums[((image * field.pairs + pair) * field.slices + slice) * pixels + p] = sum;
}

// The whole sum of a pair at a pixel.
__device__ __forceinline__ float total_of(const float* sums, const Field& field, int64_t image, int pair, int p) {
    const float* first = sums + (image * field.pairs + pair) * field.slices * field.pixels() + p;
    float total = 0.0f;
    for (int slice = 0; slice < field.slices; ++slice) total += first[static_cast<int64_t>(slice) * field.pixels()];
    return total;
}

// 1 / sd of each pixel (0 where sd is 0), its energy as a share of the mean, and the mean energy [N], from the sums of pair 0.
KERNEL(256) correlation_levels_f32(const float* sums, float* inverse, float* relative, double* mean_energy, Field field) {
    const int64_t image = blockIdx.x;
    const int pixels = field.pixels();
    double sum = 0.0;
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) sum += total_of(sums, field, image, 0, p);
    const double mean = block_reduce<SumWide>(sum) / field.frames / pixels;
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
        const double energy = static_cast<double>(total_of(sums, field, image, 0, p)) / field.frames;
        const double variance = energy + field.floor * mean;
        inverse[image * pixels + p] = variance > 0.0 ? static_cast<float>(1.0 / sqrt(variance)) : 0.0f;
        relative[image * pixels + p] = mean > 0.0 ? static_cast<float>(energy / mean) : 0.0f;
    }
    if (threadIdx.x == 0) mean_energy[image] = mean;
}

KERNEL(256) correlation_maps_f32(const float* sums, const float* inverse, const float* relative, float* maps, Field field,
                                 const __grid_constant__ Offsets offsets) {
    const int pixels = field.pixels();
    const int64_t total = static_cast<int64_t>(field.images) * pixels * field.channels;
    const float scale = 1.0f / static_cast<float>(field.frames);
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int channel = static_cast<int>(i % field.channels), p = static_cast<int>(i / field.channels % pixels);
        const int64_t image = i / field.channels / pixels;
        if (channel == field.channels - 1) {
            maps[i] = logf(relative[image * pixels + p] + LOG_ENERGY_FLOOR);
            continue;
        }
        const int source = offsets.source[channel];
        const int other = source < 0 ? -1 : at_offset(field, p, offsets.dy[channel], offsets.dx[channel]);
        float value = 0.0f;
        if (other >= 0) {
            const float sum = total_of(sums, field, image, source / 2, source % 2 == 1 ? other : p) * scale;
            // One factor after the other: the product of both may be out of range where the result is not.
            value = sum * inverse[image * pixels + p] * inverse[image * pixels + other];
        }
        maps[i] = value;
    }
}

// Backward, 1: what each map's gradient multiplies its signals with, [N,C-1,P], and the gradient to each pixel's own sd^2 and
// through it to the mean energy, in double [N,P].
KERNEL(256) correlation_grad_levels_f32(const float* maps, const float* gradient, const float* inverse, const float* relative,
                                        const double* mean_energy, float* factors, double* to_energy, double* to_mean,
                                        Field field, const __grid_constant__ Offsets offsets) {
    const int pixels = field.pixels(), p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= pixels) return;
    const int64_t image = blockIdx.y, first = image * pixels;
    const int offsets_count = field.channels - 1;
    const double energy = mean_energy[image];
    float own = 0.0f;
    for (int channel = 0; channel < offsets_count; ++channel) {
        float factor = 0.0f;
        if (offsets.source[channel] >= 0) {
            const int after = at_offset(field, p, offsets.dy[channel], offsets.dx[channel]);
            const int before = at_offset(field, p, -offsets.dy[channel], -offsets.dx[channel]);
            if (after >= 0) {
                const int64_t at = (first + p) * field.channels + channel;
                factor = gradient[at] * inverse[first + p] * inverse[first + after] / static_cast<float>(field.frames);
                own += gradient[at] * maps[at];
            }
            if (before >= 0) {
                const int64_t at = (first + before) * field.channels + channel;
                own += gradient[at] * maps[at];
            }
        }
        factors[(image * offsets_count + channel) * pixels + p] = factor;
    }
    const double inverse_sd = inverse[first + p], share = relative[first + p];
    const double to_variance = -0.5 * own * inverse_sd * inverse_sd;
    const double to_log = gradient[(first + p) * field.channels + offsets_count] / (share + LOG_ENERGY_FLOOR);
    // A silent recording: every map is constant there by definition.
    to_energy[first + p] = energy > 0.0 ? to_variance + to_log / energy : 0.0;
    to_mean[first + p] = energy > 0.0 ? field.floor * to_variance - to_log * share / energy : 0.0;
}

// Backward, 2: what each pixel's own signal is multiplied with: 2 / frames times the gradient to its energy.
KERNEL(256) correlation_grad_own_f32(const double* to_energy, const double* to_mean, float* own, Field field) {
    const int64_t first = static_cast<int64_t>(blockIdx.x) * field.pixels();
    double sum = 0.0;
    for (int p = threadIdx.x; p < field.pixels(); p += blockDim.x) sum += to_mean[first + p];
    const double shared_part = block_reduce<SumWide>(sum) / field.pixels();
    for (int p = threadIdx.x; p < field.pixels(); p += blockDim.x) {
        own[first + p] = static_cast<float>((to_energy[first + p] + shared_part) * 2.0 / field.frames);
    }
}

// Backward, 3: gradient to the smoothed signals.
KERNEL(256) correlation_grad_signals_f32(const float* y, const float* factors, const float* own, const double* mean_energy,
                                         float* dy, Field field, const __grid_constant__ Offsets offsets) {
    const int pixels = field.pixels(), offsets_count = field.channels - 1;
    const int64_t total = static_cast<int64_t>(field.images) * field.frames * pixels;
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int p = static_cast<int>(i % pixels);
        const int64_t image = i / pixels / field.frames;
        const float* frame = y + (i - p);
        const float* factor = factors + image * offsets_count * pixels;
        float sum = own[image * pixels + p] * frame[p];
        for (int channel = 0; channel < offsets_count; ++channel, factor += pixels) {
            if (offsets.source[channel] < 0) continue;
            const int after = at_offset(field, p, offsets.dy[channel], offsets.dx[channel]);
            const int before = at_offset(field, p, -offsets.dy[channel], -offsets.dx[channel]);
            if (after >= 0) sum += factor[p] * frame[after];
            if (before >= 0) sum += factor[before] * frame[before];
        }
        dy[i] = mean_energy[image] > 0.0 ? sum : 0.0f;
    }
}

// Backward, 4: the running mean transposed.
KERNEL(256) correlation_grad_smooth_f32(const float* dy, float* dx, Field field) {
    const int pixels = field.pixels();
    const int64_t total = static_cast<int64_t>(field.images) * field.frames * pixels;
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int s = static_cast<int>(i / pixels % field.frames);
        const float* pixel = dy + (i - static_cast<int64_t>(s) * pixels);
        float sum = 0.0f;
        for (int t = field.window_begin(s); t < field.window_end(s); ++t) {
            sum += field.window_weight(t) * pixel[static_cast<int64_t>(t) * pixels];
        }
        dx[i] = sum;
    }
}
