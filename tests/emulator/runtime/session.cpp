// The interface for tests; see session.h.
#include "session.h"

namespace emulated {

Session& Session::mine() {
    // Never destroyed: what else the thread owns may free its device memory when the thread ends, in whatever order.
    static thread_local Session* const session = new Session();
    return *session;
}

namespace {

// "cuMemAlloc" orders a failure of cuMemAlloc_v2 too: callers know the names without the version.
bool names(const std::string& ordered, const std::string& call) {
    return call == ordered || (call.rfind(ordered + "_v", 0) == 0 && call.size() == ordered.size() + 3);
}

}  // namespace

}  // namespace emulated

using emulated::Session;

void emulator_seed(unsigned seed) { Session::mine().seed = seed; }
void emulator_checks(int on) { Session::mine().checks = on != 0; }
void emulator_profile(int on) { Session::mine().profile = on != 0; }
const char* emulator_report() { return Session::mine().report.c_str(); }
const char* emulator_profile_report() { return Session::mine().profile_report.c_str(); }
void emulator_get_counters(emulator_counters* counters) { *counters = Session::mine().counters; }
void emulator_set_device(const emulator_device* device) { Session::mine().device = *device; }
int emulator_instruments() { return Session::mine().instruments(); }
void emulator_count_compilation() { ++Session::mine().counters.compilations; }

void emulator_fail(const char* call, unsigned nth, int result) {
    Session::mine().failures.push_back({call, nth, result});
}

int emulator_planned_failure(const char* call) {
    int result = 0;
    for (emulated::PlannedFailure& failure : Session::mine().failures) {
        if (failure.remaining > 0 && emulated::names(failure.call, call) && --failure.remaining == 0)
            result = failure.result;
    }
    return result;
}

void emulator_clear() {
    Session& state = Session::mine();
    state.report.clear();
    state.profile_report.clear();
    state.failures.clear();
    state.fault = 0;
}
