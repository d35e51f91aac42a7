// Where a thread stands in its block and grid, barriers, and shared memory.
#pragma once

// Code that the checks must not see: what the emulator does for a kernel is not the kernel's access.
#define EMULATED_UNCHECKED __attribute__((no_sanitize("thread", "undefined")))

// Functions with a kernel's line in them: inlined always, so that the debug information of EMULATED_HERE leads to the line
// of the kernel that called.
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
// The CUDA thread that the operating system's thread executes now. Kernels read it at every threadIdx: the loader gives it a
// fixed place (initial-exec), so that no function call is needed.
extern __thread emulated::ThreadView* emulator_thread __attribute__((tls_model("initial-exec")));
void emulator_barrier();
void* emulator_shared(const void* site, size_t bytes, size_t alignment);
void emulator_fence();
// Gives way to the other threads; `reason` says in a deadlock's report what the thread was waiting for.
void emulator_yield(const char* reason);
void emulator_trap(const char* reason) __attribute__((noreturn));
}

#define threadIdx (emulator_thread->index)
#define blockIdx (emulator_thread->block->index)
#define blockDim (emulator_thread->block->size)
#define gridDim (emulator_thread->block->grid)
#define warpSize 32

#define __syncthreads() emulator_barrier()
#define __threadfence() emulator_fence()
#define __threadfence_block() emulator_fence()
#define __trap() emulator_trap("__trap()")

namespace emulated {

template <class T>
inline T& shared(const void* site) {
    return *static_cast<T*>(emulator_shared(site, sizeof(T), alignof(T) < 16 ? 16 : alignof(T)));
}

}  // namespace emulated

// The address of the static variable names the declaration, so that all threads of a block get the same memory for it, in
// whatever order they come by. As on the device there is one such memory for each instance of a template.
#define SHARED(type, name, ...)      \
    static char emulated_site_##name; \
    type(&name) __VA_ARGS__ = emulated::shared<type __VA_ARGS__>(&emulated_site_##name)
#define SHARED_DYNAMIC(name) unsigned char* name = emulator_thread->block->dynamic

// A kernel keeps its launch bound in an attribute that only the stand-in for the compiler reads; see compiler/exports.cpp.
#define KERNEL(...) [[emulated::kernel(__VA_ARGS__)]] static void
#define __launch_bounds__(...)
