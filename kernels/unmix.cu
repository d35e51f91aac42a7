// Signals of motor units: means over the regions of masks, least-squares unmixing, scaling to the peak.
//
// Layouts: recordings [N,T,P] (P = H W pixels), masks [N U,P], labels [N U,P], means [N U,T,4], signals [R,T,C]. A pixel belongs to
// a mask if its value is above 0.5.
// Cut: labels, peaks: one block a row. Means: a warp for each unit and frame, lanes along the pixels of the unit's window. Gram
// matrix: a block for each pair of masks. Cholesky: a block a recording, a thread a row. Substitution: a thread a frame.
// Bytes and FLOPs: 30 units, 400 frames, windows of 28 x 28 pixels of 64 x 64: means read 12,000 windows of 3 KB from the cache
// (38 MB), 28 MFLOP; the normal equations take 0.8 MFLOP in double a recording. The cache limits the means, latency the rest.
// Needs: any architecture; 128 bytes of shared memory. Determinism: run_to_run; integer sums, fixed orders.
#include "device/prelude.cuh"
#include "device/reduce.cuh"
#include "cholesky.cuh"
#include "resize.cuh"

struct Scene {
    int recordings, units, frames, height, width;

    __device__ __forceinline__ int pixels() const { return height * width; }
    __device__ __forceinline__ int64_t rows() const { return static_cast<int64_t>(recordings) * units; }
};
static_assert(sizeof(Scene) == 20, "as in src/ops/unmix/cuda.rs");

__device__ __forceinline__ bool covered(float mask) { return mask > 0.5f; }

// -- Means over regions

enum Region : uint8_t { NONE = 0, EXCLUSIVE = 1, SURROUND = 2, SHARED_PART = 3 };

// Where a unit's regions lie: the window that holds them all, and their numbers of pixels by label. No rows: no regions.
struct Window {
    int y, x, height, width;
    int sizes[4];
};
static_assert(sizeof(Window) == 32, "as in src/ops/unmix/cuda.rs");

// One axis of the crop of `side` round [low, high), as far as it lies in the image, and its union with [low, high).
__device__ __forceinline__ int2 crop_axis(int low, int high, int side, int extent) {
    const int start = (low + high) / 2 - side / 2;
    return make_int2(max(start, 0), min(max(start + side, 0), extent));
}

KERNEL(256) region_labels_f32(const float* masks, const int* counts, uint8_t* labels, Window* windows, Scene scene, int surround) {
    SHARED(int, bounds, [4]);
    SHARED(int, sizes, [4]);
    const int64_t row = blockIdx.x, recording = row / scene.units;
    const int pixels = scene.pixels();
    const float* mask = masks + row * pixels;
    const bool valid = valid_row(row, scene.rows(), counts, scene.recordings);
    if (threadIdx.x < 4) {
        bounds[threadIdx.x] = threadIdx.x < 2 ? 0x7fffffff : 0;
        sizes[threadIdx.x] = 0;
    }
    __syncthreads();
    for (int p = threadIdx.x; valid && p < pixels; p += blockDim.x) {
        if (!covered(mask[p])) continue;
        const int y = p / scene.width, x = p % scene.width;
        atomicMin(&bounds[0], y);
        atomicMin(&bounds[1], x);
        atomicMax(&bounds[2], y + 1);
        atomicMax(&bounds[3], x + 1);
    }
    __syncthreads();
    const bool empty = bounds[2] == 0;
    const int2 rows = crop_axis(bounds[0], empty ? 0 : bounds[2], surround, scene.height);
    const int2 columns = crop_axis(bounds[1], empty ? 0 : bounds[3], surround, scene.width);
    for (int p = threadIdx.x; !empty && p < pixels; p += blockDim.x) {
        const int y = p / scene.width, x = p % scene.width;
        uint8_t label = NONE;
        if (covered(mask[p])) {
            bool others = false;
            const int units = counts == nullptr ? scene.units : min(counts[recording], scene.units);
            for (int unit = 0; unit < units; ++unit) {
                const int64_t other = recording * scene.units + unit;
                others |= other != row && covered(masks[other * pixels + p]);
            }
            label = others ? SHARED_PART : EXCLUSIVE;
        } else if (y >= rows.x && y < rows.y && x >= columns.x && x < columns.y) {
            label = SURROUND;
        }
        labels[row * pixels + p] = label;
        if (label != NONE) atomicAdd(&sizes[label], 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        Window window = {};
        if (!empty) {
            window.y = min(bounds[0], rows.x);
            window.x = min(bounds[1], columns.x);
            window.height = max(bounds[2], rows.y) - window.y;
            window.width = max(bounds[3], columns.y) - window.x;
            for (int label = 0; label < 4; ++label) window.sizes[label] = sizes[label];
        }
        windows[row] = window;
    }
}

__device__ __forceinline__ float mean_of(float sum, int size) {
    return size > 0 ? sum / static_cast<float>(size) : 0.0f;
}

constexpr int MEAN_WARPS = 8;

KERNEL(MEAN_WARPS * WARP_SIZE) region_means_f32(const float* recordings, const uint8_t* labels, const Window* windows, float* means, Scene scene) {
    const int64_t row = blockIdx.x;
    const int frame = blockIdx.y * MEAN_WARPS + threadIdx.x / WARP_SIZE;
    if (frame >= scene.frames) return;
    const Window window = windows[row];
    const int pixels = scene.pixels();
    const float* image = recordings + (row / scene.units * scene.frames + frame) * pixels;
    labels += row * pixels;
    float exclusive = 0.0f, surround = 0.0f, shared_part = 0.0f;
    for (int i = lane_index(); i < window.height * window.width; i += WARP_SIZE) {
        const int p = (window.y + i / window.width) * scene.width + window.x + i % window.width;
        const float value = image[p];
        const uint8_t label = labels[p];
        exclusive += label == EXCLUSIVE ? value : 0.0f;
        surround += label == SURROUND ? value : 0.0f;
        shared_part += label == SHARED_PART ? value : 0.0f;
    }
    exclusive = warp_sum(exclusive);
    surround = warp_sum(surround);
    shared_part = warp_sum(shared_part);
    if (lane_index() == 0) {
        const float mask = mean_of(exclusive + shared_part, window.sizes[EXCLUSIVE] + window.sizes[SHARED_PART]);
        const float alone = window.sizes[EXCLUSIVE] > 0 ? mean_of(exclusive, window.sizes[EXCLUSIVE]) : mask;
        reinterpret_cast<float4*>(means)[row * scene.frames + frame] =
            make_float4(mask, alone, mean_of(surround, window.sizes[SURROUND]), mean_of(shared_part, window.sizes[SHARED_PART]));
    }
}

// -- Least-squares unmixing

__device__ __forceinline__ int valid_units(const int* counts, int64_t recording, const Scene& scene) {
    return counts == nullptr ? scene.units : min(max(counts[recording], 0), scene.units);
}

// Number of pixels in both masks i and j <= i: common [N,U,U].
KERNEL(256) unmix_common_f32(const float* masks, const int* counts, int* common, Scene scene) {
    SHARED(int, total, [1]);
    const int i = blockIdx.x, j = blockIdx.y, pixels = scene.pixels();
    const int64_t recording = blockIdx.z;
    if (j > i || i >= valid_units(counts, recording, scene)) return;
    if (threadIdx.x == 0) total[0] = 0;
    __syncthreads();
    const float* a = masks + (recording * scene.units + i) * pixels;
    const float* b = masks + (recording * scene.units + j) * pixels;
    int sum = 0;
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) sum += covered(a[p]) && covered(b[p]) ? 1 : 0;
    if (sum > 0) atomicAdd(&total[0], sum);
    __syncthreads();
    if (threadIdx.x == 0) common[(recording * scene.units + i) * scene.units + j] = total[0];
}

