// The checks of memory. For each byte: may it be touched, was it written. For each word of four bytes: who wrote and
// who read it last, and when, so that two accesses that nothing orders are found whatever the schedule was.
//
// Two accesses of one launch are ordered if they are the same thread's; if a barrier of their block lies between them;
// if, in one warp, a __syncwarp lies between them; or if, in different blocks, the first one's block published it (a
// fence, then an atomic operation) and the second one's block looked later (an atomic operation). Shuffles and votes do
// not order memory.
#include "shadow.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "profile.h"
#include "reports.h"

namespace emulated {

namespace {

// One access: whose, and when.
struct Mark {
    uint32_t serial;  // of the block; 0: nobody
    uint32_t moment;  // of the launch
    uint16_t thread, epoch, warp_epoch;
    uint8_t bytes;  // which of the word's four
    uint8_t flags;
};
enum : uint8_t { ATOMIC = 1, SEVERAL_LANES = 2, SEVERAL_WARPS = 4, SEVERAL_BLOCKS = 8 };

}  // namespace

struct Word {
    Mark write, read;
};

namespace {

void* reserve(size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        std::fprintf(stderr, "emulator: cannot reserve %zu bytes of addresses\n", bytes);
        std::abort();
    }
    return memory;
}

unsigned char* const arena_begin = static_cast<unsigned char*>(reserve(ARENA_BYTES));
const Shadow device_shadow{static_cast<uint8_t*>(reserve(ARENA_BYTES)),
                           static_cast<Word*>(reserve(ARENA_BYTES / 4 * sizeof(Word)))};

std::atomic<uint32_t> next_serial{1};

// Whether some release of the mark's block lies behind it and before what this block has acquired.
bool published(const Launch& launch, const Mark& mark, const Block& block) {
    auto found = launch.releases.find(mark.serial);
    if (found == launch.releases.end()) return false;
    for (unsigned release : found->second) {
        if (release >= mark.moment && release < block.acquired) return true;
    }
    return false;
}

// Whether an earlier access and one of `me` now are ordered.
inline bool ordered(const Launch& launch, const Block& block, const Thread& me, const Mark& mark, uint8_t bytes,
                    bool atomic, bool shared) {
    if (mark.serial < launch.first_serial || !(mark.bytes & bytes)) return true;
    if (mark.flags & ATOMIC && atomic) return true;
    // What lay in shared memory before was another block's own.
    if (mark.serial != block.serial) return shared || published(launch, mark, block);
    // Which other blocks is not known any more; a launch that publishes at all gets the benefit of the doubt.
    if (mark.flags & SEVERAL_BLOCKS && (launch.releases.empty() || block.acquired == 0)) return false;
    if (mark.epoch != block.epoch) return true;
    if (mark.flags & SEVERAL_WARPS) return false;
    if (mark.thread / WARP != me.warp) return false;
    if (mark.flags & SEVERAL_LANES) return mark.warp_epoch != me.warp_epoch;
    return mark.thread == me.linear || mark.warp_epoch != me.warp_epoch;
}

void report_race(bool shared, const void* site, const Block& block, const Mark& mark, const char* now,
                 const char* before) {
    const char* kind = shared ? kind::RACE_SHARED : kind::RACE_GLOBAL;
    if (mark.serial == block.serial && !(mark.flags & SEVERAL_BLOCKS)) {
        report(kind, site, format("%s, and thread %u %s it with nothing to order the two", now, mark.thread, before));
    } else {
        report(kind, site,
               format("%s, and another block's thread %u %s it in the same launch", now, mark.thread, before));
    }
}

inline void mark_read(const Launch& launch, const Block& block, const Thread& me, Mark& mark, const Mark& now,
                      bool shared) {
    bool together = mark.serial == block.serial && mark.epoch == block.epoch && mark.bytes == now.bytes &&
                    !((mark.flags ^ now.flags) & ATOMIC);
    if (!together || (mark.thread == me.linear && !(mark.flags & (SEVERAL_LANES | SEVERAL_WARPS)))) {
        bool other_blocks = !shared && mark.serial >= launch.first_serial &&
                            (mark.serial != block.serial || mark.flags & SEVERAL_BLOCKS);
        mark = now;
        if (other_blocks) mark.flags |= SEVERAL_BLOCKS;
    } else if (mark.thread / WARP != me.warp) {
        mark.flags |= SEVERAL_WARPS;
    } else if (mark.warp_epoch != me.warp_epoch && !(mark.flags & SEVERAL_WARPS)) {
        mark = now;  // of the warp's earlier readers, which a __syncwarp has ordered, nothing is kept
    } else if (mark.thread != me.linear) {
        mark.flags |= SEVERAL_LANES;
    }
}

inline void check_word(const Machine& machine, const Thread& me, Word& word, uint8_t bytes, Access access, bool shared,
                       const void* site) {
    const Launch& launch = *machine.launch;
    const Block& block = block_of(me);
    const bool atomic = access == Access::atomic, writes = access != Access::read;
    const char* now = atomic ? "changed atomically" : writes ? "written" : "read";
    if (!ordered(launch, block, me, word.write, bytes, atomic, shared)) {
        report_race(shared, site, block, word.write, now, word.write.flags & ATOMIC ? "changed" : "wrote");
    } else if (writes && !ordered(launch, block, me, word.read, bytes, atomic, shared)) {
        report_race(shared, site, block, word.read, now, "read");
    }
    Mark mark{block.serial,  launch.moment, static_cast<uint16_t>(me.linear),         block.epoch,
              me.warp_epoch, bytes,         static_cast<uint8_t>(atomic ? ATOMIC : 0)};
    if (writes) {
        word.write = mark;
    } else {
        mark_read(launch, block, me, word.read, mark, shared);
    }
}

void check_races(const Machine& machine, const Thread& me, Word* words, size_t offset, size_t bytes, Access access,
                 bool shared, const void* site) {
    for (size_t end = offset + bytes; offset < end;) {
        size_t word = offset / 4, first = offset % 4, last = end - word * 4 < 4 ? end - word * 4 : 4;
        check_word(machine, me, words[word], static_cast<uint8_t>((1u << last) - (1u << first)), access, shared, site);
        offset = word * 4 + 4;
    }
}

// Whether all are INITIALISED.
inline bool all_initialised(const uint8_t* states, size_t bytes) {
    constexpr uint64_t ALL = 0x0202020202020202;
    uint64_t word = ALL;
    switch (bytes) {
        case 1:
        case 2:
        case 4:
        case 8: break;
        default: return false;
    }
    std::memcpy(&word, states, bytes);
    return word == ALL;
}

// Bounds and initialisation, byte by byte. Out of bounds ends the launch: the access must not happen.
void check_bytes(uint8_t* states, size_t bytes, Access access, bool shared, const void* address, const void* site) {
    const char* what = access == Access::read ? "read" : "write";
    for (size_t i = 0; i < bytes; ++i) {
        if (states[i] == INITIALISED) continue;
        if (states[i] == FORBIDDEN) {
            report_fatal(shared ? kind::OUT_OF_BOUNDS_SHARED : kind::OUT_OF_BOUNDS_GLOBAL, site,
                         format("%s of %zu bytes at %p, outside of every %s", what, bytes, address,
                                shared ? "shared variable" : "allocation"));
        }
        if (access == Access::write) {
            states[i] = INITIALISED;
        } else {
            report(shared ? kind::UNINITIALISED_SHARED : kind::UNINITIALISED_GLOBAL, site,
                   format("read of %zu bytes of which byte %zu was never written", bytes, i));
            // Said once: what follows from it would only hide other findings.
            std::memset(states, INITIALISED, bytes);
            return;
        }
    }
}

}  // namespace

