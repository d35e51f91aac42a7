// Simulated recordings, second part: from units to frames without noise, and their mean squares.
//
//   simulate_layers_f32   how each unit moves each pixel: profile and lag inside the territory, halo round it; masks
//   simulate_boxes_f32    boxes of the masks
//   simulate_frames_f32   velocity = sum over units of weight * (train delayed by the lag), or of weight * (train at the rim)
//   simulate_power_f32    for each frame the sums of squares over all pixels and over those of a territory
//
// Layouts: layers [N,U,P]; touched [N,U,tiles of 256 pixels]; masks [N,R,P]; boxes [N,R,4]; velocity [N,T,P], mirrored as `flips`
// says, everything else not; inside [N,P]; power [N,T] pairs. P = H W.
// Cut: layers a block a tile of a unit; boxes a block a unit; frames a thread a pixel of 8 frames, grid (tiles x eighths of T, N);
// power 16 threads a frame, 16 frames a block: thread i adds the pixels i, i + 16, .. in order, as the CPU's vector lanes do.
// Cost at the paper's shapes, a recording: 6.5 MB written and read once, 5 MFLOP (with a halo 60): memory limits.
// Needs: any architecture. Determinism: gpu_to_gpu; the same bits as on the CPU.
#include "device/prelude.cuh"
#include "device/reduce.cuh"
#include "simulate.cuh"

constexpr int FRAMES = 8;
constexpr int LANES = 16;
constexpr int MAX_PROFILES = 32;

// How motion is spread inside territories.
struct Profiles {
    // Of fibres: the probability of none in a pixel, and their mean number.
    double none[MAX_PROFILES];
    float mean[MAX_PROFILES];
    // 0 flat, 1 Gaussian, 2 fibres.
    int kinds[MAX_PROFILES];
};
static_assert(sizeof(Profiles) == 512, "as in src/muscle/cuda.rs");

// The Poisson-distributed number at `u` in [0, 1), by inverting the distribution function; over its mean.
__device__ __forceinline__ exact fibres(exact u, exact mean, wide none) {
    const exact most = exact(10.0f) + exact(20.0f) * mean;
    const wide wide_mean = static_cast<double>(mean.value);
    wide probability = none, left = wide(static_cast<double>(u.value)) - none;
    exact count = 0.0f;
    // The bound ends the loop where the tail is lost in rounding.
    while (left.value >= 0.0 && count.value < most.value) {
        count = count + 1.0f;
        probability = probability * (wide_mean / static_cast<double>(count.value));
        left = left - probability;
    }
    return count / mean;
}

__device__ __forceinline__ Layer layer_of(const Options& o, const Draw& draw, int unit, const Unit& u, const Profiles& profiles,
                                          int pixel) {
    const int row = pixel / o.width, column = pixel % o.width;
    if (row < u.y_begin || row >= u.y_end || column < u.x_begin || column >= u.x_end) return {0.0f, UNTOUCHED};
    const exact half = 0.5f, one = 1.0f;
    const exact dy = (exact(__int2float_rn(row)) + half) * o.mm_per_pixel - u.centre_y;
    const exact dx = (exact(__int2float_rn(column)) + half) * o.mm_per_pixel - u.centre_x;
    const exact distance = wide_hypot(dy, dx);
    const exact rho = u.circle != 0 ? distance / u.a
                                    : wide_hypot((dx * u.cosine + dy * u.sine) / u.a, (dy * u.cosine - dx * u.sine) / u.b);
    if (rho.value <= 1.0f) {
        const int kind = profiles.kinds[u.profile];
        exact weight = one;
        if (kind == 1) weight = exact_exp((-rho * rho).value);
        if (kind == 2) {
            const exact number = uniform(philox(draw.key(), draw.counter(FIBRES, unit, pixel)).x);
            weight = fibres(number, profiles.mean[u.profile], profiles.none[u.profile]);
        }
        return {weight.value, (exact(u.lag) * rho).value};
    }
    const exact outside = distance * (one - one / rho), decay = o.halo_decay_mm;
    if (o.halo_share <= 0.0f || outside.value > (exact(HALO_REACH) * decay).value) return {0.0f, UNTOUCHED};
    return {(exact(o.halo_share) * exact_exp((-outside / decay).value)).value, HALO};
}

KERNEL(TILE) simulate_layers_f32(const int* indices, const int* flips, const int* counts, const Unit* units, Layers layers,
                                 float* masks, Options o, Profiles profiles) {
    const int64_t recording = blockIdx.z;
    const int unit = blockIdx.y, pixel = blockIdx.x * TILE + threadIdx.x, pixels = o.pixels();
    Layer layer = {0.0f, UNTOUCHED};
    if (unit < counts[recording]) {
        const int64_t row = layers.row(o, recording, unit);
        if (pixel < pixels) layer = layer_of(o, Draw(o, indices[recording]), unit, units[row], profiles, pixel);
        const bool touched = block_max(layer.lag) > UNTOUCHED;
        if (threadIdx.x == 0) layers.touched[row * gridDim.x + blockIdx.x] = touched ? 1 : 0;
        if (touched && pixel < pixels) layers.layers[row * pixels + pixel] = layer;
    }
    if (masks == nullptr || unit >= o.rows || pixel >= pixels) return;
    const int64_t at = (recording * o.rows + unit) * pixels + place(o, pixel, flips_of(flips, recording));
    masks[at] = layer.lag >= 0.0f ? 1.0f : 0.0f;
}

