// Warp collectives: each lane of the mask leaves the address of its operands; the lane that comes last computes for all
// of them, and then all go on.
#pragma once

#include "interface.h"

namespace emulated {

static inline void nothing(void* const*, unsigned) {}

template <class T>
struct Shuffle {
    T value, result;
    unsigned source;
};

template <class T>
EMULATED_UNCHECKED void shuffle_all(void* const* operands, unsigned mask) {
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        Shuffle<T>& mine = *static_cast<Shuffle<T>*>(operands[lane]);
        if (mask >> mine.source & 1) {
            mine.result = static_cast<Shuffle<T>*>(operands[mine.source])->value;
        } else {
            // Undefined on the device.
            emulator_absent_lane(lane, mine.source, mask);
            __builtin_memset(&mine.result, 0xff, sizeof(T));
        }
    }
}

template <class T>
EMULATED_UNCHECKED T shuffle(const void* site, const char* name, unsigned mask, T value, unsigned source) {
    Shuffle<T> operands{value, value, source};
    emulator_collective(shuffle_all<T>, name, &operands, mask, 0, site);
    return operands.result;
}

struct Vote {
    unsigned value, result;
};

template <class Combine>
EMULATED_UNCHECKED static inline void combine_all(void* const* operands, unsigned mask, unsigned first,
                                                  Combine combine) {
    unsigned all = first;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) all = combine(all, static_cast<Vote*>(operands[lane])->value, lane);
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (mask >> lane & 1) static_cast<Vote*>(operands[lane])->result = all;
    }
}

EMULATED_UNCHECKED static inline unsigned vote(const void* site, Collective operation, const char* name, unsigned mask,
                                               unsigned value) {
    Vote operands{value, 0};
    emulator_collective(operation, name, &operands, mask, 0, site);
    return operands.result;
}

#define EMULATED_VOTE(name, first, expression)                                                           \
    EMULATED_UNCHECKED static inline void name(void* const* operands, unsigned mask) {                   \
        combine_all(operands, mask, first, [](unsigned all, unsigned value, unsigned lane) -> unsigned { \
            static_cast<void>(lane);                                                                     \
            return expression;                                                                           \
        });                                                                                              \
    }
EMULATED_VOTE(ballot, 0, all | (value ? 1u << lane : 0u))
EMULATED_VOTE(any, 0, all | (value != 0))
EMULATED_VOTE(every, 1, all&(value != 0))
EMULATED_VOTE(reduce_add, 0, all + value)
EMULATED_VOTE(reduce_or, 0, all | value)
EMULATED_VOTE(reduce_and, ~0u, all& value)
EMULATED_VOTE(reduce_xor, 0, all ^ value)
EMULATED_VOTE(reduce_max, 0, value > all ? value : all)
EMULATED_VOTE(reduce_min, ~0u, value < all ? value : all)

EMULATED_UNCHECKED static inline void match_any(void* const* operands, unsigned mask) {
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        Vote& mine = *static_cast<Vote*>(operands[lane]);
        for (unsigned other = 0; other < 32; ++other) {
            if (mask >> other & 1 && static_cast<Vote*>(operands[other])->value == mine.value)
                mine.result |= 1u << other;
        }
    }
}

}  // namespace emulated

EMULATED_INLINE void __syncwarp(unsigned mask = 0xffffffffu) {
    emulator_collective(emulated::nothing, "__syncwarp", nullptr, mask, emulated::ORDERS_MEMORY, EMULATED_HERE);
}

