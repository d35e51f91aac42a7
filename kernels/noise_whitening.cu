// What the noise of a recording is like, from its fastest changes, and the filter that makes it white in space.
//
// e = x[4g] - 3 x[4g+1] + 3 x[4g+2] - x[4g+3]; covariance at lag d: mean of e(p) e(p+d) / 20; power spectrum of the tapered
// covariances on 32 x 32 frequencies; filter: inverse transform of one over its root, cut to the radius.
// Layouts: recordings [N,T,P] (P = H W pixels), differences [N,T/4,P], covariances [N,L] (L lags, one of each opposite pair), filters
// [N,S,S], S = 2 radius + 1.
// Cut: differences one thread a value; covariances one block a lag; filter one block a recording, one thread a frequency, then a
// warp an element of the filter's upper half.
// Bytes and FLOPs: 400 frames of 64 x 64, radius 4: 6.6 MB read, 1.6 MB written, then 61 x 0.4 M products whose operands come from
// the cache, which limits it; the sums are in double. The spectrum takes 0.1 M operations in double.
// Needs: any architecture; 9 KiB of shared memory. Determinism: run_to_run; fixed orders.
#include "device/prelude.cuh"
#include "device/reduce.cuh"

constexpr int GROUP = 4;
constexpr int FREQUENCIES = 32;
// Largest radius plus 2, rounded up.
constexpr int MAX_TAPER = 16;

struct Whitening {
    int recordings, frames, height, width, radius;
    float floor;
};
static_assert(sizeof(Whitening) == 24, "as in src/ops/unmix/refine_cuda.rs");

// Cosines of k / 32 turns, and Hann's window at lags in one direction.
struct Tables {
    double cosines[FREQUENCIES], taper[MAX_TAPER];
};
static_assert(sizeof(Tables) == 384, "as in src/ops/unmix/refine_cuda.rs");

KERNEL(256) whitening_differences_f32(const float* recordings, float* differences, Whitening w) {
    const int pixels = w.height * w.width, groups = w.frames / GROUP;
    const int64_t total = static_cast<int64_t>(w.recordings) * groups * pixels;
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int64_t group = i / pixels % groups, recording = i / pixels / groups;
        const float* x = recordings + (recording * w.frames + group * GROUP) * pixels + i % pixels;
        const int64_t frame = pixels;
        differences[i] = (x[0] - x[3 * frame]) + 3.0f * (x[2 * frame] - x[frame]);
    }
}

// Lag `index`: (0, 0..reach), then (1.., -reach..reach).
__device__ __forceinline__ int2 lag_of(int index, int reach) {
    if (index <= reach) return make_int2(0, index);
    const int rest = index - reach - 1, side = 2 * reach + 1;
    return make_int2(1 + rest / side, rest % side - reach);
}

KERNEL(256) whitening_covariances_f32(const float* differences, double* covariances, Whitening w) {
    // Sum of the squares of 1, -3, 3, -1.
    const double gain = 20.0;
    const int2 lag = lag_of(blockIdx.x, w.radius + 1);
    const int dy = lag.x, dx = lag.y, rows = w.height - dy, columns = w.width - abs(dx), groups = w.frames / GROUP;
    const int64_t pixels = static_cast<int64_t>(w.height) * w.width;
    const int64_t pairs = rows > 0 && columns > 0 ? static_cast<int64_t>(groups) * rows * columns : 0;
    const float* images = differences + blockIdx.y * groups * pixels;
    const int left = dx < 0 ? -dx : 0, right = dx < 0 ? 0 : dx;
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < pairs; i += blockDim.x) {
        const int x = static_cast<int>(i % columns), y = static_cast<int>(i / columns % rows);
        const float* image = images + i / columns / rows * pixels;
        sum += image[y * w.width + left + x] * image[(y + dy) * w.width + right + x];
    }
    sum = block_reduce<SumWide>(sum);
    if (threadIdx.x == 0) {
        covariances[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = pairs > 0 ? sum / (gain * static_cast<double>(pairs)) : 0.0;
    }
}

constexpr int FILTER_THREADS = FREQUENCIES * FREQUENCIES;

KERNEL(FILTER_THREADS) whitening_filter_f64(const double* covariances, float* filters, float* variances, Whitening w, int lags,
                                            const __grid_constant__ Tables tables) {
    SHARED(double, cosines, [FREQUENCIES]);
    SHARED(double, taper, [MAX_TAPER]);
    SHARED(double, amplitudes, [FILTER_THREADS]);
    const int64_t recording = blockIdx.x;
    const int side = 2 * w.radius + 1, thread = threadIdx.x, ky = thread / FREQUENCIES, kx = thread % FREQUENCIES;
    if (thread < FREQUENCIES) cosines[thread] = tables.cosines[thread];
    if (thread < MAX_TAPER) taper[thread] = tables.taper[thread];
    __syncthreads();
    covariances += recording * lags;
    filters += recording * side * side;
    const double known = covariances[0];
    if (!(known > 0.0 && known < INFINITY)) {
        for (int at = thread; at < side * side; at += FILTER_THREADS) filters[at] = at == w.radius * side + w.radius ? 1.0f : 0.0f;
        if (thread == 0) variances[recording] = 0.0f;
        return;
    }
    double power = 0.0;
    for (int i = 0; i < lags; ++i) {
        const int2 lag = lag_of(i, w.radius + 1);
        // A lag other than 0 stands for its opposite, too. Turns that are a power of two apart are the same: no remainder needed.
        const double times = i == 0 ? 1.0 : 2.0;
        const double cosine = cosines[(ky * lag.x + kx * lag.y) & (FREQUENCIES - 1)];
        power += times * covariances[i] / known * taper[lag.x] * taper[abs(lag.y)] * cosine;
    }
    amplitudes[thread] = 1.0 / sqrt(fmax(power, static_cast<double>(w.floor)));
    __syncthreads();
    // The middle row and those below; the upper half is their mirror image.
    for (int at = w.radius * side + thread / WARP_SIZE; at < side * side; at += FILTER_THREADS / WARP_SIZE) {
        const int dy = at / side - w.radius, dx = at % side - w.radius;
        double sum = 0.0;
        for (int k = lane_index(); k < FILTER_THREADS; k += WARP_SIZE) {
            sum += amplitudes[k] * cosines[(k / FREQUENCIES * dy + k % FREQUENCIES * dx) & (FREQUENCIES - 1)];
        }
        sum = warp_reduce<SumWide>(sum);
        if (lane_index() == 0) {
            const float value = static_cast<float>(sum / FILTER_THREADS);
            filters[at] = value;
            // In the middle row both halves are worked out.
            if (dy > 0) filters[side * side - 1 - at] = value;
        }
    }
    if (thread == 0) variances[recording] = static_cast<float>(known);
}
