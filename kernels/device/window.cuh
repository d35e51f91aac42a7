// Windows of a correlation in up to three dimensions: what the data and weight kernels of the convolution share.
#pragma once
#include "device/divide.cuh"

// One spatial axis. Result o reads, for tap j of `taps`, element o stride + offset + j distance of the source, if it
// exists. Twin of Axis in src/ops/conv/cuda.rs.
struct Axis {
    Divisor results;
    Divisor taps;
    int stride, offset, distance;
    int source;                     // extent of the source
    int kernel;                     // extent of the weights
    int first_tap, tap_step;        // tap j is entry first_tap + j tap_step of the weights
    int result;                     // extent of the memory that results are written to
    int first_result, result_step;  // result o is entry first_result + o result_step of it
};
static_assert(sizeof(Axis) == 64, "as on the host");

struct Place {
    int t, y, x;
};

// Place of pixel `index` among the results of a map; `index` becomes the map.
__device__ __forceinline__ Place place_of_result(const Axis (&axes)[3], int& index) {
    Place place;
    int rest = axes[2].results.quotient(index);
    place.x = index - rest * axes[2].results.value;
    index = axes[1].results.quotient(rest);
    place.y = rest - index * axes[1].results.value;
    rest = axes[0].results.quotient(index);
    place.t = index - rest * axes[0].results.value;
    index = rest;
    return place;
}

// Place of tap `index` in the window.
__device__ __forceinline__ Place place_of_tap(const Axis (&axes)[3], int index) {
    Place place;
    int rest = axes[2].taps.quotient(index);
    place.x = index - rest * axes[2].taps.value;
    place.t = axes[1].taps.quotient(rest);
    place.y = rest - place.t * axes[1].taps.value;
    return place;
}

// First element of the source that the window at a result reads.
__device__ __forceinline__ Place window_start(const Axis (&axes)[3], Place at) {
    return {at.t * axes[0].stride + axes[0].offset, at.y * axes[1].stride + axes[1].offset,
            at.x * axes[2].stride + axes[2].offset};
}

// How far a tap lies from the first element of its window.
__device__ __forceinline__ Place moved_by(const Axis (&axes)[3], Place tap) {
    return {tap.t * axes[0].distance, tap.y * axes[1].distance, tap.x * axes[2].distance};
}

// Whether a place of the source exists.
__device__ __forceinline__ bool exists(const Axis (&axes)[3], Place at) {
    // Compared as unsigned, what is negative is too large.
    return static_cast<unsigned>(at.t) < static_cast<unsigned>(axes[0].source) &&
           static_cast<unsigned>(at.y) < static_cast<unsigned>(axes[1].source) &&
           static_cast<unsigned>(at.x) < static_cast<unsigned>(axes[2].source);
}

// Pixels of the source from its first to a place, or by which a step along the axes moves.
__device__ __forceinline__ int pixels_of(const Axis (&axes)[3], Place at) {
    return (at.t * axes[1].source + at.y) * axes[2].source + at.x;
}
