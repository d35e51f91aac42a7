// Atomic operations. The threads of a launch take turns on one thread of the operating system, so a plain read, change
// and write cannot be interrupted; the checks are told that the access was atomic.
#pragma once
#include "interface.h"

namespace emulated {

template <class T, class Change>
EMULATED_UNCHECKED __attribute__((noinline)) T atomic(const void* site, T* address, Change change) {
    emulator_atomic(address, sizeof(T), site);
    T before = *address;
    *address = change(before);
    return before;
}

}  // namespace emulated

#define EMULATED_ATOMIC(name, type, expression)                                                               \
    EMULATED_INLINE type name(type* address, type value) {                                                    \
        return emulated::atomic(EMULATED_HERE, address, [value](type before) -> type { return expression; }); \
    }
#define EMULATED_ATOMICS(type)                                                                     \
    EMULATED_ATOMIC(atomicAdd, type, before + value)                                               \
    EMULATED_ATOMIC(atomicMax, type, before > value ? before : value)                              \
    EMULATED_ATOMIC(atomicMin, type, before < value ? before : value)                              \
    EMULATED_ATOMIC(atomicExch, type, (static_cast<void>(before), value))                          \
    EMULATED_ATOMIC(atomicAnd, type, before& value)                                                \
    EMULATED_ATOMIC(atomicOr, type, before | value)                                                \
    EMULATED_ATOMIC(atomicXor, type, before ^ value)                                               \
    EMULATED_INLINE type atomicCAS(type* address, type expected, type value) {                     \
        return emulated::atomic(EMULATED_HERE, address,                                            \
                                [=](type before) { return before == expected ? value : before; }); \
    }
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)
// Signed sums wrap on the device.
EMULATED_INLINE int atomicAdd(int* address, int value) {
    return emulated::atomic(EMULATED_HERE, address, [value](int before) {
        return static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value));
    });
}
EMULATED_INLINE int atomicSub(int* address, int value) {
    return emulated::atomic(EMULATED_HERE, address, [value](int before) {
        return static_cast<int>(static_cast<unsigned>(before) - static_cast<unsigned>(value));
    });
}
EMULATED_ATOMIC(atomicSub, unsigned, before - value)
EMULATED_ATOMIC(atomicMax, int, before > value ? before : value)
EMULATED_ATOMIC(atomicMin, int, before < value ? before : value)
EMULATED_ATOMIC(atomicExch, int, (static_cast<void>(before), value))
EMULATED_ATOMIC(atomicAnd, int, before& value)
EMULATED_ATOMIC(atomicOr, int, before | value)
EMULATED_ATOMIC(atomicXor, int, before ^ value)
EMULATED_INLINE int atomicCAS(int* address, int expected, int value) {
    return emulated::atomic(EMULATED_HERE, address, [=](int before) { return before == expected ? value : before; });
}
EMULATED_INLINE float atomicExch(float* address, float value) {
    return emulated::atomic(EMULATED_HERE, address, [value](float) { return value; });
}
