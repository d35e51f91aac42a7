// What kernels call in the runtime.
#pragma once
#include "thread.h"

namespace emulated {

// What the last lane of a collective runs: `operands[lane]` is what lane `lane` left.
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

// `site`: an address on the kernel's line, for reports.
extern "C" {
void emulator_barrier();
void* emulator_shared(const void* site, size_t bytes, size_t alignment);
void emulator_fence();
// Gives way to the other threads; `reason` says in a deadlock's report what the thread was waiting for.
void emulator_yield(const char* reason);
void emulator_trap(const char* reason) __attribute__((noreturn));

void emulator_atomic(void* address, size_t bytes, const void* site);

void emulator_collective(emulated::Collective operation, const char* name, void* operands, unsigned mask, int flags,
                         const void* site);
// Reports a lane that reads another one which takes no part.
void emulator_absent_lane(unsigned lane, unsigned source, unsigned mask);

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
