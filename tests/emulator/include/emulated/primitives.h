// Host bodies of the primitives in kernels/device: matrix products of a warp, matrix loads, asynchronous copies. The lane
// layouts are those of the PTX manual; the work itself is in runtime/tensor.cpp and runtime/copies.cpp.
#pragma once
#include "interface.h"

namespace emulated {

EMULATED_UNCHECKED static inline void mma(const void* site, Collective operation, const char* name, float* d, const unsigned* a, const unsigned* b) {
    MatrixProduct operands{d, a, b};
    emulator_collective(operation, name, &operands, 0xffffffffu, 0, site);
}

// `rows`: how many lanes' addresses count (8 for each matrix); the others' are ignored, as the hardware does.
EMULATED_UNCHECKED static inline void ldmatrix(const void* site, Collective operation, const char* name, unsigned rows, unsigned* result, const void* row) {
    if (emulator_thread->lane < rows) emulator_matrix_row(row, site);
    MatrixLoad operands{result, row};
    emulator_collective(operation, name, &operands, 0xffffffffu, 0, site);
}

}  // namespace emulated
