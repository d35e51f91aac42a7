// The first left singular vectors of each mask's pixels, times singular value over the root of the number of pixels, signs by a
// reference: Lanczos' iteration with full reorthogonalisation on the shorter side, then the tridiagonal problem in full.
//
// A [T,S]: the S pixels of a mask in all T frames. v -> A^T A v (S <= T) or A A^T v: A itself is never copied nor its Gram matrix made;
// products with A read the recording through the list of the mask's pixels.
// Layouts: recordings [N,T,P], masks and lists [N U,P], reference [N U,T], output [N U,T,K]; basis [N U,40,side].
// Cut: a kernel each for the basis, the small problem and the signals; one block of 16 warps a unit. Products with A: a warp a frame, lanes along the pixels; with its transpose: lanes along the
// pixels, warps along pixels and slices of frames. Basis: a warp a vector. Tridiagonal problem: one warp, two columns a lane.
// Bytes and FLOPs: 40 steps of two products: 100 pixels and 400 frames: 6.4 MFLOP and 13 MB from the cache a unit; the latency of
// these reads limits it, then the 2000 rotations of the tridiagonal problem in double.
// Needs: any architecture; 14 KiB of shared memory. Determinism: run_to_run; fixed orders, fixed start.
#include "device/prelude.cuh"
#include "device/reduce.cuh"

constexpr int WARPS = 16;
constexpr int THREADS = WARPS * WARP_SIZE;
// Longest basis.
constexpr int STEPS = 40;
constexpr int MAX_COMPONENTS = 8;
// A new direction shorter than this part of the matrix's trace is rounding: the basis spans an invariant subspace.
constexpr float INVARIANT = 1e-7f;
// Singular values below this part of the first are taken for rounding.
constexpr double NO_COMPONENT = 2e-3;

struct Svd {
    int recordings, units, frames, pixels, components;
    // Floats of scratch a unit: side of the basis, length of the products.
    int side, longest;
};
static_assert(sizeof(Svd) == 28, "as in src/ops/unmix/cuda.rs");

// A mask's pixels of a recording.
struct Crop {
    const float* recording;
    const int* list;
    int pixels, frames, size;

    __device__ __forceinline__ float at(int t, int i) const { return recording[static_cast<int64_t>(t) * pixels + list[i]]; }
};

__device__ __forceinline__ int warp_index() { return threadIdx.x / WARP_SIZE; }

// y [T] = scale A x, x [S].
__device__ __forceinline__ void times(const Crop& crop, const float* x, float scale, float* y) {
    for (int t = warp_index(); t < crop.frames; t += WARPS) {
        float sum = 0.0f;
        for (int i = lane_index(); i < crop.size; i += WARP_SIZE) sum += crop.at(t, i) * x[i];
        sum = warp_sum(sum);
        if (lane_index() == 0) y[t] = scale * sum;
    }
    __syncthreads();
}

// y [S] = A^T x, x [T]. Few pixels leave warps over: these share the frames.
__device__ __forceinline__ void transposed_times(const Crop& crop, const float* x, float* y) {
    SHARED(float, partial, [THREADS]);
    const int chunks = static_cast<int>(ceil_div(crop.size, WARP_SIZE)), slices = max(WARPS / chunks, 1);
    const int slice = chunks < WARPS ? warp_index() / chunks : 0;
    const int first = chunks < WARPS ? warp_index() % chunks : warp_index();
    const int begin = static_cast<int>(static_cast<int64_t>(crop.frames) * slice / slices);
    const int end = static_cast<int>(static_cast<int64_t>(crop.frames) * (slice + 1) / slices);
    if (slice < slices) {
        for (int chunk = first; chunk < chunks; chunk += WARPS) {
            const int i = chunk * WARP_SIZE + lane_index();
            // Four sums, so that four reads are on their way at once.
            float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            int t = begin;
            for (; i < crop.size && t + 4 <= end; t += 4) {
#pragma unroll
                for (int k = 0; k < 4; ++k) sum[k] += crop.at(t + k, i) * x[t + k];
            }
            for (; i < crop.size && t < end; ++t) sum[0] += crop.at(t, i) * x[t];
            const float total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            if (slices > 1) partial[threadIdx.x] = total;
            else if (i < crop.size) y[i] = total;
        }
    }
    __syncthreads();
    if (slices == 1) return;
    for (int i = threadIdx.x; i < crop.size; i += THREADS) {
        float total = 0.0f;
        for (int s = 0; s < slices; ++s) total += partial[(s * chunks + i / WARP_SIZE) * WARP_SIZE + i % WARP_SIZE];
        y[i] = total;
    }
    __syncthreads();
}

