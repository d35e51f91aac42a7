// Findings in words. Addresses become lines through addr2line, which reads the module's debug information.
#include "reports.h"

#include "../include/emulated/entry_types.h"

#include <cstdarg>
#include <cstdio>
#include <map>

namespace emulated {

namespace {

struct Finding {
    const char* kind;
    const void* site;
    std::string text;
    Index block, thread;
    unsigned count;
};

// More different ones than this say nothing new.
constexpr size_t MOST = 16;

struct Findings {
    std::vector<Finding> list;
    std::map<std::pair<std::string, size_t>, std::string> places;  // by module and offset in it
};

Findings& findings() {
    static thread_local Findings mine;
    return mine;
}

void add(const char* kind, const void* site, const std::string& text) {
    for (Finding& finding : findings().list) {
        if (finding.kind == kind && finding.site == site) {
            ++finding.count;
            return;
        }
    }
    if (findings().list.size() == MOST) return;
    Index block{}, thread{};
    if (emulator_thread) {
        block = emulator_thread->block->index;
        thread = emulator_thread->index;
    }
    findings().list.push_back({kind, site, text, block, thread, 1});
}

// A path without the folder that the program was compiled in.
std::string shorten(const std::string& path) {
    size_t folder = path.rfind("source/");
    return folder == std::string::npos ? path : path.substr(folder + 7);
}

std::string look_up(const Launch& launch, size_t offset) {
    std::string command = format("addr2line -i -e '%s' 0x%zx 2>/dev/null", launch.module_path.c_str(), offset);
    FILE* output = popen(command.c_str(), "r");
    if (!output) return "";
    std::string places, line;
    for (int c = fgetc(output);; c = fgetc(output)) {
        if (c != '\n' && c != EOF) {
            line += static_cast<char>(c);
            continue;
        }
        // "path:line (discriminator 3)"; what has no line is a question mark.
        line = line.substr(0, line.find(" ("));
        bool known = !line.empty() && line[0] != '?' && line.find("/emulated/") == std::string::npos;
        if (known) places += (places.empty() ? "" : " < ") + shorten(line);
        line.clear();
        if (c == EOF) break;
    }
    pclose(output);
    return places;
}

}  // namespace

std::string format(const char* pattern, ...) {
    char buffer[1024];
    va_list arguments;
    va_start(arguments, pattern);
    std::vsnprintf(buffer, sizeof(buffer), pattern, arguments);
    va_end(arguments);
    return buffer;
}

void report(const char* kind, const void* site, const std::string& text) { add(kind, site, text); }

void report_fatal(const char* kind, const void* site, const std::string& text) {
    add(kind, site, text);
    self().machine->abort();
}

void begin_reports() { findings().list.clear(); }

std::string place_of(const Launch& launch, const void* site) {
    if (!site || site < launch.code_begin || site >= launch.code_end) return "";
    // The address is the one after the call.
    size_t offset = static_cast<size_t>(static_cast<const char*>(site) - launch.code_begin) - 1;
    auto [place, unknown] = findings().places.try_emplace({launch.module_path, offset});
    if (unknown) place->second = look_up(launch, offset);
    return place->second;
}

bool same_line(const void* first, const void* second) {
    const Launch& launch = *self().machine->launch;
    return place_of(launch, first) == place_of(launch, second);
}

std::string finish_reports(const Launch& launch) {
    std::string words;
    for (const Finding& finding : findings().list) {
        std::string place = place_of(launch, finding.site);
        words += format("%s: kernel %s, block (%u,%u,%u), thread (%u,%u,%u), %s: %s", finding.kind, launch.entry->name,
                        finding.block.x, finding.block.y, finding.block.z, finding.thread.x, finding.thread.y,
                        finding.thread.z, place.empty() ? "?" : place.c_str(), finding.text.c_str());
        if (finding.count > 1) words += format(" (and %u times more)", finding.count - 1);
        words += "\n";
    }
    return words;
}

}  // namespace emulated
