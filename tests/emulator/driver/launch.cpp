// Launches: the checks that the driver makes, a copy of the arguments, and the run.
#include <algorithm>
#include <cstring>
#include <memory>

#include "../runtime/machine.h"
#include "../runtime/profile.h"
#include "../runtime/reports.h"
#include "driver.h"

namespace emulated {

namespace {

struct Shape {
    unsigned grid[3], block[3], shared;
};

CUresult check(const Function& function, const Shape& shape) {
    const auto& [grid, block, shared] = shape;
    constexpr unsigned MOST_BLOCK[3] = {1024, 1024, 64}, MOST_GRID[3] = {2147483647, 65535, 65535};
    for (int axis = 0; axis < 3; ++axis) {
        if (grid[axis] == 0 || grid[axis] > MOST_GRID[axis]) return INVALID_VALUE;
        if (block[axis] == 0 || block[axis] > MOST_BLOCK[axis]) return INVALID_VALUE;
    }
    size_t threads = static_cast<size_t>(block[0]) * block[1] * block[2];
    if (threads > MOST_THREADS) return INVALID_VALUE;
    if (threads > function.entry->threads) return LAUNCH_OUT_OF_RESOURCES;
    if (shared > function.dynamic_limit) return INVALID_VALUE;
    return SUCCESS;
}

// The arguments as they were at the call; the driver copies them too.
struct Arguments {
    std::vector<std::unique_ptr<unsigned char[]>> values;
    std::vector<void*> addresses;

    Arguments(const Entry& entry, void* const* from) {
        for (unsigned i = 0; i < entry.parameters; ++i) {
            // operator new aligns to 16, the most that a parameter needs.
            values.emplace_back(new unsigned char[entry.sizes[i]]);
            std::memcpy(values.back().get(), from[i], entry.sizes[i]);
            addresses.push_back(values.back().get());
        }
    }
};

CUresult run(Function& function, const Shape& shape, const Arguments& arguments) {
    Session& session = Session::mine();
    if (session.fault != 0) return session.fault;
    ++session.counters.launches;
    Launch launch;
    launch.entry = function.entry;
    launch.arguments = arguments.addresses.data();
    launch.grid = {shape.grid[0], shape.grid[1], shape.grid[2]};
    launch.block = {shape.block[0], shape.block[1], shape.block[2]};
    launch.dynamic_bytes = shape.shared;
    launch.code_begin = function.module->code_begin;
    launch.code_end = function.module->code_end;
    launch.module_path = function.module->path;
    launch.checked = function.module->instrumented && session.checks;
    launch.profiled = function.module->instrumented && session.profile;
    launch.seed = session.seed;
    begin_reports();
    Machine::mine().run(launch);
    function.static_bytes = std::max(function.static_bytes, launch.static_bytes);
    if (launch.profiled) session.profile_report += finish_profile(launch);
    session.report += finish_reports(launch);
    // The real driver knows a kernel's static part from the start and would have refused the launch.
    size_t bytes = launch.static_bytes + launch.dynamic_bytes;
    if (bytes > static_cast<size_t>(device_attribute(SHARED_OF_A_BLOCK_THAT_ASKS))) {
        session.report += format("%s: kernel %s: %zu bytes static and %zu dynamic are more than a block may have\n",
                                 kind::STATIC_SHARED, function.entry->name, launch.static_bytes, launch.dynamic_bytes);
    }
    if (!session.report.empty()) session.fault = LAUNCH_FAILED;
    return session.fault;
}

CUresult launch(Function* function, const Shape& shape, void* stream, void* const* parameters, void* const* extra) {
    if (!functions.has(function)) return INVALID_HANDLE;
    if (extra || (!parameters && function->entry->parameters > 0)) return INVALID_VALUE;
    if (CUresult refused = check(*function, shape)) return refused;
    auto arguments = std::make_shared<Arguments>(*function->entry, parameters);
    return submit(stream, {Operation::kernel, [=] { return run(*function, shape, *arguments); }});
}

}  // namespace

}  // namespace emulated

using namespace emulated;

API cuLaunchKernel(Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void* stream, void** parameters, void** extra) {
    ENTER(CONTEXT)
    Shape shape{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared};
    return launch(function, shape, stream, parameters, extra);
}

extern "C" struct CUlaunchConfig {
    unsigned grid[3], block[3], shared;
    void* stream;
    const int* attributes;
    unsigned attribute_count;
};

API cuLaunchKernelEx(const CUlaunchConfig* config, Function* function, void** parameters, void** extra) {
    ENTER(CONTEXT)
    // Clusters and the like come with the kernels that need them.
    if (config->attribute_count > 0) return NOT_SUPPORTED;
    Shape shape{{config->grid[0], config->grid[1], config->grid[2]},
                {config->block[0], config->block[1], config->block[2]},
                config->shared};
    return launch(function, shape, config->stream, parameters, extra);
}

// Occupancy by threads and shared memory; registers are not known here.
API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, Function* function, int threads, size_t dynamic,
                                                         unsigned) {
    ENTER(CONTEXT)
    if (!functions.has(function)) return INVALID_HANDLE;
    if (threads <= 0 || threads > 1024) return INVALID_VALUE;
    size_t shared = function->static_bytes + dynamic + static_cast<size_t>(device_attribute(111));
    int warps = (threads + 31) / 32;
    int by_threads = device_attribute(39) / (warps * 32);
    int by_shared = shared > 0 ? static_cast<int>(static_cast<size_t>(device_attribute(81)) / shared) : by_threads;
    *blocks = std::min({by_threads, by_shared, device_attribute(106)});
    return SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function* function, int threads, size_t dynamic) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, dynamic, 0);
}
