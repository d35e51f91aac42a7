// One round of alternating least squares: each unit's profile in space from its signal, then signals from the profiles.
//
// See src/ops/unmix/profiles.rs for the equations: pixels regressed on the signals and derivatives of the units that cover them
// (P, Q), profiles scaled to mean 1, A = h h P, then (A^T P + ridge diag) s = A^T (y - Q s'), twice.
// Layouts: recordings y [N,P,K] (P = H W pixels, K coefficients), masks, profiles, lags, filtered profiles [N,U,P], courses [N,2U,K]
// (signals, then derivatives), inner products [N,2U,2U], normal and late [N,U,U]. All scratch in double.
// Cut: pixels: a block of one warp a pixel, some hundreds of blocks that go through all of them, each with scratch of its own for a
// system of 2U rows; filters: a thread a pixel and unit; projections: a block a unit (or a pair of units), warps along pixels.
// Bytes and FLOPs: 30 units, 64 x 64 pixels, 70 coefficients, filters of 9 x 9: filters 40 MFLOP, projections 17 MFLOP, products of
// profiles 15 MFLOP, all in double a recording: on GPUs with few double units these limit it, elsewhere latency.
// Needs: any architecture; 4 U bytes of shared memory. Determinism: run_to_run; fixed orders.
#include "device/prelude.cuh"
#include "device/reduce.cuh"
#include "cholesky.cuh"

struct Profiles {
    int recordings, units, height, width, coefficients, side;
    float profile_variance, lag_variance, mismatch, ridge;

    __device__ __forceinline__ int pixels() const { return height * width; }
};
static_assert(sizeof(Profiles) == 40, "as in src/ops/unmix/refine_cuda.rs");

__device__ __forceinline__ bool covered(float mask) { return mask > 0.5f; }

__device__ __forceinline__ int valid_units(const int* counts, int64_t recording, const Profiles& s) {
    return counts == nullptr ? s.units : min(max(counts[recording], 0), s.units);
}

// Variance of what the regression of a pixel leaves [N]; -1 for recordings that give zeros: silent, or without units.
KERNEL(512) profile_errors_f64(const float* recordings, const float* variances, const int* counts, double* errors, Profiles s) {
    const int64_t recording = blockIdx.x, values = static_cast<int64_t>(s.pixels()) * s.coefficients;
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < values; i += blockDim.x) {
        const double value = recordings[recording * values + i];
        sum += value * value;
    }
    sum = block_reduce<SumWide>(sum);
    if (threadIdx.x != 0) return;
    const double power = sum / static_cast<double>(values);
    const bool active = power > 0.0 && valid_units(counts, recording, s) > 0;
    errors[recording] = active ? variances[recording] + s.mismatch * power : -1.0;
}

KERNEL(256) profile_widen_f64(const float* signals, double* courses, Profiles s) {
    const int64_t own = static_cast<int64_t>(s.units) * s.coefficients, total = own * s.recordings;
    for (int64_t i = global_thread(); i < total; i += global_threads()) courses[i / own * 2 * own + i % own] = signals[i];
}

// Derivatives behind the signals.
KERNEL(256) profile_differentiate_f64(const float* slopes, double* courses, Profiles s) {
    const int k = s.coefficients;
    const int64_t own = static_cast<int64_t>(s.units) * k, total = own * s.recordings;
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int64_t first = i / own * 2 * own, at = i % own;
        const double* signal = courses + first + at / k * k;
        double sum = 0.0;
        for (int j = 0; j < k; ++j) sum += signal[j] * slopes[j * k + at % k];
        courses[first + own + at] = sum;
    }
}

KERNEL(256) profile_inner_f64(const double* courses, double* inner, Profiles s) {
    const int rows = 2 * s.units, k = s.coefficients;
    const int64_t pairs = static_cast<int64_t>(rows) * rows, total = pairs * s.recordings;
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const double* first = courses + i / pairs * rows * k;
        const double *a = first + i % pairs / rows * k, *b = first + i % rows * k;
        double sum = 0.0;
        for (int j = 0; j < k; ++j) sum += a[j] * b[j];
        inner[i] = sum;
    }
}

