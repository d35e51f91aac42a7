// The access profile: how many wavefronts of shared memory and sectors of global memory each line of a kernel causes.
#pragma once
#include <cstddef>
#include <string>

#include "machine.h"

namespace emulated {

void profile_access(const void* address, size_t bytes, bool write, const void* site);
// Adds up the accesses of a block that has ended.
void finish_profiled_block();
// The launch's lines in words; clears them.
std::string finish_profile(const Launch& launch);

}  // namespace emulated
