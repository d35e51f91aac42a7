// What the checks know about each byte and word of shared and device memory.
#pragma once
#include <cstddef>
#include <cstdint>

#include "machine.h"

namespace emulated {

// Device memory is one range of addresses: a device pointer is a host pointer into it.
constexpr size_t ARENA_BYTES = size_t(16) << 30;
unsigned char* arena();
inline size_t arena_offset(const void* address) {
    return static_cast<size_t>(static_cast<const unsigned char*>(address) - arena());
}

enum Bytes : uint8_t { FORBIDDEN = 0, UNINITIALISED = 1, INITIALISED = 2 };
// Sets the state of a range of device memory.
void mark_device(const void* address, size_t bytes, Bytes state);
// Copies it, as a copy from device to device does.
void copy_marks(const void* to, const void* from, size_t bytes);

// Of the shared memory of the block that runs on this machine.
void mark_shared(Machine& machine, size_t offset, size_t bytes, Bytes state);
void begin_shared(Machine& machine, size_t dynamic_bytes);

// Reserves what watching so many bytes needs.
Shadow reserve_shadow(size_t bytes);
void release_shadow(const Shadow& shadow, size_t bytes);

// Numbers for the blocks of a launch, never used before.
uint32_t reserve_serials(uint32_t blocks);

enum class Access : uint8_t { read, write, atomic };
// Checks one access of the current thread: bounds, initialisation, races.
void check_access(const void* address, size_t bytes, Access access, const void* site);

}  // namespace emulated
