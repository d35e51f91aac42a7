// The runtime's records: a machine for each thread of the operating system that launches, the blocks that it runs
// together, their threads (fibers) and warps.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "../include/emulated/interface.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

namespace emulated {

struct Entry;
struct Machine;

constexpr unsigned MOST_THREADS = 1024;
constexpr unsigned WARP = 32;
constexpr size_t STACK_BYTES = 64 << 10;
// Room for a block's shared memory with a gap behind each variable, where an access is out of bounds.
constexpr size_t SHARED_ROOM = 512 << 10;
constexpr size_t SHARED_GAP = 128;
// What a kernel may declare statically; the compiler for the device refuses more.
constexpr size_t STATIC_SHARED_LIMIT = 48 << 10;

enum class State : uint8_t { ready, at_barrier, in_collective, done };

struct Copy {
    unsigned char* to;
    const unsigned char* from;
    unsigned bytes, valid;
    const void* site;
    bool done;
};

// A thread's asynchronous copies that it has not waited for yet. `ends[g]`: how many of them belong to groups 0..=g.
struct Copies {
    std::vector<Copy> waiting;
    std::vector<size_t> ends;
};

struct Block;

struct Thread : ThreadView {
    Machine* machine;
    void* stack_pointer;
    unsigned linear, warp;
    uint16_t warp_epoch;  // collectives that order memory, seen by this thread
    State state;
    bool fenced;       // a __threadfence since the last atomic operation
    unsigned atomics;  // how many it has done
    const void* site;
    Copies copies;
};

// What the checks know about a range of memory: a state for each byte, accesses for each word. See shadow.cpp.
struct Word;
struct Shadow {
    uint8_t* bytes;
    Word* words;
};

// Lanes that meet in one collective.
struct Group {
    Collective operation;
    const char* name;
    unsigned mask, arrived;
    const void* site;
    void* operands[WARP];
};

struct Warp {
    unsigned present, exited;
    unsigned open;  // which of the groups are in use
    Group groups[WARP];
};

struct Variable {
    const void* site;
    size_t offset;
};

struct Block : BlockView {
    Thread* first;    // of its threads, which lie one behind the other
    uint32_t serial;  // a number that no other block of any launch has
    unsigned threads, live, arrived;
    uint16_t epoch;  // barriers passed
    unsigned acquired;
    const void* barrier_site;
    std::vector<Variable> variables;
    size_t used, static_bytes;
    Warp warps[MOST_THREADS / WARP];
};

// One launch: what runs and what the threads of all its blocks share.
struct Launch {
    const Entry* entry = nullptr;
    void* const* arguments = nullptr;
    Index grid{}, block{};
    size_t dynamic_bytes = 0;
    const char* code_begin = nullptr;  // the module in memory: its constants may be read
    const char* code_end = nullptr;
    std::string module_path;
    bool checked = false, profiled = false;
    unsigned seed = 0;
    uint32_t first_serial = 0;
    // Release order between blocks: atomics behind fences count `moment` up; see shadow.cpp.
    unsigned moment = 1;
    std::unordered_map<uint32_t, std::vector<unsigned>> releases;
    size_t static_bytes = 0;  // found out while running
};

// Runs launches for one thread of the operating system. Lies at the head of one mapping with its fibers' stacks behind
// it, so that one comparison tells the emulator's own memory from everything else.
struct Machine {
    Thread threads[MOST_THREADS];
    // The block that runs. A cluster will be several whose threads share the ring below; all but the scheduler reach a
    // block through its threads.
    Block block;
    Launch* launch;
    void* main_stack_pointer;
    bool aborted;
    uint64_t random_state;
    // Ready threads: a ring that holds each at most once.
    Thread* ready[MOST_THREADS];
    unsigned ready_first, ready_count;
    unsigned idle;  // threads in a row that only gave way
    unsigned char* shared;
    Shadow shared_shadow;
    size_t watched_end;  // the shadow is empty from here on
    char* stacks;
    const char* end;

    static Machine& mine();
    // Runs all blocks; the reports tell whether it went well.
    void run(Launch& launch);

    // -- for the parts of the runtime
    void make_ready(Thread& thread);
    // Gives the processor away; returns when somebody has made this thread ready.
    void suspend();
    [[noreturn]] void abort();
    uint64_t random();
    bool owns(const void* address) const {
        return address >= static_cast<const void*>(this) && address < static_cast<const void*>(end);
    }
    size_t shared_offset(const void* address) const {
        return static_cast<size_t>(static_cast<const unsigned char*>(address) - shared);
    }

  private:
    void run_block(unsigned number, uint32_t serial);
    void prepare(Thread& thread, unsigned linear);
    Thread* next();
    void report_deadlock();
};

inline Thread& self() { return *static_cast<Thread*>(emulator_thread); }
inline Block& block_of(const Thread& thread) { return *static_cast<Block*>(thread.block); }
// Lets the others go on; a deadlock if that has happened `most` times in a row without anything else.
void give_way(Thread& me, const char* reason, const void* site, unsigned most);
void thread_exit(Machine& machine, Thread& thread);   // collectives.cpp: nobody may wait for a thread that is gone
void finish_barrier(Machine& machine, Block& block);  // barrier.cpp

}  // namespace emulated
