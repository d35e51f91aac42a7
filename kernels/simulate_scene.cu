// Simulated recordings, first part: the units of each recording, their firings, their twitch trains.
//
//   simulate_units_f32     how many units; territory, waveform, rate, lag, profile of each
//   simulate_firings_f32   renewal trains, then the moves that synchronise them
//   simulate_trains_f32    sum over firings of A m / Tc (1 / x - 1) x^m exp(m (1 - x)), x = (t - onset) / Tc; delayed to the rim
//
// Layouts: indices [N]; units [N,U]; firings [N,U,F]; trains [N,U,S], each from its own first sample on; rims [N,U,T]; signals
// [N,R,T], R rows of output of which those beyond the units are zero.
// Cut: a block a recording, a thread a unit (units, firings: 25 dependent steps each); a block a unit, its threads over samples.
// Cost at the paper's shapes, a recording: 18 units, 0.2 M twitch samples of some 60 operations, 60 KB: latency limits.
// Needs: any architecture; 3 KB of shared memory. Determinism: gpu_to_gpu; the same bits as on the CPU.
#include "device/prelude.cuh"
#include "simulate.cuh"

constexpr int UNITS_BLOCK = 128;
constexpr int TRAIN_BLOCK = 256;
// Firings that are drawn together.
constexpr int FIRINGS = 128;
// A twitch ends this many contraction times after its onset.
constexpr float SUPPORT = 10.0f;
// A single firing's amplitude and duration never fall below this share of the unit's.
constexpr float SMALLEST_VARIATION = 0.2f;

// First and last pixel (excluded) of an axis that is touched at most `reach` from `centre`.
__device__ __forceinline__ int2 span(const Options& o, exact centre, exact reach, int pixels) {
    const exact first = (centre - reach) / o.mm_per_pixel - 1.0f, end = (centre + reach) / o.mm_per_pixel + 2.0f;
    return make_int2(min(__float2int_rz(fmaxf(first.value, 0.0f)), pixels), min(__float2int_rz(fmaxf(end.value, 0.0f)), pixels));
}

__device__ __forceinline__ exact place_of(exact pixels, const Options& o, exact extent, exact u) {
    const exact room = pixels * o.mm_per_pixel - exact(2.0f) * extent;
    return extent + exact(fmaxf(room.value, 0.0f)) * u;
}

__device__ __forceinline__ Unit draw_unit(const Options& o, const Draw& draw, int unit) {
    Unit made;
    const exact diameter = o.diameter_mm.at(draw.number(DIAMETER, unit, 0));
    const exact ratio = o.axis_ratio.at(draw.number(ELLIPSE, unit, 0)), stretch = root(ratio);
    const exact a = exact(0.5f) * diameter * stretch, b = exact(0.5f) * diameter / stretch;
    const float2 turn = wide_sin_cos(exact(3.14159274f) * draw.number(ELLIPSE, unit, 1));
    const exact sine = turn.x, cosine = turn.y;
    const exact extent_y = wide_hypot(a * sine, b * cosine), extent_x = wide_hypot(a * cosine, b * sine);
    const exact none = 0.0f;
    const exact centre_y = place_of(__int2float_rn(o.height), o, o.may_cross_edge ? none : extent_y, draw.number(CENTRE, unit, 0));
    const exact centre_x = place_of(__int2float_rn(o.width), o, o.may_cross_edge ? none : extent_x, draw.number(CENTRE, unit, 1));
    const exact margin = o.halo_share > 0.0f ? exact(HALO_REACH) * o.halo_decay_mm : none;
    const int2 rows = span(o, centre_y, extent_y + margin, o.height), columns = span(o, centre_x, extent_x + margin, o.width);
    made.centre_y = centre_y.value;
    made.centre_x = centre_x.value;
    made.a = a.value;
    made.b = b.value;
    made.sine = turn.x;
    made.cosine = turn.y;
    made.circle = ratio.value == 1.0f;
    made.y_begin = rows.x;
    made.y_end = rows.y;
    made.x_begin = columns.x;
    made.x_end = columns.y;
    made.profile = static_cast<int>(below(draw.word(PROFILE, unit, 0), static_cast<unsigned>(o.profiles)));
    const exact lag = exact(1e-3f) * o.rim_lag_ms.at(draw.number(LAG, unit, 0)) * o.fs_hz;
    made.lag = lag.value;
    made.before = lag.value > 0.0f ? __float2int_rz(lag.value) + 2 : 0;
    made.taps = lag.value > 0.0f ? made.before + 2 : 1;
    const exact contraction = exact(1e-3f) * o.contraction_ms.at(draw.number(TIMES, unit, 0));
    const exact half = contraction * o.half_relaxation_ratio.at(draw.number(TIMES, unit, 1));
    const wide late = wide(static_cast<double>(half.value)) / static_cast<double>(contraction.value);
    made.contraction_s = contraction.value;
    made.exponent = static_cast<float>((wide(0.6931471805599453) / (late - 1.0 - wide_ln(late))).value);
    made.lead_s = (exact(1e-3f) * o.lead_ms.at(draw.number(TIMES, unit, 2))).value;
    made.amplitude_mm = (exact(1e-3f) * o.amplitude_um.log_at(draw.number(AMPLITUDE, unit, 0))).value;
    made.rate_hz = o.rate_hz.at(draw.number(RATE, unit, 0)).value;
    return made;
}

