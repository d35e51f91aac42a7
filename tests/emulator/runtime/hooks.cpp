// Where the compiler's instrumentation comes in. A checked kernel is compiled with -fsanitize=thread, which puts a call
// before every access to memory, and with a few of -fsanitize=undefined; these are the functions that they call.
#include "machine.h"
#include "reports.h"
#include "shadow.h"

using namespace emulated;

namespace {

inline void check(const void* address, size_t bytes, Access access, const void* site) {
    // Host code that happens to be instrumented has no thread; a kernel reads the variable itself for its indices.
    if (!emulator_thread || address == &emulator_thread) return;
    check_access(address, bytes, access, site);
}

}  // namespace

extern "C" {

#define HOOKS(bytes)                                                                                             \
    void __tsan_read##bytes(void* p) { check(p, bytes, Access::read, __builtin_return_address(0)); }             \
    void __tsan_write##bytes(void* p) { check(p, bytes, Access::write, __builtin_return_address(0)); }           \
    void __tsan_unaligned_read##bytes(void* p) { check(p, bytes, Access::read, __builtin_return_address(0)); }   \
    void __tsan_unaligned_write##bytes(void* p) { check(p, bytes, Access::write, __builtin_return_address(0)); } \
    void __tsan_volatile_read##bytes(void* p) { check(p, bytes, Access::read, __builtin_return_address(0)); }    \
    void __tsan_volatile_write##bytes(void* p) { check(p, bytes, Access::write, __builtin_return_address(0)); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* p, unsigned long bytes) { check(p, bytes, Access::read, __builtin_return_address(0)); }
void __tsan_write_range(void* p, unsigned long bytes) { check(p, bytes, Access::write, __builtin_return_address(0)); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void*) {}
void __tsan_vptr_update(void*, void*) {}

// Their first argument tells the line, but not where an inlined function was called: the address does both.
void __ubsan_handle_out_of_bounds(void*, void* index) {
    report_fatal(kind::OUT_OF_BOUNDS_ARRAY, __builtin_return_address(0),
                 format("index %lld outside of the array", static_cast<long long>(reinterpret_cast<intptr_t>(index))));
}
void __ubsan_handle_type_mismatch_v1(void*, void* pointer) {
    report_fatal(kind::MISALIGNED, __builtin_return_address(0),
                 format("access to %p, which its type's alignment forbids", pointer));
}
void __ubsan_handle_shift_out_of_bounds(void*, void* left, void* right) {
    report_fatal(kind::SHIFT, __builtin_return_address(0),
                 format("%lld shifted by %lld", static_cast<long long>(reinterpret_cast<intptr_t>(left)),
                        static_cast<long long>(reinterpret_cast<intptr_t>(right))));
}

void emulator_matrix_row(const void* row, const void* site) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
        report_fatal(kind::MISALIGNED, site, format("ldmatrix from %p: rows must be multiples of 16", row));
    }
    const Machine& machine = *self().machine;
    if (machine.shared_offset(row) > SHARED_ROOM - 16) {
        report_fatal(kind::OUT_OF_BOUNDS_SHARED, site, format("ldmatrix from %p, which is not shared memory", row));
    }
    if (machine.launch->checked || machine.launch->profiled) check_access(row, 16, Access::read, site);
}

}  // extern "C"