__device__ __forceinline__ float sum_of_squares(const Crop& crop) {
    double squares = 0.0;
    for (int t = warp_index(); t < crop.frames; t += WARPS) {
        float sum = 0.0f;
        for (int i = lane_index(); i < crop.size; i += WARP_SIZE) sum += crop.at(t, i) * crop.at(t, i);
        squares += sum;
    }
    return static_cast<float>(block_reduce<SumWide>(squares));
}

__device__ __forceinline__ float dot(const float* x, const float* y, int n) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += THREADS) sum += x[i] * y[i];
    return block_sum(sum);
}

// Takes from `x` its parts along `count` rows of `basis [.,n]`, all measured before any is taken.
__device__ __forceinline__ void orthogonalise(const float* basis, int count, float* x, int n) {
    SHARED(float, parts, [STEPS]);
    for (int row = warp_index(); row < count; row += WARPS) {
        float sum = 0.0f;
        for (int i = lane_index(); i < n; i += WARP_SIZE) sum += basis[static_cast<int64_t>(row) * n + i] * x[i];
        sum = warp_sum(sum);
        if (lane_index() == 0) parts[row] = sum;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += THREADS) {
        float value = x[i];
        for (int row = 0; row < count; ++row) value -= parts[row] * basis[static_cast<int64_t>(row) * n + i];
        x[i] = value;
    }
    __syncthreads();
}

__device__ __forceinline__ void scale(float* x, int n, float factor) {
    for (int i = threadIdx.x; i < n; i += THREADS) x[i] *= factor;
    __syncthreads();
}

// A direction of length 1 orthogonal to the basis, from a fixed sequence.
__device__ __forceinline__ void fresh_direction(const float* basis, int known, int number, float* x, int n) {
    if (threadIdx.x == 0) {
        uint64_t state = number;
        for (int i = 0; i < n; ++i) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            x[i] = static_cast<float>(static_cast<unsigned>(state >> 40)) / 8388608.0f - 1.0f;
        }
    }
    __syncthreads();
    for (int pass = 0; pass < 3; ++pass) {
        orthogonalise(basis, known, x, n);
        const float length = sqrtf(dot(x, x, n));
        if (length > 0.0f) scale(x, n, 1.0f / length);
    }
}

// Eigenvalues of the symmetric tridiagonal matrix with beside[i] between diagonal[i] and diagonal[i + 1], left in `diagonal`, and
// eigenvectors in the rows of `rotations`: implicit QL with Wilkinson's shift. One warp calls; its lanes keep the same scalars,
// each turns its own columns of the rotations, and lane 0 writes what is shared.
__device__ __forceinline__ void tridiagonal(double* diagonal, double* beside, double (*rotations)[STEPS], int n) {
    const int lane = lane_index();
    for (int low = 0; low < n; ++low) {
        // Two or three sweeps an eigenvalue are usual; the bound only guards against values that are not finite.
        for (int sweep = 0; sweep < 64; ++sweep) {
            int high = low;
            while (high < n - 1 && !(fabs(beside[high]) <= 2.220446049250313e-16 * (fabs(diagonal[high]) + fabs(diagonal[high + 1])))) ++high;
            if (high == low) break;
            const double half = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low]);
            const double root = sqrt(half * half + 1.0);
            const double shift = diagonal[low] - beside[low] / (half + (half < 0.0 ? -root : root));
            double sine = 1.0, cosine = 1.0, carried = 0.0, bulge = diagonal[high] - shift;
            bool split = false;
            for (int i = high - 1; i >= low && !split; --i) {
                const double f = sine * beside[i], b = cosine * beside[i];
                const double radius = sqrt(f * f + bulge * bulge);
                const double upper = diagonal[i], g = diagonal[i + 1] - carried;
                __syncwarp(ALL_LANES);
                split = radius == 0.0;
                if (split) {
                    if (lane == 0) beside[i + 1] = radius, diagonal[i + 1] = g, beside[high] = 0.0;
                } else {
                    sine = f / radius, cosine = bulge / radius;
                    const double r = (upper - g) * sine + 2.0 * cosine * b;
                    carried = sine * r;
                    bulge = cosine * r - b;
                    if (lane == 0) beside[i + 1] = radius, diagonal[i + 1] = g + carried;
                    for (int column = lane; column < n; column += WARP_SIZE) {
                        const double x = rotations[i][column], y = rotations[i + 1][column];
                        rotations[i][column] = cosine * x - sine * y;
                        rotations[i + 1][column] = sine * x + cosine * y;
                    }
                }
                __syncwarp(ALL_LANES);
            }
            if (!split) {
                const double kept = diagonal[low] - carried;
                __syncwarp(ALL_LANES);
                if (lane == 0) diagonal[low] = kept, beside[low] = bulge, beside[high] = 0.0;
            }
            __syncwarp(ALL_LANES);
        }
    }
}

