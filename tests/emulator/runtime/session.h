// What tests set and read. All of it belongs to the calling thread, so that the tests of one binary can run at the same
// time.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

extern "C" {

struct emulator_counters {
    uint64_t allocations, frees, launches, fills;
    uint64_t to_device, to_device_bytes, to_host, to_host_bytes, on_device, on_device_bytes;
    uint64_t synchronisations, graph_launches, compilations, module_loads;
};

struct emulator_device {
    int count, major, minor, driver, multiprocessors;
    uint64_t memory_bytes;
};

void emulator_seed(unsigned seed);
void emulator_checks(int on);
void emulator_profile(int on);
const char* emulator_report();
const char* emulator_profile_report();
void emulator_get_counters(struct emulator_counters* counters);
void emulator_fail(const char* call, unsigned nth, int result);
void emulator_set_device(const struct emulator_device* device);
void emulator_clear();

// For the compiler's stand-in, which has no state of its own: the result that was ordered for this call, or 0; counts
// the call.
int emulator_planned_failure(const char* call);
void emulator_count_compilation();
int emulator_instruments();
}

namespace emulated {

struct PlannedFailure {
    std::string call;
    unsigned remaining;
    int result;
};

struct Session {
    unsigned seed = 0;
    bool checks = false, profile = false;
    std::string report, profile_report;
    emulator_counters counters{};
    std::vector<PlannedFailure> failures;
    emulator_device device{1, 9, 0, 13000, 132, uint64_t(4) << 30};
    int fault = 0;  // the first error that the device did not survive

    // Whether kernels must be built with instrumentation.
    bool instruments() const { return checks || profile; }
    static Session& mine();
};

}  // namespace emulated
