// What kernels and runtime share about collectives.
#pragma once

namespace emulated {

// What the last lane runs: `operands[lane]` is what lane `lane` left, null for lanes outside of the mask.
typedef void (*Collective)(void* const* operands, unsigned mask);

enum { ORDERS_MEMORY = 1 };

struct MatrixProduct {
    float* d;
    const unsigned* a;
    const unsigned* b;
};

struct MatrixLoad {
    unsigned* result;
    const void* row;
};

}  // namespace emulated
