// A block's shared memory: dynamic part first, then each static variable at its first declaration. All of it is NaN at
// first, and between the parts lie gaps that nobody may touch.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "reports.h"
#include "shadow.h"

namespace emulated {

namespace {

size_t place(Machine& machine, Block& block, size_t bytes) {
    size_t offset = block.used;
    size_t end = (offset + bytes + SHARED_GAP - 1) / SHARED_GAP * SHARED_GAP + SHARED_GAP;
    if (end > SHARED_ROOM) {
        report_fatal(kind::STATIC_SHARED, nullptr,
                     format("%zu bytes of shared memory are more than any device has", end));
    }
    std::memset(machine.shared + offset, 0xff, bytes);
    if (machine.launch->checked) {
        mark_shared(machine, offset, bytes, UNINITIALISED);
        machine.watched_end = offset + bytes;
    }
    block.used = end;
    return offset;
}

}  // namespace

void begin_shared(Machine& machine, size_t dynamic_bytes) {
    machine.block.used = 0;
    mark_shared(machine, 0, machine.watched_end, FORBIDDEN);
    machine.watched_end = 0;
    if (dynamic_bytes > 0) place(machine, machine.block, dynamic_bytes);
}

}  // namespace emulated

using namespace emulated;

void* emulator_shared(const void* site, size_t bytes, size_t alignment) {
    Thread& me = self();
    Machine& machine = *me.machine;
    Block& block = block_of(me);
    for (const Variable& variable : block.variables) {
        if (variable.site == site) return machine.shared + variable.offset;
    }
    // Every part begins at a multiple of 128 bytes, which covers every alignment that the device gives.
    static_cast<void>(alignment);
    size_t offset = place(machine, block, bytes);
    block.variables.push_back({site, offset});
    block.static_bytes += bytes;
    machine.launch->static_bytes = std::max(machine.launch->static_bytes, block.static_bytes);
    if (block.static_bytes > STATIC_SHARED_LIMIT) {
        report_fatal(kind::STATIC_SHARED, __builtin_return_address(0),
                     format("%zu bytes of static shared memory, the device's compiler takes %zu at most",
                            block.static_bytes, STATIC_SHARED_LIMIT));
    }
    return machine.shared + offset;
}
