// What all kernels of the simulator share: its options, the addresses of its random numbers, units, where pixels are put. Formulas
// are those of src/muscle, operation by operation: a recording has the bits that it has on the CPU.
#pragma once
#include "device/prelude.cuh"
#include "device/exact.cuh"
#include "device/philox.cuh"

struct Range {
    float min, max;

    __device__ __forceinline__ exact at(exact u) const { return exact(min) + (exact(max) - min) * u; }
    __device__ __forceinline__ exact log_at(exact u) const {
        return exact(min) * exact_exp((u * exact_ln((exact(max) / min).value)).value);
    }
};

// What the simulator was told, and sizes that follow from it.
struct Options {
    int frames, height, width;
    // Fewest and most units; the most are the rows of what lies in scratch. `rows` are those of the outputs.
    int units_min, units, rows;
    // Room for the firings of a unit and for the samples of its train.
    int firings, samples;
    int profiles, may_cross_edge;
    // Noise: 0 none, 1 of noise_db.min, 2 of a drawn level after a share of clean recordings.
    int noise, noise_in_territories;
    unsigned key0, key1, tail;
    float fs_hz, mm_per_pixel;
    Range diameter_mm, axis_ratio, rim_lag_ms;
    float halo_share, halo_decay_mm;
    Range rate_hz, synchrony;
    float interval_variation, interval_floor, warm_up_s;
    Range contraction_ms, half_relaxation_ratio, lead_ms, amplitude_um;
    float amplitude_variation, duration_variation;
    Range noise_db;
    float clean_share;
    float drift_level, pulse_level;
    Range drift_hz, pulse_hz, pulse_radius_mm;

    __device__ __forceinline__ int pixels() const { return height * width; }
    __device__ __forceinline__ exact end_s() const { return exact(__int2float_rn(frames)) / fs_hz; }
};
static_assert(sizeof(Options) == 212, "as in src/muscle/cuda.rs");

// The random quantities, numbered as in src/muscle/draw.rs.
enum Quantity : unsigned {
    COUNT = 0,
    CENTRE = 1,
    DIAMETER = 2,
    ELLIPSE = 3,
    PROFILE = 4,
    FIBRES = 5,
    LAG = 6,
    RATE = 7,
    INTERVALS = 8,
    SYNCHRONY = 9,
    MOVES = 10,
    TIMES = 11,
    AMPLITUDE = 12,
    VARIATION = 13,
    SNR = 14,
    NOISE = 15,
    DRIFT = 16,
    PULSE = 17,
};

// Random numbers of one recording.
struct Draw {
    unsigned key0, key1, index, tail;

    __device__ __forceinline__ Draw(const Options& o, int recording)
        : key0(o.key0), key1(o.key1), index(static_cast<unsigned>(recording)), tail(o.tail) {}

    __device__ __forceinline__ uint2 key() const { return make_uint2(key0, key1); }
    __device__ __forceinline__ uint4 counter(Quantity quantity, unsigned second, unsigned first) const {
        return make_uint4(first, second, index, tail + quantity);
    }
    // Number k of a unit's stream: as a word, uniform in [0, 1), standard normal.
    __device__ __forceinline__ uint32_t word(Quantity quantity, unsigned unit, unsigned k) const {
        const uint4 four = philox(key(), counter(quantity, unit, k / 4));
        const uint32_t low = k & 1 ? four.y : four.x, high = k & 1 ? four.w : four.z;
        return k & 2 ? high : low;
    }
    __device__ __forceinline__ exact number(Quantity quantity, unsigned unit, unsigned k) const {
        return uniform(word(quantity, unit, k));
    }
    __device__ __forceinline__ exact normal(Quantity quantity, unsigned unit, unsigned k) const {
        const float4 four = normals(key(), counter(quantity, unit, k / 4));
        const float low = k & 1 ? four.y : four.x, high = k & 1 ? four.w : four.z;
        return k & 2 ? high : low;
    }
};

// A motor unit as drawn.
struct Unit {
    // Territory: centre, halves of the long and the short axis in mm, angle, whether it is a circle.
    float centre_y, centre_x, a, b, sine, cosine;
    int circle;
    // Pixels that it may move: rows and columns, ends excluded.
    int y_begin, y_end, x_begin, x_end;
    int profile;
    // Lag at the rim in frames; taps of the delays; samples of its train before the first frame.
    float lag;
    int taps, before;
    float contraction_s, exponent, lead_s, amplitude_mm, rate_hz;

    // Samples of its train.
    __device__ __forceinline__ int samples(const Options& o) const { return o.frames + taps - 1; }
};
static_assert(sizeof(Unit) == 80, "as in src/muscle/cuda.rs");

// Weights that delay a signal, by cubic interpolation between four frames: weight j goes to the signal `first + j - 1` frames ago.
struct Delay {
    int first;
    float weights[4];
};

__device__ __forceinline__ Delay delay_of(exact lag, int taps) {
    const int first = min(__float2int_rz(lag.value), taps - 4);
    const exact f = lag - __int2float_rn(first), one = 1.0f, two = 2.0f;
    return {first,
            {(-f * (f - one) * (f - two) / 6.0f).value, ((f + one) * (f - one) * (f - two) / 2.0f).value,
             (-f * (f + one) * (f - two) / 2.0f).value, (f * (f + one) * (f - one) / 6.0f).value}};
}

// How a unit moves a pixel: its weight, and the lag in frames; or which kind of pixel it is.
struct Layer {
    float weight, lag;
};
constexpr float HALO = -1.0f;
constexpr float UNTOUCHED = -2.0f;
// The halo ends where it has fallen this many times by a factor e.
constexpr float HALO_REACH = 4.0f;

// Sums of squares of one frame: all pixels, those of a territory.
struct Power {
    double all, within;
};

// Pixels that a block of the layers and of the frames works on.
constexpr int TILE = 256;

// The layers of the units, and which of them touch which tile.
struct Layers {
    Layer* layers;
    int* touched;

    __device__ __forceinline__ int64_t row(const Options& o, int64_t recording, int unit) const {
        return recording * o.units + unit;
    }
    // Of a pixel in the tile.
    __device__ __forceinline__ Layer at(const Options& o, int64_t recording, int unit, int tile, int pixel) const {
        const int64_t row = this->row(o, recording, unit);
        if (touched[row * ceil_div(o.pixels(), TILE) + tile] == 0) return {0.0f, UNTOUCHED};
        return layers[row * o.pixels() + pixel];
    }
};

// Where a pixel of a recording is put: mirrored columns (flips 1), rows (2), or both.
__device__ __forceinline__ int place(const Options& o, int pixel, int flips) {
    const int y = pixel / o.width, x = pixel % o.width;
    return (flips & 2 ? o.height - 1 - y : y) * o.width + (flips & 1 ? o.width - 1 - x : x);
}

__device__ __forceinline__ int flips_of(const int* flips, int64_t recording) {
    return flips == nullptr ? 0 : flips[recording];
}
