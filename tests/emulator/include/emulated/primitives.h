// Host bodies of the primitives in kernels/device: matrix products of a warp, matrix loads, asynchronous copies. The
// lane layouts are those of the PTX manual; the work itself is in runtime/tensor.cpp and runtime/copies.cpp.
#pragma once
#include "interface.h"

namespace emulated {

EMULATED_UNCHECKED static inline void mma(const void* site, Collective operation, const char* name, float* d,
                                          const unsigned* a, const unsigned* b) {
    MatrixProduct operands{d, a, b};
    emulator_collective(operation, name, &operands, 0xffffffffu, 0, site);
}

// `rows`: how many lanes' addresses count (8 for each matrix); the others' are ignored, as the hardware does.
EMULATED_UNCHECKED static inline void ldmatrix(const void* site, Collective operation, const char* name, unsigned rows,
                                               unsigned* result, const void* row) {
    if (emulator_thread->lane < rows) emulator_matrix_row(row, site);
    MatrixLoad operands{result, row};
    emulator_collective(operation, name, &operands, 0xffffffffu, 0, site);
}

// 16 bytes in one access, which the compiler cannot take apart: the profile counts it as the device does.
typedef unsigned Vector __attribute__((vector_size(16), may_alias));

template <class T>
EMULATED_INLINE T load_vector(const void* address) {
    return bits<T>(*static_cast<const Vector*>(address));
}

template <class T>
EMULATED_INLINE void store_vector(void* address, T value) {
    *static_cast<Vector*>(address) = bits<Vector>(value);
}

}  // namespace emulated
