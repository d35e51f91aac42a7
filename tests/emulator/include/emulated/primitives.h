// Host bodies of the primitives in kernels/device: matrix products of a warp, matrix loads, asynchronous copies. The lane
// layouts are those of the PTX manual; the work itself is in runtime/tensor.cpp and runtime/copies.cpp.
#pragma once

extern "C" {
void emulator_mma_m16n8k16_bf16(void* const* operands, unsigned mask);
void emulator_mma_m16n8k8_tf32(void* const* operands, unsigned mask);
// One for each number of matrices (1, 2, 4), plain and transposed.
void emulator_ldmatrix_x1(void* const* operands, unsigned mask);
void emulator_ldmatrix_x2(void* const* operands, unsigned mask);
void emulator_ldmatrix_x4(void* const* operands, unsigned mask);
void emulator_ldmatrix_x1_trans(void* const* operands, unsigned mask);
void emulator_ldmatrix_x2_trans(void* const* operands, unsigned mask);
void emulator_ldmatrix_x4_trans(void* const* operands, unsigned mask);
// A row of 16 bytes that a matrix load reads.
void emulator_matrix_row(const void* row, const void* site);
// Copies `valid` of `bytes` bytes and fills the rest with zeros, some time before the wait that covers it.
void emulator_copy_async(void* shared, const void* global, unsigned bytes, unsigned valid, const void* site);
void emulator_copy_commit();
void emulator_copy_wait(unsigned pending);
}

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