// `counted` [N]: the units that the outputs have rows for; null if nobody asks.
KERNEL(UNITS_BLOCK) simulate_units_f32(const int* indices, Unit* units, int* counts, int* counted, Options o) {
    const int64_t recording = blockIdx.x;
    const int index = indices[recording];
    const Draw draw(o, index);
    const unsigned spread = static_cast<unsigned>(o.units - o.units_min + 1);
    const int count = index < 0 ? 0 : o.units_min + static_cast<int>(below(draw.word(COUNT, 0, 0), spread));
    if (threadIdx.x == 0) {
        counts[recording] = count;
        if (counted != nullptr) counted[recording] = min(count, o.rows);
    }
    for (int unit = threadIdx.x; unit < count; unit += UNITS_BLOCK) {
        units[recording * o.units + unit] = draw_unit(o, draw, unit);
    }
}

// Firings of one unit alone, one interval past the end. Returns how many.
__device__ __forceinline__ int renewal(const Options& o, const Draw& draw, int unit, exact rate_hz, float* train) {
    const exact mean = exact(1.0f) / rate_hz, end = o.end_s() + mean, floor = exact(o.interval_floor) * mean;
    exact t = exact(-o.warm_up_s) - draw.number(RATE, unit, 1) * mean;
    int count = 0;
    train[count++] = t.value;
    for (; t.value < end.value && count < o.firings; ++count) {
        const exact normal = draw.normal(INTERVALS, unit, count - 1);
        const exact interval = mean * (exact(1.0f) + exact(o.interval_variation) * normal);
        t = t + fmaxf(interval.value, floor.value);
        train[count] = t.value;
    }
    return count;
}

// The element of a rising, non-empty list that is nearest to `t`; the earlier one of two.
__device__ __forceinline__ exact nearest(const float* sorted, int count, exact t) {
    int low = 0, high = count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (sorted[middle] < t.value) low = middle + 1;
        else high = middle;
    }
    if (low == 0) return sorted[0];
    const exact before = sorted[low - 1];
    if (low == count) return before;
    const exact next = sorted[low];
    return (t - before).value <= (next - t).value ? before : next;
}

// The firings of one unit, a share of them moved onto others; those before the end are kept. Returns how many.
__device__ __forceinline__ int synchronise(const Options& o, const Draw& draw, int unit, int units, exact share, exact rate_hz,
                                           const float* own, const int* counts, float* train) {
    const bool moves = units >= 2 && share.value > 0.0f;
    const exact reach = exact(0.5f) / rate_hz, floor = exact(o.interval_floor) / rate_hz, end = o.end_s();
    const float* mine = own + static_cast<int64_t>(unit) * o.firings;
    exact previous = 0.0f;
    int kept = 0;
    for (int k = 0; k < counts[unit]; ++k) {
        exact t = mine[k];
        if (moves && draw.number(MOVES, unit, 2 * k).value < share.value) {
            int other = static_cast<int>(below(draw.word(MOVES, unit, 2 * k + 1), static_cast<unsigned>(units - 1)));
            other += other >= unit ? 1 : 0;
            const exact target = nearest(own + static_cast<int64_t>(other) * o.firings, counts[other], t);
            const bool near = fabsf((target - t).value) <= reach.value;
            const bool after_previous = k == 0 || (target - previous).value >= floor.value;
            const bool before_next = k + 1 == counts[unit] || (exact(mine[k + 1]) - target).value >= floor.value;
            if (near && after_previous && before_next) t = target;
        }
        previous = t;
        if (t.value < end.value) train[kept++] = t.value;
    }
    return kept;
}

// `own`: firings before any move, which all others see.
KERNEL(UNITS_BLOCK) simulate_firings_f32(const int* indices, const int* counts, const Unit* units, float* own, int* own_counts,
                                         float* firings, int* firing_counts, Options o) {
    const int64_t recording = blockIdx.x, row = recording * o.units;
    const int count = counts[recording];
    const Draw draw(o, indices[recording]);
    for (int unit = threadIdx.x; unit < count; unit += UNITS_BLOCK) {
        own_counts[row + unit] = renewal(o, draw, unit, units[row + unit].rate_hz, own + (row + unit) * o.firings);
    }
    __syncthreads();
    const exact share = o.synchrony.at(draw.number(SYNCHRONY, 0, 0));
    for (int unit = threadIdx.x; unit < count; unit += UNITS_BLOCK) {
        firing_counts[row + unit] = synchronise(o, draw, unit, count, share, units[row + unit].rate_hz, own + row * o.firings,
                                                own_counts + row, firings + (row + unit) * o.firings);
    }
}

