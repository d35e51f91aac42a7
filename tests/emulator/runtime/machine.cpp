// The scheduler: one fiber for each CUDA thread, blocks one after the other. A fiber runs until it has to wait; then
// the next ready one continues, in order for seed 0, in a random order for others.
#include "machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>

#include "../include/emulated/entry_types.h"
#include "profile.h"
#include "reports.h"
#include "shadow.h"

__thread emulated::ThreadView* emulator_thread = nullptr;

// Saves the registers that a function must preserve on the current stack, notes the stack at *from, and goes on from
// `to`.
extern "C" void emulator_switch(void** from, void* to);
__asm__(
    ".text\n"
    ".globl emulator_switch\n"
    ".type emulator_switch, @function\n"
    "emulator_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size emulator_switch, .-emulator_switch\n");

namespace emulated {

namespace {

// Written at the far end of each stack; gone if a fiber ran over it.
constexpr uint64_t CANARY = 0x6b63617473666f21;

thread_local Machine* this_machine = nullptr;

struct Unmap {
    ~Unmap() {
        if (!this_machine) return;
        char* begin = reinterpret_cast<char*>(this_machine);
        size_t bytes = static_cast<size_t>(this_machine->end - begin) + SHARED_ROOM;
        release_shadow(this_machine->shared_shadow, SHARED_ROOM);
        this_machine->~Machine();
        munmap(begin, bytes);
        this_machine = nullptr;
    }
};
thread_local Unmap unmap_at_exit;

[[noreturn]] void fiber_main() {
    Machine& machine = *this_machine;
    machine.launch->entry->call(machine.launch->arguments);
    Thread& me = self();
    me.state = State::done;
    thread_exit(machine, me);
    machine.suspend();
    __builtin_unreachable();
}

}  // namespace

Machine& Machine::mine() {
    if (!this_machine) {
        static_cast<void>(&unmap_at_exit);  // constructs it, so that it runs when the thread ends
        constexpr size_t PAGE = 4096;
        // One stack's room is left empty, for what runs over the end of the first.
        size_t head = (sizeof(Machine) + PAGE - 1) / PAGE * PAGE + STACK_BYTES;
        size_t bytes = head + STACK_BYTES * MOST_THREADS + SHARED_ROOM;
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            std::fprintf(stderr, "emulator: no memory for %zu bytes of stacks\n", bytes);
            std::abort();
        }
        this_machine = new (memory) Machine();
        this_machine->stacks = static_cast<char*>(memory) + head;
        // Shared memory lies behind `end`: it is the kernel's, not the emulator's.
        this_machine->end = this_machine->stacks + STACK_BYTES * MOST_THREADS;
        this_machine->shared = reinterpret_cast<unsigned char*>(const_cast<char*>(this_machine->end));
        this_machine->shared_shadow = reserve_shadow(SHARED_ROOM);
    }
    return *this_machine;
}

uint64_t Machine::random() {
    // xorshift64*
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1dull) >> 32;
}

void Machine::make_ready(Thread& thread) {
    thread.state = State::ready;
    ready[(ready_first + ready_count++) % MOST_THREADS] = &thread;
}

Thread* Machine::next() {
    if (ready_count == 0) return nullptr;
    if (launch->seed != 0) {
        unsigned chosen = (ready_first + random() % ready_count) % MOST_THREADS;
        std::swap(ready[ready_first], ready[chosen]);
    }
    Thread* thread = ready[ready_first];
    ready_first = (ready_first + 1) % MOST_THREADS;
    --ready_count;
    return thread;
}

void Machine::suspend() {
    Thread& me = self();
    Thread* other = next();
    if (other == &me) return;
    emulator_thread = other;
    emulator_switch(&me.stack_pointer, other ? other->stack_pointer : main_stack_pointer);
}

void Machine::abort() {
    aborted = true;
    Thread& me = self();
    emulator_thread = nullptr;
    emulator_switch(&me.stack_pointer, main_stack_pointer);
    __builtin_unreachable();
}

void Machine::prepare(Thread& thread, unsigned linear) {
    Index size = block.size;
    thread.index = {linear % size.x, linear / size.x % size.y, linear / (size.x * size.y)};
    thread.lane = linear % WARP;
    thread.block = &block;
    thread.machine = this;
    thread.linear = linear;
    thread.warp = linear / WARP;
    thread.warp_epoch = 0;
    thread.fenced = false;
    thread.atomics = 0;
    thread.site = nullptr;
    thread.copies.waiting.clear();
    thread.copies.ends.clear();
    char* bottom = stacks + STACK_BYTES * linear;
    std::memcpy(bottom, &CANARY, sizeof(CANARY));
    // Stacks lie 64 KiB apart; without a shift their tops would all compete for the same few cache lines.
    char* top = bottom + STACK_BYTES - 64 - (linear % 32) * 128;
    void** words = reinterpret_cast<void**>(top);
    *--words = nullptr;  // where fiber_main would return to; also what makes its stack aligned
    *--words = reinterpret_cast<void*>(fiber_main);
    words -= 6;  // the registers that the first switch pops
    std::memset(words, 0, 6 * sizeof(void*));
    thread.stack_pointer = words;
}

