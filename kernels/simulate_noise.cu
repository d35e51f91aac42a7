// Simulated recordings, third part: what is on top of the units' motion: drift, pulse, noise.
//
//   simulate_levels_f64       mean squares of the frames: reference of the background, standard deviation of the noise
//   simulate_modes_f32        courses in time and pictures in space: three of the drift, one of the pulse
//   simulate_background_f32   velocity += sum over modes of course * picture, + sigma * white noise
//   simulate_noise_rows_f32, simulate_noise_columns_f32   velocity += sigma * noise smoothed along rows, then along columns
//
// Layouts: power [N,T] pairs; levels [N] (reference, sigma); courses [N,M,T]; pictures [N,M,P]; noise [N,T,P]; velocity [N,T,P],
// mirrored as `flips` says, everything else not. Noise (t, pixel) is normal t % 4 of the block at (pixel, t / 4).
// Cut: levels a block a recording, a thread each of two sums; modes a block a mode, a thread each of two sums; background and columns
// a thread a pixel of 4 frames, grid-stride; rows a block 64 columns of 4 rows of 4 frames, the noise in shared memory.
// Cost at the paper's shapes, a recording: 1.6 M normals of some 25 operations; velocity read and written once (with smoothing
// twice, and 13 MB of noise between): memory limits.
// Needs: any architecture; 10 KB of shared memory. Determinism: gpu_to_gpu; the same bits as on the CPU.
#include "device/prelude.cuh"
#include "device/reduce.cuh"
#include "simulate.cuh"

constexpr int BLOCK = 256;
// Frames that one block of random numbers serves.
constexpr int GROUP = 4;
constexpr int DRIFT_MODES = 3;
constexpr int PULSE_HARMONICS = 4;
constexpr float TAU = 6.28318548f;
// ln 10 / 10.
constexpr double NEPERS_PER_DB = 0.23025850929940458;
constexpr int MAX_RADIUS = 48;
constexpr int SEGMENT = 64;
constexpr int ROWS = BLOCK / SEGMENT;

// Root mean square of the motion inside territories, and standard deviation of the noise, in mm/s.
struct Level {
    float reference, sigma;
};

