// Where a thread stands in its block and grid, barriers, and shared memory.
#pragma once

// Code that the checks must not see: what the emulator does for a kernel is not the kernel's access.
#define EMULATED_UNCHECKED __attribute__((no_sanitize("thread", "undefined")))

// Functions with a kernel's line in them: inlined always, so that the debug information of EMULATED_HERE leads to the
// line of the kernel that called.
#define EMULATED_INLINE static inline __attribute__((always_inline))
#define EMULATED_HERE                                       \
    ({                                                      \
        const void* here;                                   \
        __asm__ volatile("leaq 0(%%rip), %0" : "=r"(here)); \
        here;                                               \
    })

namespace emulated {

struct Index {
    unsigned x, y, z;
};

// A block as its threads see it; the runtime's own record begins with it.
struct BlockView {
    Index index, size, grid;
    unsigned char* dynamic;
};

// A thread as it sees itself; the runtime's own record begins with it.
struct ThreadView {
    Index index;
    unsigned lane;
    BlockView* block;
};

}  // namespace emulated

extern "C" {
// The CUDA thread that the operating system's thread executes now. Kernels read it at every threadIdx: the loader gives
// it a fixed place (initial-exec), so that no function call is needed.
extern __thread emulated::ThreadView* emulator_thread __attribute__((tls_model("initial-exec")));
}

#define threadIdx (emulator_thread->index)
#define blockIdx (emulator_thread->block->index)
#define blockDim (emulator_thread->block->size)
#define gridDim (emulator_thread->block->grid)
#define warpSize 32