void Machine::run(Launch& what) {
    launch = &what;
    aborted = false;
    size_t blocks = static_cast<size_t>(what.grid.x) * what.grid.y * what.grid.z;
    what.first_serial = reserve_serials(static_cast<uint32_t>(blocks));
    random_state = 0x9e3779b97f4a7c15ull * (what.seed + 1);
    std::vector<uint32_t> order;
    if (what.seed != 0) {
        order.resize(blocks);
        std::iota(order.begin(), order.end(), 0);
        for (size_t i = blocks; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    }
    for (size_t i = 0; i < blocks && !aborted; ++i) {
        uint32_t number = order.empty() ? static_cast<uint32_t>(i) : order[i];
        run_block(number, what.first_serial + number);
    }
    launch = nullptr;
}

void Machine::run_block(unsigned number, uint32_t serial) {
    Index grid = launch->grid, size = launch->block;
    block.index = {number % grid.x, number / grid.x % grid.y, number / (grid.x * grid.y)};
    block.size = size;
    block.grid = grid;
    block.serial = serial;
    block.first = threads;
    block.threads = block.live = size.x * size.y * size.z;
    block.arrived = 0;
    block.epoch = 1;
    block.acquired = 0;
    block.barrier_site = nullptr;
    block.variables.clear();
    block.static_bytes = 0;
    block.dynamic = shared;
    // Dynamic shared memory first: it is aligned to 128 bytes.
    begin_shared(*this, launch->dynamic_bytes);
    for (unsigned warp = 0; warp * WARP < block.threads; ++warp) {
        unsigned lanes = std::min(WARP, block.threads - warp * WARP);
        block.warps[warp].present = lanes == WARP ? ~0u : (1u << lanes) - 1;
        block.warps[warp].exited = 0;
        block.warps[warp].open = 0;
    }
    ready_first = ready_count = idle = 0;
    for (unsigned i = 0; i < block.threads; ++i) {
        prepare(threads[i], i);
        make_ready(threads[i]);
    }
    Thread* first = next();
    emulator_thread = first;
    emulator_switch(&main_stack_pointer, first->stack_pointer);
    emulator_thread = nullptr;
    if (!aborted && block.live > 0) {
        report_deadlock();
        aborted = true;
    }
    for (unsigned i = 0; i < block.threads; ++i) {
        uint64_t word;
        std::memcpy(&word, stacks + STACK_BYTES * i, sizeof(word));
        if (word != CANARY && !aborted) {
            emulator_thread = &threads[i];
            report(kind::STACK, nullptr, format("a thread's local variables need more than %zu bytes", STACK_BYTES));
            emulator_thread = nullptr;
            aborted = true;
        }
    }
    if (launch->profiled && !aborted) finish_profiled_block();
}

void Machine::report_deadlock() {
    unsigned at_barrier = 0, in_collective = 0;
    Thread* example = nullptr;
    for (unsigned i = 0; i < block.threads; ++i) {
        if (threads[i].state == State::at_barrier) ++at_barrier;
        if (threads[i].state == State::in_collective) ++in_collective;
        if (threads[i].state != State::done && !example) example = &threads[i];
    }
    emulator_thread = example;
    report(kind::DEADLOCK, example->site,
           format("no thread can go on: %u wait at a barrier, %u in a warp collective, %u have ended", at_barrier,
                  in_collective, block.threads - block.live));
    emulator_thread = nullptr;
}

void give_way(Thread& me, const char* reason, const void* site, unsigned most) {
    Machine& machine = *me.machine;
    me.site = site;
    if (++machine.idle > most) report_fatal(kind::DEADLOCK, site, format("all threads wait, this one for: %s", reason));
    machine.make_ready(me);
    machine.suspend();
}

}  // namespace emulated

using namespace emulated;

void emulator_yield(const char* reason) {
    // Every live thread has given way many times and none did anything else: nothing will change any more.
    give_way(self(), reason, __builtin_return_address(0), 64 * block_of(self()).live);
}

void emulator_trap(const char* reason) { report_fatal(kind::TRAP, __builtin_return_address(0), reason); }
