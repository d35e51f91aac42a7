// __syncthreads, and what a thread that ends means for those that wait.
#include "machine.h"
#include "reports.h"

namespace emulated {

// All threads that are still alive have arrived.
void finish_barrier(Machine& machine, Block& block) {
    block.arrived = 0;
    block.barrier_site = nullptr;
    ++block.epoch;
    machine.idle = 0;
    for (unsigned i = 0; i < block.threads; ++i) {
        if (block.first[i].state == State::at_barrier) machine.make_ready(block.first[i]);
    }
}

void thread_exit(Machine& machine, Thread& thread) {
    Block& block = block_of(thread);
    machine.idle = 0;
    --block.live;
    Warp& warp = block.warps[thread.warp];
    warp.exited |= 1u << thread.lane;
    for (unsigned open = warp.open; open; open &= open - 1) {
        const Group& group = warp.groups[__builtin_ctz(open)];
        if (group.mask >> thread.lane & 1) {
            report_fatal(
                kind::BAD_MASK, group.site,
                format("%s with mask %08x waits for lane %u, which has ended", group.name, group.mask, thread.lane));
        }
    }
    if (block.arrived > 0) {
        report_fatal(
            kind::DIVERGENT_BARRIER, block.barrier_site,
            format("%u threads wait at this barrier, thread %u has ended without it", block.arrived, thread.linear));
    }
}

}  // namespace emulated

using namespace emulated;

void emulator_barrier() {
    Thread& me = self();
    Machine& machine = *me.machine;
    Block& block = block_of(me);
    me.site = __builtin_return_address(0);
    if (block.live < block.threads) {
        report_fatal(kind::DIVERGENT_BARRIER, me.site,
                     format("%u threads of the block have ended without it", block.threads - block.live));
    }
    if (block.arrived == 0) {
        block.barrier_site = me.site;
    } else if (machine.launch->checked && block.barrier_site != me.site && !same_line(block.barrier_site, me.site)) {
        std::string other = place_of(*machine.launch, block.barrier_site);
        report_fatal(kind::DIVERGENT_BARRIER, me.site,
                     format("other threads wait at another barrier, %s", other.c_str()));
    }
    if (++block.arrived == block.live) {
        finish_barrier(machine, block);
        return;
    }
    me.state = State::at_barrier;
    machine.suspend();
}

// Publishes what this thread has written, once an atomic operation follows; see shadow.cpp.
void emulator_fence() { self().fenced = true; }