KERNEL(BLOCK) simulate_levels_f64(const int* indices, const float* inside, const Power* power, Level* levels, Options o) {
    SHARED(double, sums, [2]);
    const int64_t recording = blockIdx.x;
    const int pixels = o.pixels();
    double covered = 0.0;
    for (int pixel = threadIdx.x; pixel < pixels; pixel += BLOCK) covered += inside[recording * pixels + pixel];
    covered = block_reduce<SumWide>(covered);
    // In the order of the frames: one thread of one warp, one of another.
    if (threadIdx.x % WARP_SIZE == 0 && threadIdx.x < 2 * WARP_SIZE) {
        const Power* frames = power + recording * o.frames;
        wide sum = 0.0;
        for (int t = 0; t < o.frames; ++t) sum = sum + (threadIdx.x == 0 ? frames[t].all : frames[t].within);
        sums[threadIdx.x / WARP_SIZE] = sum.value;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    const double frames = o.frames;
    const wide all = wide(sums[0]) / (wide(frames) * static_cast<double>(pixels));
    const wide within = wide(sums[1]) / fmax((wide(frames) * covered).value, 1.0);
    const Draw draw(o, indices[recording]);
    const exact clean = draw.number(SNR, 0, 0), db = o.noise_db.at(draw.number(SNR, 0, 1));
    float sigma = 0.0f;
    if (o.noise == 1 || (o.noise == 2 && clean.value >= o.clean_share)) {
        const wide ratio = wide_exp(wide(static_cast<double>(db.value)) * NEPERS_PER_DB);
        sigma = static_cast<float>(root((o.noise_in_territories != 0 ? within : all) / ratio).value);
    }
    levels[recording] = {static_cast<float>(root(within).value), sigma};
}

// A mode's numbers as drawn: for drift hz, phase, wave, sine, cosine, offset; for the pulse hz, phase, radius, centre.
struct Drift {
    exact hz, phase, wave, sine, cosine, offset;

    __device__ __forceinline__ Drift(const Options& o, const Draw& draw, int mode) {
        const auto number = [&](int k) { return draw.number(DRIFT, 0, 5 * mode + k); };
        hz = o.drift_hz.at(number(0));
        phase = exact(TAU) * number(1);
        const exact field = __int2float_rn(max(o.height, o.width));
        wave = exact(TAU) / (field * (exact(1.0f) + exact(3.0f) * number(2)));
        const float2 turn = wide_sin_cos(exact(TAU) * number(3));
        sine = turn.x;
        cosine = turn.y;
        offset = exact(TAU) * number(4);
    }
    __device__ __forceinline__ exact course(exact t) const { return wide_sin_cos(exact(TAU) * hz * t + phase).x; }
    __device__ __forceinline__ exact picture(exact y, exact x) const {
        return wide_sin_cos(wave * (y * sine + x * cosine) + offset).y;
    }
};

struct Pulse {
    exact hz, phase, radius, centre_y, centre_x;

    __device__ __forceinline__ Pulse(const Options& o, const Draw& draw) {
        const auto number = [&](int k) { return draw.number(PULSE, 0, k); };
        hz = o.pulse_hz.at(number(0));
        phase = number(1);
        radius = o.pulse_radius_mm.at(number(2)) / o.mm_per_pixel;
        centre_y = exact(__int2float_rn(o.height)) * number(3);
        centre_x = exact(__int2float_rn(o.width)) * number(4);
    }
    __device__ __forceinline__ exact course(exact t) const {
        exact sum = 0.0f;
        for (int k = 1; k <= PULSE_HARMONICS; ++k) {
            const exact n = __int2float_rn(k);
            sum = sum + exact(wide_sin_cos(exact(TAU) * n * (hz * t + phase)).y) / n;
        }
        return sum;
    }
    __device__ __forceinline__ exact picture(exact y, exact x) const {
        const exact half = 0.5f;
        const exact dy = (y + half - centre_y) / radius, dx = (x + half - centre_x) / radius;
        return exact_exp((exact(-0.5f) * (dy * dy + dx * dx)).value);
    }
};

// What scales `values` to a root mean square of `level`. One thread adds, in order.
__device__ __forceinline__ exact scale_to(const float* values, int count, exact level) {
    exact sum = 0.0f;
    for (int i = 0; i < count; ++i) sum = sum + exact(values[i]) * values[i];
    const exact deviation = root(sum / __int2float_rn(count));
    return level / fmaxf(deviation.value, 1e-12f);
}

// The drift's modes come first, if there is drift.
KERNEL(BLOCK) simulate_modes_f32(const int* indices, const Level* levels, float* courses, float* pictures, Options o) {
    SHARED(float, scales, [2]);
    const int64_t recording = blockIdx.y, row = recording * gridDim.x + blockIdx.x;
    const Draw draw(o, indices[recording]);
    const bool is_drift = o.drift_level > 0.0f && blockIdx.x < DRIFT_MODES;
    const int pixels = o.pixels();
    float* course = courses + row * o.frames;
    float* picture = pictures + row * pixels;
    const auto fill = [&](const auto& mode) {
        for (int t = threadIdx.x; t < o.frames; t += BLOCK) course[t] = mode.course(exact(__int2float_rn(t)) / o.fs_hz).value;
        for (int p = threadIdx.x; p < pixels; p += BLOCK) {
            picture[p] = mode.picture(__int2float_rn(p / o.width), __int2float_rn(p % o.width)).value;
        }
    };
    if (is_drift) fill(Drift(o, draw, blockIdx.x));
    else fill(Pulse(o, draw));
    __syncthreads();
    const exact reference = levels[recording].reference;
    if (threadIdx.x == 0) {
        const exact share = is_drift ? exact(o.drift_level) * reference / root(exact(__int2float_rn(DRIFT_MODES)))
                                     : exact(o.pulse_level) * reference;
        scales[0] = scale_to(course, o.frames, share).value;
    }
    // The pulse's picture is 1 at its centre.
    if (threadIdx.x == WARP_SIZE) scales[1] = is_drift ? scale_to(picture, pixels, 1.0f).value : 1.0f;
    __syncthreads();
    for (int t = threadIdx.x; t < o.frames; t += BLOCK) course[t] = (exact(course[t]) * scales[0]).value;
    for (int p = threadIdx.x; p < pixels; p += BLOCK) picture[p] = (exact(picture[p]) * scales[1]).value;
}

// One pixel of one group of frames, of all those in a grid-stride loop.
struct Cell {
    int64_t recording;
    int group, pixel;

    __device__ __forceinline__ Cell(int64_t at, const Options& o) {
        const int64_t groups = ceil_div(o.frames, GROUP), rest = at / o.pixels();
        pixel = static_cast<int>(at % o.pixels());
        group = static_cast<int>(rest % groups);
        recording = rest / groups;
    }
    __device__ __forceinline__ int frames(const Options& o) const { return min(o.frames - GROUP * group, GROUP); }
    // Where the pixel's value in the group's first frame lies, at `pixel`.
    __device__ __forceinline__ int64_t at(const Options& o, int pixel) const {
        return (recording * o.frames + GROUP * group) * o.pixels() + pixel;
    }
};

__device__ __forceinline__ float4 noise_of(const Draw& draw, int pixel, int group) {
    return normals(draw.key(), draw.counter(NOISE, group, pixel));
}

// `white` tells whether white noise is added too.
KERNEL(BLOCK) simulate_background_f32(const int* indices, const int* flips, const Level* levels, const float* courses,
                                      const float* pictures, float* velocity, int64_t cells, int modes, int white, Options o) {
    for (int64_t i = global_thread(); i < cells; i += global_threads()) {
        const Cell cell(i, o);
        const int index = indices[cell.recording];
        if (index < 0) continue;
        const float sigma = white != 0 ? levels[cell.recording].sigma : 0.0f;
        const float4 four = sigma > 0.0f ? noise_of(Draw(o, index), cell.pixel, cell.group) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        const float noise[GROUP] = {four.x, four.y, four.z, four.w};
        float* to = velocity + cell.at(o, place(o, cell.pixel, flips_of(flips, cell.recording)));
        const float* course = courses + cell.recording * modes * o.frames + GROUP * cell.group;
        const float* picture = pictures + cell.recording * modes * o.pixels() + cell.pixel;
#pragma unroll
        for (int k = 0; k < GROUP; ++k) {
            if (k >= cell.frames(o)) continue;
            const int64_t frame = static_cast<int64_t>(k) * o.pixels();
            exact value = to[frame];
            for (int mode = 0; mode < modes; ++mode) {
                value = value + exact(course[static_cast<int64_t>(mode) * o.frames + k]) *
                                    picture[static_cast<int64_t>(mode) * o.pixels()];
            }
            if (sigma > 0.0f) value = value + exact(sigma) * noise[k];
            to[frame] = value.value;
        }
    }
}

// A Gaussian filter: taps[k] belongs to the offset k - radius.
struct Smoothing {
    int radius;
    float taps[2 * MAX_RADIUS + 1];
};

// Adds up `values(k)` for the taps whose pixel lies within 0..size; the variance of white noise is kept, also at the edges.
template <class Values>
__device__ __forceinline__ exact smooth(const Smoothing& smoothing, int at, int size, const Values& values) {
    exact sum = 0.0f, squares = 0.0f;
    for (int k = 0; k <= 2 * smoothing.radius; ++k) {
        const int other = at + k - smoothing.radius;
        if (other < 0 || other >= size) continue;
        const exact tap = smoothing.taps[k];
        sum = sum + tap * values(k);
        squares = squares + tap * tap;
    }
    return sum * (exact(1.0f) / root(squares));
}

// White noise smoothed along rows, of recordings that have any.
KERNEL(BLOCK) simulate_noise_rows_f32(const int* indices, const Level* levels, float* noise, Options o, Smoothing smoothing) {
    SHARED(float, white, [ROWS][GROUP][SEGMENT + 2 * MAX_RADIUS]);
    const int64_t recording = blockIdx.y;
    if (levels[recording].sigma <= 0.0f) return;
    const Draw draw(o, indices[recording]);
    const int segments = static_cast<int>(ceil_div(o.width, SEGMENT)), bands = static_cast<int>(ceil_div(o.height, ROWS));
    const int left = blockIdx.x % segments * SEGMENT, top = blockIdx.x / segments % bands * ROWS;
    const int group = blockIdx.x / segments / bands, length = SEGMENT + 2 * smoothing.radius;
    for (int i = threadIdx.x; i < ROWS * length; i += BLOCK) {
        const int y = top + i / length, x = left + i % length - smoothing.radius;
        if (y >= o.height || x < 0 || x >= o.width) continue;
        const float4 four = noise_of(draw, y * o.width + x, group);
        white[i / length][0][i % length] = four.x;
        white[i / length][1][i % length] = four.y;
        white[i / length][2][i % length] = four.z;
        white[i / length][3][i % length] = four.w;
    }
    __syncthreads();
    const int row = threadIdx.x / SEGMENT, column = threadIdx.x % SEGMENT, y = top + row, x = left + column;
    if (y >= o.height || x >= o.width) return;
    for (int k = 0; k < GROUP && GROUP * group + k < o.frames; ++k) {
        const exact value = smooth(smoothing, x, o.width, [&](int tap) { return exact(white[row][k][column + tap]); });
        noise[(recording * o.frames + GROUP * group + k) * o.pixels() + y * o.width + x] = value.value;
    }
}

KERNEL(BLOCK) simulate_noise_columns_f32(const int* flips, const Level* levels, const float* noise, float* velocity, int64_t cells,
                                         Options o, Smoothing smoothing) {
    for (int64_t i = global_thread(); i < cells; i += global_threads()) {
        const Cell cell(i, o);
        const exact sigma = levels[cell.recording].sigma;
        if (sigma.value <= 0.0f) continue;
        const int y = cell.pixel / o.width;
        const float* from = noise + cell.at(o, cell.pixel) - static_cast<int64_t>(smoothing.radius) * o.width;
        float* to = velocity + cell.at(o, place(o, cell.pixel, flips_of(flips, cell.recording)));
        for (int k = 0; k < cell.frames(o); ++k) {
            const int64_t frame = static_cast<int64_t>(k) * o.pixels();
            const auto values = [&](int tap) { return exact(from[frame + static_cast<int64_t>(tap) * o.width]); };
            const exact value = smooth(smoothing, y, o.height, values);
            to[frame] = (exact(to[frame]) + sigma * value).value;
        }
    }
}
