// How a kernel is called with the addresses of its arguments, as cuLaunchKernel has them, and what the driver is told
// about it.
#pragma once

#include "entry_types.h"

namespace emulated {

template <unsigned... I>
struct Numbers {};

template <class T>
struct Plain {
    typedef T type;
};
template <class T>
struct Plain<const T> {
    typedef T type;
};

template <class... P>
struct Signature {
    static constexpr unsigned sizes[sizeof...(P) + 1] = {sizeof(P)..., 0};
    static constexpr unsigned alignments[sizeof...(P) + 1] = {alignof(P)..., 0};

    template <void (*kernel)(P...), unsigned... I>
    EMULATED_UNCHECKED static void unpack(void* const* arguments, Numbers<I...>) {
        static_cast<void>(arguments);
        kernel(*static_cast<typename Plain<P>::type*>(arguments[I])...);
    }

    template <void (*kernel)(P...)>
    EMULATED_UNCHECKED static void call(void* const* arguments) {
        unpack<kernel>(arguments, Numbers<__integer_pack(sizeof...(P))...>());
    }

    template <void (*kernel)(P...)>
    static constexpr Entry entry(const char* name, unsigned threads) {
        return {name, call<kernel>, threads, sizeof...(P), sizes, alignments};
    }
};

template <class... P>
constexpr Signature<P...> signature(void (*)(P...)) {
    return {};
}

constexpr unsigned launch_bound(unsigned threads, unsigned = 0, unsigned = 0) { return threads; }

}  // namespace emulated
