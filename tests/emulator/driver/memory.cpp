// Device memory, pinned host memory, copies and fills. Device memory is part of the host's, so a copy is a memcpy; what
// the checks know about the bytes goes with it.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <vector>

#include "../runtime/shadow.h"
#include "driver.h"

namespace emulated {

namespace {

// Every allocation begins at a multiple of this, as cuMemAlloc's do, and has at least as much forbidden space behind
// it.
constexpr size_t UNIT = 256;

std::mutex mutex;
std::map<size_t, size_t> live;        // offset in the arena -> bytes
std::map<size_t, size_t> free_parts;  // offset -> bytes, what lies between
bool prepared = false;
size_t used = 0;
std::map<const void*, size_t> pinned_parts;

size_t footprint(size_t bytes) { return (bytes + UNIT - 1) / UNIT * UNIT + UNIT; }

void prepare() {
    if (prepared) return;
    // Address 0 of the arena stays free, so that small offsets from it are errors.
    free_parts[1 << 20] = ARENA_BYTES - (1 << 20);
    prepared = true;
}

void give_back(size_t offset, size_t bytes) {
    auto next = free_parts.lower_bound(offset);
    if (next != free_parts.end() && next->first == offset + bytes) {
        bytes += next->second;
        next = free_parts.erase(next);
    }
    if (next != free_parts.begin()) {
        auto previous = std::prev(next);
        if (previous->first + previous->second == offset) {
            previous->second += bytes;
            return;
        }
    }
    free_parts[offset] = bytes;
}

}  // namespace

void* allocate(size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    prepare();
    size_t needed = footprint(bytes);
    if (used + bytes > Session::mine().device.memory_bytes) return nullptr;
    for (auto part = free_parts.begin(); part != free_parts.end(); ++part) {
        if (part->second < needed) continue;
        size_t offset = part->first, rest = part->second - needed;
        free_parts.erase(part);
        if (rest > 0) free_parts[offset + needed] = rest;
        live[offset] = bytes;
        used += bytes;
        return arena() + offset;
    }
    return nullptr;
}

bool release(void* address) {
    std::lock_guard<std::mutex> lock(mutex);
    auto found = live.find(arena_offset(address));
    if (found == live.end()) return false;
    mark_device(address, found->second, FORBIDDEN);
    // Large ones go back to the system at once.
    if (found->second >= size_t(1) << 20)
        madvise(arena() + (found->first + 4095) / 4096 * 4096, found->second / 4096 * 4096 - 4096, MADV_DONTNEED);
    used -= found->second;
    give_back(found->first, footprint(found->second));
    live.erase(found);
    return true;
}

bool allocated(CUdeviceptr address, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    size_t offset = arena_offset(reinterpret_cast<void*>(address));
    auto next = live.upper_bound(offset);
    if (next == live.begin()) return false;
    auto found = std::prev(next);
    return offset <= found->first + found->second && bytes <= found->first + found->second - offset;
}

namespace {

unsigned char* bytes_at(CUdeviceptr address) { return reinterpret_cast<unsigned char*>(address); }

CUresult allocate_for(CUdeviceptr* address, size_t bytes) {
    if (bytes == 0) return INVALID_VALUE;
    void* memory = allocate(bytes);
    if (!memory) return OUT_OF_MEMORY;
    // Whoever reads what nobody wrote shall see it: NaN as a float, -1 as an integer.
    std::memset(memory, 0xff, bytes);
    mark_device(memory, bytes, Session::mine().checks ? UNINITIALISED : INITIALISED);
    ++Session::mine().counters.allocations;
    *address = reinterpret_cast<CUdeviceptr>(memory);
    return SUCCESS;
}

CUresult release_from(CUdeviceptr address) {
    if (address == 0) return SUCCESS;
    if (!release(bytes_at(address))) return INVALID_VALUE;
    ++Session::mine().counters.frees;
    return SUCCESS;
}

CUresult to_device(void* stream, CUdeviceptr to, const void* from, size_t bytes) {
    if (!allocated(to, bytes)) return INVALID_VALUE;
    return submit(stream, {Operation::copy, [=] {
                               std::memcpy(bytes_at(to), from, bytes);
                               mark_device(bytes_at(to), bytes, INITIALISED);
                               ++Session::mine().counters.to_device;
                               Session::mine().counters.to_device_bytes += bytes;
                               return SUCCESS;
                           }});
}

CUresult to_host(void* stream, void* to, CUdeviceptr from, size_t bytes) {
    if (!allocated(from, bytes)) return INVALID_VALUE;
    return submit(stream, {Operation::copy, [=] {
                               std::memcpy(to, bytes_at(from), bytes);
                               ++Session::mine().counters.to_host;
                               Session::mine().counters.to_host_bytes += bytes;
                               return SUCCESS;
                           }});
}

CUresult on_device(void* stream, CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    if (!allocated(to, bytes) || !allocated(from, bytes)) return INVALID_VALUE;
    return submit(stream, {Operation::copy, [=] {
                               std::memmove(bytes_at(to), bytes_at(from), bytes);
                               copy_marks(bytes_at(to), bytes_at(from), bytes);
                               ++Session::mine().counters.on_device;
                               Session::mine().counters.on_device_bytes += bytes;
                               return SUCCESS;
                           }});
}

// A copy from page-locked memory, which a device may do at any time until the host waits for it.
struct Pending {
    const unsigned char* from;
    std::vector<unsigned char> bytes;
};
thread_local std::vector<Pending> pending;

bool is_pinned(const void* from) {
    std::lock_guard<std::mutex> lock(mutex);
    auto part = pinned_parts.upper_bound(from);
    if (part == pinned_parts.begin()) return false;
    --part;
    return static_cast<const char*>(from) < static_cast<const char*>(part->first) + part->second;
}

// `value` is a pattern of `width` bytes.
CUresult fill(void* stream, CUdeviceptr to, unsigned value, size_t width, size_t count) {
    if (to % width != 0 || !allocated(to, count * width)) return INVALID_VALUE;
    return submit(stream, {Operation::fill, [=] {
                               for (size_t i = 0; i < count && width > 1; ++i)
                                   std::memcpy(bytes_at(to) + i * width, &value, width);
                               if (width == 1) std::memset(bytes_at(to), static_cast<int>(value), count);
                               // Tests fill with 0xff what a kernel is to write: reading it is an error.
                               bool poison = Session::mine().checks && width == 1 && value == 0xff;
                               mark_device(bytes_at(to), count * width, poison ? UNINITIALISED : INITIALISED);
                               ++Session::mine().counters.fills;
                               return SUCCESS;
                           }});
}

}  // namespace

CUresult settle_copies() {
    CUresult result = SUCCESS;
    for (const Pending& copy : pending) {
        if (std::memcmp(copy.from, copy.bytes.data(), copy.bytes.size()) == 0) continue;
        Session::mine().report += "host-changed: page-locked memory was written while a copy from it had not been waited for\n";
        result = LAUNCH_FAILED;
    }
    pending.clear();
    return result;
}

}  // namespace emulated