// Boxes (y1, x1, y2, x2) in pixels, ends excluded; zeros where there is no unit, or no pixel.
KERNEL(TILE) simulate_boxes_f32(const int* flips, const int* counts, Layers layers, float* boxes, Options o) {
    const int64_t recording = blockIdx.y;
    const int unit = blockIdx.x, flip = flips_of(flips, recording);
    const bool exists = unit < counts[recording];
    float y1 = INFINITY, x1 = INFINITY, y2 = 0.0f, x2 = 0.0f;
    for (int pixel = threadIdx.x; exists && pixel < o.pixels(); pixel += TILE) {
        if (layers.at(o, recording, unit, pixel / TILE, pixel).lag < 0.0f) continue;
        const int at = place(o, pixel, flip);
        const float y = __int2float_rn(at / o.width), x = __int2float_rn(at % o.width);
        y1 = fminf(y1, y);
        x1 = fminf(x1, x);
        y2 = fmaxf(y2, y + 1.0f);
        x2 = fmaxf(x2, x + 1.0f);
    }
    y1 = block_reduce<Min>(y1);
    x1 = block_reduce<Min>(x1);
    y2 = block_max(y2);
    x2 = block_max(x2);
    if (threadIdx.x != 0) return;
    float* box = boxes + 4 * (recording * o.rows + unit);
    box[0] = y2 > 0.0f ? y1 : 0.0f;
    box[1] = y2 > 0.0f ? x1 : 0.0f;
    box[2] = y2;
    box[3] = x2;
}

// Adds a unit to `frames` frames of one pixel, from frame `first` on.
__device__ __forceinline__ void add_unit(Layer layer, const Unit& u, const float* train, const float* rim, int first, int frames,
                                         exact (&sums)[FRAMES]) {
    const exact weight = layer.weight;
    if (layer.lag < 0.0f || u.taps == 1) {
        const float* signal = (layer.lag < 0.0f ? rim : train) + first;
#pragma unroll
        for (int i = 0; i < FRAMES; ++i) {
            if (i < frames) sums[i] = sums[i] + weight * signal[i];
        }
        return;
    }
    const Delay delay = delay_of(layer.lag, u.taps);
    const exact w0 = exact(delay.weights[0]) * weight, w1 = exact(delay.weights[1]) * weight;
    const exact w2 = exact(delay.weights[2]) * weight, w3 = exact(delay.weights[3]) * weight;
    const float* newest = train + first + u.taps - 1 - delay.first;
    exact s1 = newest[-1], s2 = newest[-2], s3 = newest[-3];
#pragma unroll
    for (int i = 0; i < FRAMES; ++i) {
        if (i < frames) {
            const exact s0 = newest[i];
            sums[i] = sums[i] + (w0 * s0 + w1 * s1 + w2 * s2 + w3 * s3);
            s3 = s2;
            s2 = s1;
            s1 = s0;
        }
    }
}

// `rims` is null without a halo, `inside` where no power is asked for.
KERNEL(TILE) simulate_frames_f32(const int* flips, const int* counts, const Unit* units, Layers layers, const float* trains,
                                 const float* rims, float* velocity, float* inside, Options o) {
    const int64_t recording = blockIdx.y;
    const int pixels = o.pixels(), tiles = static_cast<int>(ceil_div(pixels, TILE));
    const int tile = blockIdx.x % tiles, first = blockIdx.x / tiles * FRAMES;
    const int pixel = tile * TILE + threadIdx.x, frames = min(o.frames - first, FRAMES);
    if (pixel >= pixels) return;
    exact sums[FRAMES];
#pragma unroll
    for (int i = 0; i < FRAMES; ++i) sums[i] = 0.0f;
    bool covered = false;
    for (int unit = 0; unit < counts[recording]; ++unit) {
        const Layer layer = layers.at(o, recording, unit, tile, pixel);
        covered = covered || layer.lag >= 0.0f;
        if (layer.weight == 0.0f) continue;
        const int64_t row = recording * o.units + unit;
        add_unit(layer, units[row], trains + row * o.samples, rims + row * o.frames, first, frames, sums);
    }
    float* to = velocity + (recording * o.frames + first) * pixels + place(o, pixel, flips_of(flips, recording));
#pragma unroll
    for (int i = 0; i < FRAMES; ++i) {
        if (i < frames) to[static_cast<int64_t>(i) * pixels] = sums[i].value;
    }
    if (inside != nullptr && first == 0) inside[recording * pixels + pixel] = covered ? 1.0f : 0.0f;
}

KERNEL(TILE) simulate_power_f32(const int* flips, const float* velocity, const float* inside, Power* power, Options o) {
    const int64_t recording = blockIdx.y;
    const int frame = blockIdx.x * (TILE / LANES) + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int pixels = o.pixels(), whole = pixels / LANES * LANES, flip = flips_of(flips, recording);
    const bool exists = frame < o.frames;
    const float* from = velocity + (recording * o.frames + frame) * pixels;
    exact all = 0.0f, within = 0.0f;
    const auto add = [&](int pixel) {
        const exact value = from[place(o, pixel, flip)];
        all = all + value * value;
        within = within + value * value * inside[recording * pixels + pixel];
    };
    // What does not fill the lanes comes first.
    if (exists && whole + lane < pixels) add(whole + lane);
    for (int pixel = lane; exists && pixel < whole; pixel += LANES) add(pixel);
    wide all_lanes = 0.0, within_lanes = 0.0;
#pragma unroll
    for (int k = 0; k < LANES; ++k) {
        all_lanes = all_lanes + static_cast<double>(__shfl_sync(ALL_LANES, all.value, k, LANES));
        within_lanes = within_lanes + static_cast<double>(__shfl_sync(ALL_LANES, within.value, k, LANES));
    }
    if (exists && lane == 0) power[recording * o.frames + frame] = {all_lanes.value, within_lanes.value};
}