// `width` cuts the warp into segments; a source outside of the segment means the lane itself (or wraps, for the plain
// form).
template <class T>
EMULATED_INLINE T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    unsigned segment = emulator_thread->lane & ~static_cast<unsigned>(width - 1);
    return emulated::shuffle(EMULATED_HERE, "__shfl_sync", mask, value, segment | (source & (width - 1)));
}
template <class T>
EMULATED_INLINE T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32) {
    unsigned lane = emulator_thread->lane, source = lane ^ static_cast<unsigned>(flip);
    if ((source & ~static_cast<unsigned>(width - 1)) > (lane & ~static_cast<unsigned>(width - 1))) source = lane;
    return emulated::shuffle(EMULATED_HERE, "__shfl_xor_sync", mask, value, source & 31);
}
template <class T>
EMULATED_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    unsigned lane = emulator_thread->lane, place = (lane & (width - 1)) + distance;
    return emulated::shuffle(EMULATED_HERE, "__shfl_down_sync", mask, value,
                             place < static_cast<unsigned>(width) ? lane + distance : lane);
}
template <class T>
EMULATED_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    unsigned lane = emulator_thread->lane, place = lane & (width - 1);
    return emulated::shuffle(EMULATED_HERE, "__shfl_up_sync", mask, value, place >= distance ? lane - distance : lane);
}

EMULATED_INLINE unsigned __ballot_sync(unsigned mask, int predicate) {
    return emulated::vote(EMULATED_HERE, emulated::ballot, "__ballot_sync", mask, predicate != 0);
}
EMULATED_INLINE int __any_sync(unsigned mask, int predicate) {
    return static_cast<int>(emulated::vote(EMULATED_HERE, emulated::any, "__any_sync", mask, predicate != 0));
}
EMULATED_INLINE int __all_sync(unsigned mask, int predicate) {
    return static_cast<int>(emulated::vote(EMULATED_HERE, emulated::every, "__all_sync", mask, predicate != 0));
}
EMULATED_INLINE unsigned __match_any_sync(unsigned mask, unsigned value) {
    return emulated::vote(EMULATED_HERE, emulated::match_any, "__match_any_sync", mask, value);
}
EMULATED_INLINE unsigned __reduce_add_sync(unsigned mask, unsigned value) {
    return emulated::vote(EMULATED_HERE, emulated::reduce_add, "__reduce_add_sync", mask, value);
}
EMULATED_INLINE int __reduce_add_sync(unsigned mask, int value) {
    return static_cast<int>(
        emulated::vote(EMULATED_HERE, emulated::reduce_add, "__reduce_add_sync", mask, static_cast<unsigned>(value)));
}
EMULATED_INLINE unsigned __reduce_max_sync(unsigned mask, unsigned value) {
    return emulated::vote(EMULATED_HERE, emulated::reduce_max, "__reduce_max_sync", mask, value);
}
EMULATED_INLINE unsigned __reduce_min_sync(unsigned mask, unsigned value) {
    return emulated::vote(EMULATED_HERE, emulated::reduce_min, "__reduce_min_sync", mask, value);
}
// Adding 2^31 keeps the order of signed numbers.
EMULATED_INLINE int __reduce_max_sync(unsigned mask, int value) {
    unsigned shifted = static_cast<unsigned>(value) ^ 0x80000000u;
    return static_cast<int>(emulated::vote(EMULATED_HERE, emulated::reduce_max, "__reduce_max_sync", mask, shifted) ^
                            0x80000000u);
}
EMULATED_INLINE int __reduce_min_sync(unsigned mask, int value) {
    unsigned shifted = static_cast<unsigned>(value) ^ 0x80000000u;
    return static_cast<int>(emulated::vote(EMULATED_HERE, emulated::reduce_min, "__reduce_min_sync", mask, shifted) ^
                            0x80000000u);
}
EMULATED_INLINE unsigned __reduce_or_sync(unsigned mask, unsigned value) {
    return emulated::vote(EMULATED_HERE, emulated::reduce_or, "__reduce_or_sync", mask, value);
}
EMULATED_INLINE unsigned __reduce_and_sync(unsigned mask, unsigned value) {
    return emulated::vote(EMULATED_HERE, emulated::reduce_and, "__reduce_and_sync", mask, value);
}
EMULATED_INLINE unsigned __reduce_xor_sync(unsigned mask, unsigned value) {
    return emulated::vote(EMULATED_HERE, emulated::reduce_xor, "__reduce_xor_sync", mask, value);
}