// One firing in samples of the train: samples `begin` to `end` (excluded) get scale * shape((k - begin + first) / length).
struct Firing {
    float first, length, scale;
    int begin, end;
};

__device__ __forceinline__ Firing firing_of(const Options& o, const Draw& draw, int unit, const Unit& u, int k, exact instant_s) {
    const exact one = 1.0f;
    const exact amplitude = one + exact(o.amplitude_variation) * draw.normal(VARIATION, unit, 2 * k);
    const exact duration = one + exact(o.duration_variation) * draw.normal(VARIATION, unit, 2 * k + 1);
    const exact contraction = exact(u.contraction_s) * fmaxf(duration.value, SMALLEST_VARIATION);
    const exact scale = exact(u.amplitude_mm) * fmaxf(amplitude.value, SMALLEST_VARIATION) / contraction;
    const exact onset = (instant_s + u.lead_s) * o.fs_hz + __int2float_rn(u.before), length = contraction * o.fs_hz;
    const float begin = fmaxf((exact(floorf(onset.value)) + one).value, 0.0f);
    const float end = fmaxf(ceilf((onset + exact(SUPPORT) * length).value), 0.0f);
    const int first = __float2int_rz(begin);
    return {(exact(__int2float_rn(first)) - onset).value, length.value, scale.value, first,
            min(__float2int_rz(end), u.samples(o))};
}

// (1 / x - 1) m x^m exp(m (1 - x)): velocity for A = Tc = 1.
__device__ __forceinline__ exact shape(exact x, exact m) {
    if (x.value < 1e-6f) x = 1e-6f;
    const exact one = 1.0f, ln = exact_ln(x.value);
    return m * (one / x - one) * exact_exp((m * (ln + one - x)).value);
}

// `rims` is null without a halo, `signals` where nobody asks for them.
KERNEL(TRAIN_BLOCK) simulate_trains_f32(const int* indices, const int* counts, const Unit* units, const float* firings,
                                        const int* firing_counts, float* trains, float* rims, float* signals, Options o) {
    SHARED(Firing, drawn, [FIRINGS]);
    const int64_t recording = blockIdx.y, row = recording * o.units + blockIdx.x;
    const int unit = blockIdx.x;
    float* signal = signals != nullptr && unit < o.rows ? signals + (recording * o.rows + unit) * o.frames : nullptr;
    if (unit >= counts[recording]) {
        for (int t = threadIdx.x; signal != nullptr && t < o.frames; t += TRAIN_BLOCK) signal[t] = 0.0f;
        return;
    }
    const Draw draw(o, indices[recording]);
    const Unit u = units[row];
    float* train = trains + row * o.samples;
    for (int k = threadIdx.x; k < u.samples(o); k += TRAIN_BLOCK) train[k] = 0.0f;
    for (int first = 0; first < firing_counts[row]; first += FIRINGS) {
        const int here = min(firing_counts[row] - first, FIRINGS);
        for (int k = threadIdx.x; k < here; k += TRAIN_BLOCK) {
            drawn[k] = firing_of(o, draw, unit, u, first + k, firings[row * o.firings + first + k]);
        }
        __syncthreads();
        for (int k = threadIdx.x; k < u.samples(o); k += TRAIN_BLOCK) {
            exact sum = train[k];
            for (int i = 0; i < here; ++i) {
                const Firing& firing = drawn[i];
                if (k < firing.begin || k >= firing.end) continue;
                const exact x = (exact(__int2float_rn(k - firing.begin)) + firing.first) / firing.length;
                sum = sum + exact(firing.scale) * shape(x, u.exponent);
            }
            train[k] = sum.value;
        }
        // Before the next ones are drawn over these.
        __syncthreads();
    }
    __syncthreads();
    const Delay delay = delay_of(u.lag, u.taps);
    for (int t = threadIdx.x; t < o.frames; t += TRAIN_BLOCK) {
        if (signal != nullptr) signal[t] = train[u.before + t];
        if (rims == nullptr) continue;
        exact sum = train[t];
        if (u.taps > 1) {
            const float* newest = train + t + u.taps - 1 - delay.first;
            sum = 0.0f;
#pragma unroll
            for (int j = 0; j < 4; ++j) sum = sum + exact(newest[-j]) * delay.weights[j];
        }
        rims[row * o.frames + t] = sum.value;
    }
}
