// Records behind the driver's handles, and what every entry point does first.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "../include/emulated/entry_types.h"
#include "../runtime/session.h"

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;

namespace emulated {

enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    UNSUPPORTED_PTX_VERSION = 222,
    INVALID_SOURCE = 300,
    FILE_NOT_FOUND = 301,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LAUNCH_OUT_OF_RESOURCES = 701,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    STREAM_CAPTURE_UNSUPPORTED = 900,
    STREAM_CAPTURE_INVALIDATED = 901,
    STREAM_CAPTURE_IMPLICIT = 906,
    ILLEGAL_STATE = 401,
};

// What a stream does, now or when the graph that it was captured into is launched.
struct Operation {
    enum Kind { kernel = 0, copy = 1, fill = 2, other = 5 } kind;
    std::function<CUresult()> run;
};

struct Stream {
    bool blocking = true;  // waits for the default stream
    bool capturing = false, invalidated = false;
    int mode = 0;  // of the capture: 0 global, 1 thread local, 2 relaxed
    std::vector<Operation> captured;
};

struct Event {
    bool timed = true, recorded = false;
    double milliseconds = 0;
};

struct Graph {
    std::vector<Operation> operations;
};

struct Context {
    CUdevice device;
};

struct Module {
    void* library = nullptr;
    std::string path;
    bool instrumented = false;
    const char* code_begin = nullptr;
    const char* code_end = nullptr;
    std::vector<struct Function*> functions;
};

struct Function {
    Module* module;
    const Entry* entry;
    size_t dynamic_limit = 48 << 10;
    size_t static_bytes = 0;  // known after the first launch
};

// The live objects of one kind: a handle that is not among them is an error, as with the real driver.
template <class T>
class Registry {
    std::mutex mutex;
    std::unordered_set<const T*> live;

  public:
    T* add(T* object) {
        std::lock_guard<std::mutex> lock(mutex);
        live.insert(object);
        return object;
    }
    bool has(const T* object) {
        std::lock_guard<std::mutex> lock(mutex);
        return live.count(object) > 0;
    }
    bool remove(T* object) {
        std::lock_guard<std::mutex> lock(mutex);
        return live.erase(object) > 0;
    }
};

extern Registry<Stream> streams;
extern Registry<Event> events;
extern Registry<Graph> graphs;
extern Registry<Graph> executables;
extern Registry<Module> modules;
extern Registry<Function> functions;

// What an entry point needs to be called.
enum Need { NOTHING, LIBRARY, CONTEXT };

// The first lines of every entry point: ordered failures, the fault that the device has had, and what is needed.
CUresult enter(const char* call, Need need);
#define ENTER(need)                                                     \
    if (CUresult refused = emulated::enter(__func__, emulated::need)) { \
        return refused;                                                 \
    }

// The stream behind a handle (null and the two special values are the default stream), or null.
Stream* stream_of(void* handle);
// Does it, or notes it if the stream is being captured.
CUresult submit(void* stream, Operation operation);
// Called where the host waits: copies from page-locked memory have been made. An error if that memory is not what it was.
CUresult settle_copies();
// Whether this thread is capturing in a mode that forbids calls like cuMemAlloc; the capture is lost then.
bool forbidden_while_capturing();

// Device memory.
void* allocate(size_t bytes);
bool release(void* address);
// Whether the range lies in one allocation.
bool allocated(CUdeviceptr address, size_t bytes);

Context* current_context();
// Attributes of the device by the driver's numbers.
constexpr int SHARED_OF_A_BLOCK_THAT_ASKS = 97;
int device_attribute(int which);

}  // namespace emulated

#define API extern "C" CUresult
