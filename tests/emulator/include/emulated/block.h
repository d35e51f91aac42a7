// Barriers and shared memory.
#pragma once
#include "interface.h"

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

// The address of the static variable names the declaration, so that all threads of a block get the same memory for it,
// in whatever order they come by. As on the device there is one such memory for each instance of a template.
#define SHARED(type, name, ...)       \
    static char emulated_site_##name; \
    type(&name) __VA_ARGS__ = emulated::shared<type __VA_ARGS__>(&emulated_site_##name)
#define SHARED_DYNAMIC(name) unsigned char* name = emulator_thread->block->dynamic

// A kernel keeps its launch bound in an attribute that only the stand-in for the compiler reads; see
// compiler/exports.cpp.
#define KERNEL(...) [[emulated::kernel(__VA_ARGS__)]] static void
#define __launch_bounds__(...)