using namespace emulated;

// Allocating waits for the device, which a capture does not allow.
#define NOT_WHILE_CAPTURING \
    if (forbidden_while_capturing()) return STREAM_CAPTURE_UNSUPPORTED

API cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return allocate_for(address, bytes);
}
API cuMemFree_v2(CUdeviceptr address) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return release_from(address);
}
API cuMemAllocAsync(CUdeviceptr* address, size_t bytes, void* stream) {
    ENTER(CONTEXT)
    if (!stream_of(stream)) return INVALID_HANDLE;
    if (stream_of(stream)->capturing) return NOT_SUPPORTED;  // graph memory nodes are not emulated
    return allocate_for(address, bytes);
}
API cuMemFreeAsync(CUdeviceptr address, void* stream) {
    ENTER(CONTEXT)
    if (!stream_of(stream)) return INVALID_HANDLE;
    if (stream_of(stream)->capturing) return NOT_SUPPORTED;
    return release_from(address);
}

API cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER(CONTEXT)
    std::lock_guard<std::mutex> lock(mutex);
    *total = Session::mine().device.memory_bytes;
    *free = *total > used ? *total - used : 0;
    return SUCCESS;
}

API cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    ENTER(CONTEXT)
    if (bytes == 0) return INVALID_VALUE;
    *address = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*address) return OUT_OF_MEMORY;
    std::memset(*address, 0xff, bytes);
    std::lock_guard<std::mutex> lock(mutex);
    pinned_parts[*address] = bytes;
    return SUCCESS;
}
API cuMemFreeHost(void* address) {
    ENTER(CONTEXT)
    if (CUresult changed = settle_copies()) return changed;
    std::lock_guard<std::mutex> lock(mutex);
    if (pinned_parts.erase(address) == 0) return INVALID_VALUE;
    std::free(address);
    return SUCCESS;
}

API cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return to_device(nullptr, to, from, bytes);
}
API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, void* stream) {
    ENTER(CONTEXT)
    // What is not page-locked is taken before the call returns.
    if (is_pinned(from)) {
        const unsigned char* first = static_cast<const unsigned char*>(from);
        pending.push_back({first, {first, first + bytes}});
    }
    return to_device(stream, to, from, bytes);
}
API cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return to_host(nullptr, to, from, bytes);
}
API cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, void* stream) {
    ENTER(CONTEXT)
    return to_host(stream, to, from, bytes);
}
API cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return on_device(nullptr, to, from, bytes);
}
API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream) {
    ENTER(CONTEXT)
    return on_device(stream, to, from, bytes);
}

API cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return fill(nullptr, to, value, 1, count);
}
API cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, void* stream) {
    ENTER(CONTEXT)
    return fill(stream, to, value, 1, count);
}
API cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return fill(nullptr, to, value, 2, count);
}
API cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, void* stream) {
    ENTER(CONTEXT)
    return fill(stream, to, value, 2, count);
}
API cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
    ENTER(CONTEXT)
    NOT_WHILE_CAPTURING;
    return fill(nullptr, to, value, 4, count);
}
API cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, void* stream) {
    ENTER(CONTEXT)
    return fill(stream, to, value, 4, count);
}