// The mask's pixels in order; returns their number.
__device__ __forceinline__ int list_pixels(const float* mask, int pixels, int* list) {
    int before = 0;
    for (int first = 0; first < pixels; first += THREADS) {
        const int p = first + threadIdx.x;
        const bool own = p < pixels && mask[p] > 0.5f;
        int found;
        const int at = before + block_rank(own, found);
        if (own) list[at] = p;
        before += found;
    }
    __syncthreads();
    return before;
}

// Lists the mask's pixels and makes the basis; `diagonal` and `beside` [.,40] are the matrix in it. `sizes`: pixels of the mask, 0
// if there is nothing to find.
KERNEL(THREADS) svd_basis_f32(const float* recordings, const float* masks, const int* counts, int* lists, int* sizes,
                              float* bases, float* products, double* diagonal, double* beside, Svd svd) {
    const int64_t row = blockIdx.x;
    const bool valid = valid_row(row, static_cast<int64_t>(svd.recordings) * svd.units, counts, svd.recordings);
    int* list = lists + row * svd.pixels;
    const int size = valid ? list_pixels(masks + row * svd.pixels, svd.pixels, list) : 0;
    const Crop crop = {recordings + row / svd.units * svd.frames * svd.pixels, list, svd.pixels, svd.frames, size};
    const float trace = size > 0 ? sum_of_squares(crop) : 0.0f;
    const bool found = trace > 0.0f && trace < INFINITY;
    if (threadIdx.x == 0) sizes[row] = found ? size : 0;
    if (!found) return;

    const bool by_pixel = size <= svd.frames;
    const int n = min(size, svd.frames), steps = min(n, STEPS);
    float* basis = bases + row * STEPS * svd.side;
    // The vector that the iteration goes on with, and the product with one of A and its transpose.
    float *next = products + row * 2 * svd.longest, *middle = next + svd.longest;
    diagonal += row * STEPS;
    beside += row * STEPS;
    fresh_direction(basis, 0, 0, next, n);
    for (int step = 0; step < steps; ++step) {
        float* current = basis + static_cast<int64_t>(step) * n;
        for (int i = threadIdx.x; i < n; i += THREADS) current[i] = next[i];
        __syncthreads();
        if (by_pixel) {
            times(crop, current, 1.0f, middle);
            transposed_times(crop, middle, next);
        } else {
            transposed_times(crop, current, middle);
            times(crop, middle, 1.0f, next);
        }
        const float along = dot(current, next, n);
        orthogonalise(basis, step + 1, next, n);
        const float before = sqrtf(dot(next, next, n));
        orthogonalise(basis, step + 1, next, n);
        const float length = sqrtf(dot(next, next, n));
        const bool is_new = length > INVARIANT * trace && length > 0.5f * before;
        if (threadIdx.x == 0) {
            diagonal[step] = along;
            beside[step] = is_new ? length : 0.0f;
        }
        if (step + 1 == steps) break;
        if (is_new) scale(next, n, 1.0f / length);
        else fresh_direction(basis, step + 1, step + 1, next, n);
    }
}

