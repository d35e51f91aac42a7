// Warp collectives: lanes of one mask meet, the last one computes for all. A thread's operands lie on its stack, so
// nothing is copied.
#include "machine.h"

#include <algorithm>

#include "reports.h"

using namespace emulated;

namespace {

unsigned bit(unsigned lane) { return 1u << lane; }

// Why this lane cannot take part; the hardware's behaviour is undefined then.
void check_mask(const Warp& warp, const Thread& me, const char* name, unsigned mask) {
    if (!(mask & bit(me.lane))) {
        report_fatal(kind::BAD_MASK, me.site,
                     format("%s by lane %u, which is not in its mask %08x", name, me.lane, mask));
    }
    if (mask & ~warp.present) {
        unsigned lane = static_cast<unsigned>(__builtin_ctz(mask & ~warp.present));
        report_fatal(kind::BAD_MASK, me.site,
                     format("%s with mask %08x, but this warp has no lane %u", name, mask, lane));
    }
    if (mask & warp.exited) {
        unsigned lane = static_cast<unsigned>(__builtin_ctz(mask & warp.exited));
        report_fatal(kind::BAD_MASK, me.site, format("%s with mask %08x, but lane %u has ended", name, mask, lane));
    }
}

// The group that this lane joins, or null. Lanes that wait for this one in another operation, while this one now waits
// for them, can never meet.
Group* find_group(Warp& warp, const Thread& me, Collective operation, const char* name, unsigned mask) {
    for (unsigned open = warp.open; open; open &= open - 1) {
        Group& group = warp.groups[__builtin_ctz(open)];
        if (group.mask == mask && group.operation == operation) return &group;
        if (group.mask & bit(me.lane) && group.arrived & mask) {
            report_fatal(kind::BAD_MASK, me.site,
                         format("lane %u comes to %s with mask %08x while lanes %08x wait for it in %s with mask %08x",
                                me.lane, name, mask, group.arrived, group.name, group.mask));
        }
    }
    return nullptr;
}

}  // namespace

void emulator_collective(Collective operation, const char* name, void* operands, unsigned mask, int flags,
                         const void* site) {
    Thread& me = self();
    Machine& machine = *me.machine;
    Block& block = block_of(me);
    Warp& warp = block.warps[me.warp];
    me.site = site;
    check_mask(warp, me, name, mask);
    Group* group = find_group(warp, me, operation, name, mask);
    if (!group) {
        unsigned free = static_cast<unsigned>(__builtin_ctz(~warp.open));
        warp.open |= bit(free);
        group = &warp.groups[free];
        *group = {operation, name, mask, 0, site, {}};
    }
    group->operands[me.lane] = operands;
    group->arrived |= bit(me.lane);
    if (group->arrived != mask) {
        me.state = State::in_collective;
        machine.suspend();
        return;
    }
    operation(group->operands, mask);
    machine.idle = 0;
    Thread* lanes = &block.first[me.warp * WARP];
    if (flags & ORDERS_MEMORY) {
        uint16_t epoch = 0;
        for (unsigned rest = mask; rest; rest &= rest - 1)
            epoch = std::max(epoch, lanes[__builtin_ctz(rest)].warp_epoch);
        for (unsigned rest = mask; rest; rest &= rest - 1) lanes[__builtin_ctz(rest)].warp_epoch = epoch + 1;
    }
    for (unsigned rest = mask & ~bit(me.lane); rest; rest &= rest - 1) machine.make_ready(lanes[__builtin_ctz(rest)]);
    warp.open &= ~bit(static_cast<unsigned>(group - warp.groups));
}

void emulator_absent_lane(unsigned lane, unsigned source, unsigned mask) {
    report(kind::BAD_MASK, self().site,
           format("lane %u reads from lane %u, which is not in the mask %08x", lane, source, mask));
}
