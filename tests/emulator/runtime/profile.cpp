// Accesses of the lanes of a warp that belong together are found by the instruction and by how often each lane has
// passed it. Widths are those of the source: what the device's compiler merges by itself is not seen.
#include "profile.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "../include/emulated/entry_types.h"
#include "reports.h"
#include "shadow.h"

namespace emulated {

namespace {

constexpr size_t BANKS = 32, BANK_BYTES = 4, SECTOR_BYTES = 32;

// One instruction of one warp, executed once.
struct Request {
    const void* site;
    size_t bytes;
    bool write, shared;
    unsigned lanes;
    size_t offset[WARP];
};

struct Key {
    const void* site;
    unsigned thread, visit;
    bool operator==(const Key& other) const {
        return site == other.site && thread == other.thread && visit == other.visit;
    }
};
struct HashKey {
    size_t operator()(const Key& key) const {
        uint64_t hash = reinterpret_cast<uintptr_t>(key.site) * 0x9e3779b97f4a7c15ull;
        return hash ^ ((static_cast<uint64_t>(key.visit) << 10 | key.thread) * 0xc2b2ae3d27d4eb4full);
    }
};

struct Sum {
    size_t requests, actual, ideal, bytes;
    bool write, shared;
};

struct Profile {
    std::unordered_map<Key, unsigned, HashKey> visits;   // of a thread to an instruction
    std::unordered_map<Key, Request, HashKey> requests;  // of a warp
    std::map<const void*, Sum> sums;
};

Profile& profile() {
    static thread_local Profile mine;
    return mine;
}

// A wavefront serves each bank once, with one word for any number of lanes. Wide accesses go by half or quarter warps.
void count_wavefronts(const Request& request, Sum& sum) {
    unsigned together = request.bytes <= 4 ? 32 : request.bytes == 8 ? 16 : 8;
    for (unsigned first = 0; first < WARP; first += together) {
        std::vector<size_t> words[BANKS];
        bool any = false;
        for (unsigned lane = first; lane < first + together; ++lane) {
            if (!(request.lanes >> lane & 1)) continue;
            any = true;
            size_t last = (request.offset[lane] + request.bytes - 1) / BANK_BYTES;
            for (size_t word = request.offset[lane] / BANK_BYTES; word <= last; ++word) {
                std::vector<size_t>& bank = words[word % BANKS];
                if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
            }
        }
        size_t most = 0;
        for (const std::vector<size_t>& bank : words) most = std::max(most, bank.size());
        sum.actual += most;
        sum.ideal += any;
    }
}

void count_sectors(const Request& request, Sum& sum) {
    std::vector<size_t> sectors, starts;
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if (!(request.lanes >> lane & 1)) continue;
        size_t last = (request.offset[lane] + request.bytes - 1) / SECTOR_BYTES;
        for (size_t sector = request.offset[lane] / SECTOR_BYTES; sector <= last; ++sector) sectors.push_back(sector);
        starts.push_back(request.offset[lane]);
    }
    auto different = [](std::vector<size_t>& list) {
        std::sort(list.begin(), list.end());
        return static_cast<size_t>(std::unique(list.begin(), list.end()) - list.begin());
    };
    sum.actual += different(sectors);
    sum.ideal += (different(starts) * request.bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;
}

}  // namespace

void profile_access(const void* address, size_t bytes, bool write, const void* site) {
    const Thread& me = self();
    const Machine& machine = *me.machine;
    size_t offset = machine.shared_offset(address);
    bool shared = offset < SHARED_ROOM;
    if (!shared) offset = arena_offset(address);
    unsigned visit = profile().visits[{site, me.linear, 0}]++;
    Request& request = profile().requests[{site, me.warp, visit}];
    request.site = site;
    request.bytes = bytes;
    request.write = write;
    request.shared = shared;
    request.lanes |= 1u << me.lane;
    request.offset[me.lane] = offset;
}

void finish_profiled_block() {
    for (const auto& [key, request] : profile().requests) {
        Sum& sum = profile().sums[request.site];
        sum.write = request.write;
        sum.shared = request.shared;
        sum.bytes = request.bytes;
        ++sum.requests;
        request.shared ? count_wavefronts(request, sum) : count_sectors(request, sum);
    }
    profile().visits.clear();
    profile().requests.clear();
}

std::string finish_profile(const Launch& launch) {
    std::string words;
    for (const auto& [site, sum] : profile().sums) {
        words += format("%s: kernel %s, %s %s of %zu bytes, %zu requests, %zu %s (ideal %zu, ratio %.2f)\n",
                        place_of(launch, site).c_str(), launch.entry->name, sum.shared ? "shared" : "global",
                        sum.write ? "write" : "read", sum.bytes, sum.requests, sum.actual,
                        sum.shared ? "wavefronts" : "sectors", sum.ideal,
                        static_cast<double>(sum.actual) / static_cast<double>(std::max<size_t>(sum.ideal, 1)));
    }
    profile().sums.clear();
    return words;
}

}  // namespace emulated
