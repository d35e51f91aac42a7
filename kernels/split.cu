#include "device/prelude.cuh"
// Adds the partial sums of a product that was cut along the length of its sums. y[i] = sum over parts p of x[p, i],
// in order of p
//
// Layouts: x [parts, elements], y [elements]. Cut: one thread an element, steps by the whole grid.
// Bytes: 4 (parts + 1) for each element: bound by memory, most of it in the second-level cache.
// Needs: any architecture. Determinism: run_to_run.
KERNEL(256, 2) sum_parts_f32(const float* __restrict__ x, float* y, long long elements, int parts) {
    for (long long i = global_thread(); i < elements; i += global_threads()) {
        float sum = x[i];
        for (int part = 1; part < parts; ++part) sum += x[part * elements + i];
        y[i] = sum;
    }
}