// The largest eigenvalues [.,8], -1 where there is none, and their eigenvectors in the basis, [.,8,40]: one warp a unit.
KERNEL(WARP_SIZE) svd_eigen_f64(const int* sizes, const double* diagonals, const double* besides, double* eigenvalues,
                                float* eigenvectors, Svd svd) {
    SHARED(double, rotations, [STEPS][STEPS]);
    SHARED(double, diagonal, [STEPS]);
    SHARED(double, beside, [STEPS]);
    const int64_t row = blockIdx.x;
    const int lane = threadIdx.x, steps = min(min(sizes[row], svd.frames), STEPS);
    for (int i = lane; i < steps; i += WARP_SIZE) {
        diagonal[i] = diagonals[row * STEPS + i];
        beside[i] = besides[row * STEPS + i];
        for (int j = 0; j < steps; ++j) rotations[j][i] = i == j ? 1.0 : 0.0;
    }
    __syncwarp(ALL_LANES);
    tridiagonal(diagonal, beside, rotations, steps);

    // Largest first, ties by lower index.
    unsigned long long taken = 0;
    double largest = 0.0;
    for (int k = 0; k < svd.components; ++k) {
        int best = -1;
        for (int i = 0; i < steps; ++i) {
            if (!(taken >> i & 1) && (best < 0 || diagonal[i] > diagonal[best])) best = i;
        }
        const double value = best < 0 ? -1.0 : fmax(diagonal[best], 0.0);
        if (k == 0) largest = value;
        const bool counts = value > largest * (NO_COMPONENT * NO_COMPONENT);
        if (lane == 0) eigenvalues[row * MAX_COMPONENTS + k] = counts ? value : -1.0;
        if (best < 0) continue;
        taken |= 1ull << best;
        for (int i = lane; i < steps; i += WARP_SIZE) {
            eigenvectors[(row * MAX_COMPONENTS + k) * STEPS + i] = static_cast<float>(rotations[best][i]);
        }
    }
}

// From eigenvectors to signals: a block a row of the units, component after component.
KERNEL(THREADS) svd_signals_f32(const float* recordings, const float* reference, const int* lists, const int* sizes,
                                const float* bases, const double* eigenvalues, const float* eigenvectors, float* products,
                                float* output, Svd svd) {
    const int64_t row = blockIdx.x;
    const int size = sizes[row], n = min(size, svd.frames), steps = min(n, STEPS);
    const Crop crop = {recordings + row / svd.units * svd.frames * svd.pixels, lists + row * svd.pixels, svd.pixels, svd.frames, size};
    const float* basis = bases + row * STEPS * svd.side;
    float *vector = products + row * 2 * svd.longest, *signal = vector + svd.longest;
    for (int k = 0; k < svd.components; ++k) {
        float* out = output + row * svd.frames * svd.components + k;
        const double eigenvalue = size > 0 ? eigenvalues[row * MAX_COMPONENTS + k] : -1.0;
        if (!(eigenvalue > 0.0)) {
            for (int t = threadIdx.x; t < svd.frames; t += THREADS) out[static_cast<int64_t>(t) * svd.components] = 0.0f;
            continue;
        }
        const float* weights = eigenvectors + (row * MAX_COMPONENTS + k) * STEPS;
        for (int i = threadIdx.x; i < n; i += THREADS) {
            float value = 0.0f;
            for (int step = 0; step < steps; ++step) value += weights[step] * basis[static_cast<int64_t>(step) * n + i];
            vector[i] = value;
        }
        __syncthreads();
        if (size <= svd.frames) {
            times(crop, vector, 1.0f / sqrtf(static_cast<float>(size)), signal);
        } else {
            const float length = sqrtf(static_cast<float>(eigenvalue) / static_cast<float>(size));
            for (int t = threadIdx.x; t < svd.frames; t += THREADS) signal[t] = length * vector[t];
            __syncthreads();
        }
        // The sign that makes the covariance with the reference positive.
        const float* course = reference + row * svd.frames;
        double sum = 0.0, covariance = 0.0;
        for (int t = threadIdx.x; t < svd.frames; t += THREADS) sum += course[t];
        const double mean = block_reduce<SumWide>(sum) * (1.0f / static_cast<float>(svd.frames));
        for (int t = threadIdx.x; t < svd.frames; t += THREADS) covariance += signal[t] * (course[t] - mean);
        const bool flip = block_reduce<SumWide>(covariance) < 0.0;
        for (int t = threadIdx.x; t < svd.frames; t += THREADS) {
            out[static_cast<int64_t>(t) * svd.components] = flip ? -signal[t] : signal[t];
        }
        __syncthreads();
    }
}
