// What the checks have found: gathered while a launch runs, put into words (with file and line) when it has ended.
#pragma once
#include <string>

#include "machine.h"

namespace emulated {

// Kinds of findings, as tests know them.
namespace kind {
constexpr const char* OUT_OF_BOUNDS_SHARED = "out-of-bounds-shared";
constexpr const char* OUT_OF_BOUNDS_GLOBAL = "out-of-bounds-global";
constexpr const char* OUT_OF_BOUNDS_ARRAY = "out-of-bounds-array";
constexpr const char* UNINITIALISED_SHARED = "uninitialised-shared";
constexpr const char* UNINITIALISED_GLOBAL = "uninitialised-global";
constexpr const char* RACE_SHARED = "race-shared";
constexpr const char* RACE_GLOBAL = "race-global";
constexpr const char* DIVERGENT_BARRIER = "divergent-barrier";
constexpr const char* DEADLOCK = "deadlock";
constexpr const char* BAD_MASK = "bad-mask";
constexpr const char* MISALIGNED = "misaligned";
constexpr const char* SHIFT = "shift";
constexpr const char* STATIC_SHARED = "static-shared-memory";
constexpr const char* DIVISION = "division-by-zero";
constexpr const char* ILLEGAL_ADDRESS = "illegal-address";
constexpr const char* STACK = "stack-overflow";
constexpr const char* TRAP = "trap";
}  // namespace kind

// Adds a finding of the current thread at `site` (an address in the kernel's code, or null). The same kind at the same
// place is only counted. The text says what, not where.
void report(const char* kind, const void* site, const std::string& text);
// A finding after which the kernel cannot go on.
[[noreturn]] void report_fatal(const char* kind, const void* site, const std::string& text);

// Begins a launch without findings.
void begin_reports();
// The findings of the launch in words, one a line; empty if there are none.
std::string finish_reports(const Launch& launch);
// Whether two addresses of the launch's code belong to the same line.
bool same_line(const void* first, const void* second);
// "file:line", or several with " < " between a function and where it was inlined.
std::string place_of(const Launch& launch, const void* site);

std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

}  // namespace emulated