constexpr int FACTOR_THREADS = 64;

// The factor of G + ridge diag G.
KERNEL(FACTOR_THREADS) unmix_factor_f64(const int* common, const int* counts, double* factors, Scene scene, double ridge) {
    const int64_t recording = blockIdx.x;
    const int units = scene.units, count = valid_units(counts, recording, scene);
    common += recording * units * units;
    factors += recording * units * units;
    for (int i = threadIdx.x; i < count * units; i += FACTOR_THREADS) {
        const int row = i / units, column = i % units;
        if (column <= row) factors[i] = row == column ? common[i] * (1.0 + ridge) : common[i];
    }
    __syncthreads();
    block_factorise(factors, count, units);
}

// Solves for one frame a thread; `solutions` [N,U,T] is scratch.
KERNEL(256) unmix_solve_f64(const float* means, const int* common, const double* factors, const int* counts, double* solutions,
                            float* output, Scene scene, int channels) {
    const int64_t recording = blockIdx.y;
    const int frame = blockIdx.x * blockDim.x + threadIdx.x;
    if (frame >= scene.frames) return;
    const int units = scene.units, count = valid_units(counts, recording, scene);
    common += recording * units * units;
    factors += recording * units * units;
    const int64_t first = recording * units * scene.frames + frame;
    double* x = solutions + first;
    for (int i = 0; i < count; ++i) {
        const int64_t at = static_cast<int64_t>(i) * scene.frames;
        x[at] = static_cast<double>(means[(first + at) * channels]) * common[i * units + i];
    }
    substitute(factors, count, units, x, scene.frames);
    for (int i = 0; i < units; ++i) {
        const int64_t at = static_cast<int64_t>(i) * scene.frames;
        output[first + at] = i < count ? static_cast<float>(x[at]) : 0.0f;
    }
}

// -- Scaling

// Each row over the largest absolute value of its channel 0; below 1e-6: zeros, and the peak is given as 1.
KERNEL(256) scale_to_peak_f32(const float* signals, float* scaled, float* peaks, int64_t values, int channels) {
    signals += blockIdx.x * values;
    scaled += blockIdx.x * values;
    float largest = 0.0f;
    for (int64_t i = static_cast<int64_t>(threadIdx.x) * channels; i < values; i += static_cast<int64_t>(blockDim.x) * channels) {
        largest = fmaxf(largest, fabsf(signals[i]));
    }
    const float peak = block_reduce<Highest>(largest);
    const bool none = peak < 1e-6f;
    const float factor = none ? 0.0f : 1.0f / peak;
    for (int64_t i = threadIdx.x; i < values; i += blockDim.x) scaled[i] = none ? 0.0f : signals[i] * factor;
    if (threadIdx.x == 0) peaks[blockIdx.x] = none ? 1.0f : peak;
}