// P and Q of the units that cover each pixel; zero elsewhere before. `systems`: (2U)^2 + 2U for each block.
KERNEL(WARP_SIZE) profile_pixels_f64(const float* recordings, const float* masks, const int* counts, const double* errors,
                                     const double* courses, const double* inner, double* systems, double* profiles,
                                     double* lags, Profiles s) {
    SHARED_DYNAMIC(dynamic);
    int* members = reinterpret_cast<int*>(dynamic);
    const int pixels = s.pixels(), k = s.coefficients, rows = 2 * s.units, lane = threadIdx.x;
    double* system = systems + static_cast<int64_t>(blockIdx.x) * (rows + 1) * rows;
    double* right = system + static_cast<int64_t>(rows) * rows;
    for (int64_t i = blockIdx.x; i < static_cast<int64_t>(s.recordings) * pixels; i += gridDim.x) {
        const int64_t recording = i / pixels, pixel = i % pixels, first = recording * s.units;
        const double error = errors[recording];
        if (error < 0.0) continue;
        int covering = 0;
        const int count = valid_units(counts, recording, s);
        for (int unit = lane; unit - lane < count; unit += WARP_SIZE) {
            const bool own = unit < count && covered(masks[(first + unit) * pixels + pixel]);
            const unsigned ballot = __ballot_sync(ALL_LANES, own);
            if (own) members[covering + __popc(ballot & ((1u << lane) - 1))] = unit;
            covering += __popc(ballot);
        }
        __syncthreads();
        if (covering == 0) continue;
        const int size = 2 * covering;
        const double penalty = error / s.profile_variance, lag_penalty = error / s.lag_variance;
        // The units' signals, then their derivatives.
        const auto row_of = [=](int member) { return member < covering ? members[member] : s.units + members[member - covering]; };
        for (int a = 0; a < size; ++a) {
            const double* course = courses + (recording * rows + row_of(a)) * k;
            const double* products = inner + (recording * rows + row_of(a)) * rows;
            double sum = 0.0;
            for (int j = lane; j < k; j += WARP_SIZE) sum += course[j] * recordings[i * k + j];
            sum = warp_reduce<SumWide>(sum);
            if (lane == 0) right[a] = a < covering ? sum + penalty : sum;
            for (int b = lane; b <= a; b += WARP_SIZE) {
                system[a * size + b] = products[row_of(b)] + (a != b ? 0.0 : a < covering ? penalty : lag_penalty);
            }
        }
        __syncthreads();
        block_factorise(system, size, size);
        if (lane == 0) substitute(system, size, size, right, 1);
        __syncthreads();
        for (int member = lane; member < covering; member += WARP_SIZE) {
            const int64_t at = (first + members[member]) * pixels + pixel;
            profiles[at] = right[member];
            lags[at] = right[covering + member];
        }
        __syncthreads();
    }
}

// Scales each profile to mean 1 over its mask, and its signal the other way.
KERNEL(256) profile_scale_f64(const float* masks, const int* counts, const double* errors, double* profiles, double* lags,
                              double* courses, Profiles s) {
    // A profile whose mean over its mask is smaller is not scaled.
    const double no_mean = 0.05;
    const int64_t row = blockIdx.x, recording = row / s.units;
    const int pixels = s.pixels(), unit = static_cast<int>(row % s.units);
    if (errors[recording] < 0.0 || unit >= valid_units(counts, recording, s)) return;
    double sum = 0.0, size = 0.0;
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
        if (covered(masks[row * pixels + p])) sum += profiles[row * pixels + p], size += 1.0;
    }
    const double total = block_reduce<SumWide>(sum), count = block_reduce<SumWide>(size);
    const double mean = total / fmax(count, 1.0);
    if (!(fabs(mean) >= no_mean)) return;
    const double factor = 1.0 / mean;
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
        profiles[row * pixels + p] *= factor;
        lags[row * pixels + p] *= factor;
    }
    double* course = courses + (recording * 2 * s.units + unit) * s.coefficients;
    for (int j = threadIdx.x; j < s.coefficients; j += blockDim.x) course[j] *= mean;
}

// to = filter * from, zeros outside of the image.
KERNEL(256) profile_filter_f64(const float* filters, const double* from, double* to, Profiles s) {
    const int pixels = s.pixels(), reach = s.side / 2;
    const int64_t total = static_cast<int64_t>(s.recordings) * s.units * pixels;
    for (int64_t i = global_thread(); i < total; i += global_threads()) {
        const int p = static_cast<int>(i % pixels), y = p / s.width, x = p % s.width;
        const double* image = from + (i - p);
        const float* filter = filters + i / pixels / s.units * s.side * s.side;
        double sum = 0.0;
        for (int row = max(y - reach, 0); row <= min(y + reach, s.height - 1); ++row) {
            const float* taps = filter + (row - y + reach) * s.side + reach - x;
            for (int column = max(x - reach, 0); column <= min(x + reach, s.width - 1); ++column) {
                sum += taps[column] * image[row * s.width + column];
            }
        }
        to[i] = sum;
    }
}