unsigned char* arena() { return arena_begin; }

uint32_t reserve_serials(uint32_t blocks) { return next_serial.fetch_add(blocks); }

void mark_device(const void* address, size_t bytes, Bytes state) {
    std::memset(device_shadow.bytes + arena_offset(address), state, bytes);
}

void copy_marks(const void* to, const void* from, size_t bytes) {
    std::memmove(device_shadow.bytes + arena_offset(to), device_shadow.bytes + arena_offset(from), bytes);
}

Shadow reserve_shadow(size_t bytes) {
    return {static_cast<uint8_t*>(reserve(bytes)), static_cast<Word*>(reserve(bytes / 4 * sizeof(Word)))};
}

void release_shadow(const Shadow& shadow, size_t bytes) {
    munmap(shadow.bytes, bytes);
    munmap(shadow.words, bytes / 4 * sizeof(Word));
}

void mark_shared(Machine& machine, size_t offset, size_t bytes, Bytes state) {
    std::memset(machine.shared_shadow.bytes + offset, state, bytes);
}

void check_access(const void* address, size_t bytes, Access access, const void* site) {
    const Thread& me = self();
    const Machine& machine = *me.machine;
    const Launch& launch = *machine.launch;
    size_t offset = machine.shared_offset(address);
    bool shared = offset < SHARED_ROOM;
    if (!shared) offset = arena_offset(address);
    if (!shared && offset >= ARENA_BYTES) {
        // The thread's own variables, or a constant of the module.
        if (machine.owns(address)) return;
        if (address >= launch.code_begin && address < launch.code_end) return;
        report_fatal(kind::OUT_OF_BOUNDS_GLOBAL, site,
                     format("access to %p, which is no memory of the device", address));
    }
    if (launch.profiled) profile_access(address, bytes, access != Access::read, site);
    if (!launch.checked) return;
    const Shadow& shadow = shared ? machine.shared_shadow : device_shadow;
    uint8_t* states = shadow.bytes + offset;
    if (!all_initialised(states, bytes)) check_bytes(states, bytes, access, shared, address, site);
    check_races(machine, me, shadow.words, offset, bytes, access, shared, site);
}

}  // namespace emulated

using namespace emulated;

void emulator_atomic(void* address, size_t bytes, const void* site) {
    Thread& me = self();
    Machine& machine = *me.machine;
    Launch& launch = *machine.launch;
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
        report_fatal(kind::MISALIGNED, site, format("atomic operation on %zu bytes at %p", bytes, address));
    }
    // A thread that only looks at a word until another one changes it must not keep the others from doing so.
    constexpr unsigned PATIENCE = 256, MOST = 1 << 20;
    if (++me.atomics % PATIENCE == 0) give_way(me, "an atomic operation", site, MOST);
    if (!launch.checked && !launch.profiled) return;
    check_access(address, bytes, Access::atomic, site);
    Block& block = block_of(me);
    block.acquired = launch.moment;
    if (me.fenced) {
        launch.releases[block.serial].push_back(launch.moment++);
        me.fenced = false;
    }
}
