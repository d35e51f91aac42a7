// What the driver is told about a kernel.
#pragma once

namespace emulated {

struct Entry {
    const char* name;
    void (*call)(void* const* arguments);
    unsigned threads;  // launch bound
    unsigned parameters;
    const unsigned* sizes;
    const unsigned* alignments;
};

}  // namespace emulated