constexpr int PROJECT_WARPS = 8;

// A^T y: [N,U,K].
KERNEL(PROJECT_WARPS * WARP_SIZE) profile_project_f64(const float* recordings, const double* filtered, double* projected,
                                                      Profiles s) {
    SHARED(double, partial, [PROJECT_WARPS][WARP_SIZE]);
    const int64_t row = blockIdx.x, recording = row / s.units;
    const int pixels = s.pixels(), k = s.coefficients, warp = threadIdx.x / WARP_SIZE, lane = lane_index();
    const double* weights = filtered + row * pixels;
    const float* y = recordings + recording * pixels * k;
    for (int first = 0; first < k; first += WARP_SIZE) {
        const int at = first + lane;
        double sum = 0.0;
        for (int p = warp; p < pixels; p += PROJECT_WARPS) {
            // Far from its territory a profile is zero; all lanes see the same.
            if (weights[p] != 0.0 && at < k) sum += weights[p] * y[static_cast<int64_t>(p) * k + at];
        }
        partial[warp][lane] = sum;
        __syncthreads();
        if (warp == 0 && at < k) {
            double total = 0.0;
            for (int w = 0; w < PROJECT_WARPS; ++w) total += partial[w][lane];
            projected[row * k + at] = total;
        }
        __syncthreads();
    }
}

// A^T P with its ridge (lower triangle) and A^T Q: [N,U,U].
KERNEL(256) profile_normal_f64(const double* filtered, const double* profiles, const double* lags, double* normal, double* late,
                               Profiles s) {
    const int64_t recording = blockIdx.z, row = recording * s.units + blockIdx.y, other = recording * s.units + blockIdx.x;
    const int pixels = s.pixels();
    double on_profile = 0.0, on_lag = 0.0;
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
        const double weight = filtered[row * pixels + p];
        on_profile += weight * profiles[other * pixels + p];
        on_lag += weight * lags[other * pixels + p];
    }
    on_profile = block_reduce<SumWide>(on_profile);
    on_lag = block_reduce<SumWide>(on_lag);
    if (threadIdx.x == 0) {
        normal[row * s.units + blockIdx.x] = row == other ? on_profile * (1.0 + s.ridge) : on_profile;
        late[row * s.units + blockIdx.x] = on_lag;
    }
}

KERNEL(64) profile_factor_f64(const int* counts, const double* errors, double* normal, Profiles s) {
    const int64_t recording = blockIdx.x;
    if (errors[recording] < 0.0) return;
    block_factorise(normal + recording * s.units * s.units, valid_units(counts, recording, s), s.units);
}

// Signals from what is projected less the late parts, one coefficient a thread.
KERNEL(128) profile_solve_f64(const double* normal, const double* late, const double* projected, const int* counts,
                              const double* errors, double* courses, Profiles s) {
    const int64_t recording = blockIdx.y;
    const int units = s.units, k = s.coefficients, column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= k || errors[recording] < 0.0) return;
    const int count = valid_units(counts, recording, s);
    double* signals = courses + recording * 2 * units * k + column;
    const double* derivatives = signals + static_cast<int64_t>(units) * k;
    late += recording * units * units;
    for (int unit = 0; unit < count; ++unit) {
        double value = projected[(recording * units + unit) * k + column];
        for (int other = 0; other < count; ++other) value -= late[unit * units + other] * derivatives[static_cast<int64_t>(other) * k];
        signals[static_cast<int64_t>(unit) * k] = value;
    }
    substitute(normal + recording * units * units, count, units, signals, k);
}

KERNEL(256) profile_narrow_f32(const double* courses, const int* counts, const double* errors, float* output, Profiles s) {
    const int64_t recording = blockIdx.y;
    const int own = s.units * s.coefficients, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= own) return;
    const bool valid = errors[recording] >= 0.0 && i < valid_units(counts, recording, s) * s.coefficients;
    output[recording * own + i] = valid ? static_cast<float>(courses[recording * 2 * own + i]) : 0.0f;
}
