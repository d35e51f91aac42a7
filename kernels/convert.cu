// Values rounded to bf16.
//
//   y[i] = the nearest bf16 of x[i], ties to even        round_bf16
//
// Layout: plain runs of n values, each tensor in floats or in bf16 (SOURCE, RESULT).
// Cut: 256 threads a block, a value a thread, the grid steps over the rest. Cost: memory limits.
// Needs: nothing; no shared memory. Determinism: run_to_run.
#include "device/element.cuh"

#ifndef SOURCE
#define SOURCE f32
#endif
#ifndef RESULT
#define RESULT f32
#endif

KERNEL(256) round_bf16(const ELEMENT(SOURCE)* x, ELEMENT(RESULT)* y, int64_t n) {
    for (int64_t i = global_thread(); i < n; i += global_threads()) y[i] = from_bf16(to_bf16(x[i]));
}
