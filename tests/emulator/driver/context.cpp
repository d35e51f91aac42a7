// Initialisation, devices, contexts, and what errors are called.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>

#include <dlfcn.h>

#include "driver.h"

namespace emulated {

Registry<Stream> streams;
Registry<Event> events;
Registry<Graph> graphs;
Registry<Graph> executables;
Registry<Module> modules;
Registry<Function> functions;

namespace {

constexpr int MOST_DEVICES = 16;
std::atomic<bool> was_initialised{false};
Context contexts[MOST_DEVICES];
thread_local Context* current = nullptr;

// Errors after which a context is of no use any more.
bool is_fault(int result) {
    switch (result) {
        case 214:
        case 220:
        case 700:
        case 702:
        case 710:
        case 714:
        case 715:
        case 716:
        case 717:
        case 718:
        case 719: return true;
        default: return false;
    }
}

// Kernels find the runtime here, also in a program that loads the driver for itself alone, by name.
__attribute__((constructor)) void be_seen_by_kernels() {
    Dl_info self;
    if (dladdr(&contexts, &self)) dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}

bool known(CUdevice device) { return device >= 0 && device < Session::mine().device.count; }

const std::map<int, std::pair<const char*, const char*>> ERRORS{
    {0, {"CUDA_SUCCESS", "no error"}},
    {1, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {2, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {3, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {100, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {101, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {200, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {201, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {209, {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"}},
    {214, {"CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"}},
    {222, {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."}},
    {300, {"CUDA_ERROR_INVALID_SOURCE", "device kernel image is invalid"}},
    {301, {"CUDA_ERROR_FILE_NOT_FOUND", "file not found"}},
    {400, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {401, {"CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"}},
    {500, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {600, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {700, {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}},
    {701, {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"}},
    {702, {"CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"}},
    {719, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {801, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
    {900, {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}},
    {901, {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"}},
    {906,
     {"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
      "operation would make the legacy stream depend on a capturing blocking stream"}},
};

}  // namespace

Context* current_context() { return current; }

int device_attribute(int which) {
    const emulator_device& device = Session::mine().device;
    // Shared memory of a multiprocessor, in KiB: large on the big chips, small on those for graphics. A block may have
    // all of it but one.
    bool ampere = device.major >= 8, graphics = device.major == 12 || (device.major == 8 && device.minor != 0);
    int shared = !ampere ? 64 : graphics ? 100 : device.major == 8 ? 164 : 228;
    switch (which) {
        case 1:
        case 2:
        case 3: return 1024;        // threads of a block, its x and y
        case 4: return 64;          // its z
        case 5: return 2147483647;  // grid x
        case 6:
        case 7: return 65535;     // grid y and z
        case 8: return 48 << 10;  // shared memory of a block without asking for more
        case 10: return 32;       // warp
        case 12:
        case 82: return 65536;    // registers
        case 13: return 1755000;  // clock, kHz
        case 16: return device.multiprocessors;
        case 18: return 0;  // integrated
        case 19:
        case 31:
        case 41: return 1;         // mapped host memory, concurrent kernels, unified addressing
        case 36: return 2619000;   // memory clock, kHz
        case 37: return 5120;      // bus width
        case 38: return 50 << 20;  // second-level cache
        case 39: return !ampere ? 1024 : graphics ? 1536 : 2048;  // threads of a multiprocessor
        case 75: return device.major;
        case 76: return device.minor;
        case 78:
        case 83:
        case 95: return 1;                                     // priorities, managed memory, cooperative launch
        case 81: return shared << 10;                          // shared memory of a multiprocessor
        case 97: return (ampere ? shared - 1 : shared) << 10;  // of a block that asks
        case 106: return ampere ? 32 : 16;                     // blocks of a multiprocessor
        case 111: return ampere ? 1024 : 0;                    // shared memory that the system keeps for itself
        case 115: return 1;                                    // memory pools
        default: return 0;
    }
}

CUresult enter(const char* call, Need need) {
    Session& state = Session::mine();
    if (int planned = emulator_planned_failure(call)) {
        if (is_fault(planned)) state.fault = planned;
        return planned;
    }
    if (need == NOTHING) return SUCCESS;
    if (!was_initialised) return NOT_INITIALIZED;
    if (state.fault != 0 && need == CONTEXT) return state.fault;
    if (need == CONTEXT && !current) return INVALID_CONTEXT;
    return SUCCESS;
}

}  // namespace emulated

using namespace emulated;

API cuInit(unsigned flags) {
    ENTER(NOTHING)
    if (flags != 0) return INVALID_VALUE;
    if (Session::mine().device.count == 0) return NO_DEVICE;
    was_initialised = true;
    return SUCCESS;
}

API cuDriverGetVersion(int* version) {
    ENTER(NOTHING)
    *version = Session::mine().device.driver;
    return SUCCESS;
}

API cuDeviceGetCount(int* count) {
    ENTER(LIBRARY)
    *count = Session::mine().device.count;
    return SUCCESS;
}

API cuDeviceGet(CUdevice* device, int ordinal) {
    ENTER(LIBRARY)
    if (!known(ordinal)) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

API cuDeviceGetName(char* name, int length, CUdevice device) {
    ENTER(LIBRARY)
    if (!known(device)) return INVALID_DEVICE;
    std::snprintf(name, static_cast<size_t>(length), "Emulated GPU %d", device);
    return SUCCESS;
}

API cuDeviceGetAttribute(int* value, int which, CUdevice device) {
    ENTER(LIBRARY)
    if (!known(device)) return INVALID_DEVICE;
    *value = device_attribute(which);
    return SUCCESS;
}

API cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    ENTER(LIBRARY)
    if (!known(device)) return INVALID_DEVICE;
    *bytes = Session::mine().device.memory_bytes;
    return SUCCESS;
}

API cuDeviceGetUuid_v2(char* uuid, CUdevice device) {
    ENTER(LIBRARY)
    if (!known(device)) return INVALID_DEVICE;
    std::memcpy(uuid, "emulated GPU 000", 16);
    uuid[15] = static_cast<char>('0' + device);
    return SUCCESS;
}
API cuDeviceGetUuid(char* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

API cuDevicePrimaryCtxRetain(Context** context, CUdevice device) {
    ENTER(LIBRARY)
    if (!known(device) || device >= MOST_DEVICES) return INVALID_DEVICE;
    contexts[device].device = device;
    *context = &contexts[device];
    return SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    ENTER(LIBRARY)
    return known(device) ? SUCCESS : INVALID_DEVICE;
}

API cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
    ENTER(LIBRARY)
    if (!known(device)) return INVALID_DEVICE;
    *flags = 0;
    *active = current && current->device == device;
    return SUCCESS;
}

API cuCtxGetCurrent(Context** context) {
    ENTER(LIBRARY)
    *context = current;
    return SUCCESS;
}

API cuCtxSetCurrent(Context* context) {
    ENTER(LIBRARY)
    current = context;
    return SUCCESS;
}

API cuCtxGetDevice(CUdevice* device) {
    ENTER(CONTEXT)
    *device = current->device;
    return SUCCESS;
}

API cuCtxSynchronize() {
    ENTER(CONTEXT)
    if (forbidden_while_capturing()) return STREAM_CAPTURE_UNSUPPORTED;
    ++Session::mine().counters.synchronisations;
    return settle_copies();
}

API cuCtxSetFlags(unsigned) { ENTER(CONTEXT) return SUCCESS; }

API cuCtxGetLimit(size_t* value, int which) {
    ENTER(CONTEXT)
    *value = which == 0 ? 1024 : 0;  // a thread's stack
    return SUCCESS;
}
API cuCtxSetLimit(int, size_t) { ENTER(CONTEXT) return SUCCESS; }

API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    ENTER(CONTEXT)
    *least = 0;
    *greatest = -5;
    return SUCCESS;
}

API cuGetErrorName(CUresult error, const char** name) {
    auto found = ERRORS.find(error);
    *name = found == ERRORS.end() ? nullptr : found->second.first;
    return *name ? SUCCESS : INVALID_VALUE;
}

// A failed launch says what the checks have found, which no real driver could.
API cuGetErrorString(CUresult error, const char** text) {
    static thread_local std::string words;
    auto found = ERRORS.find(error);
    if (found == ERRORS.end()) {
        *text = nullptr;
        return INVALID_VALUE;
    }
    words = found->second.second;
    const std::string& report = Session::mine().report;
    if (error == LAUNCH_FAILED && !report.empty()) words += "\n" + report;
    *text = words.c_str();
    return SUCCESS;
}
