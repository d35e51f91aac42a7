// Streams, events, capture and graphs. A stream does its work at once; a stream that is captured notes it, and a graph
// does what was noted, in order.
#include <time.h>

#include <algorithm>
#include <memory>

#include "driver.h"

namespace emulated {

namespace {

Stream default_stream;
// Streams that this thread is capturing.
thread_local std::vector<Stream*> captures;

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

}  // namespace

Stream* stream_of(void* handle) {
    // 0, 1 and 2 are the default streams (legacy, legacy by name, per thread).
    if (reinterpret_cast<uintptr_t>(handle) <= 2) return &default_stream;
    Stream* stream = static_cast<Stream*>(handle);
    return streams.has(stream) ? stream : nullptr;
}

CUresult submit(void* handle, Operation operation) {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capturing) {
        if (stream->invalidated) return STREAM_CAPTURE_INVALIDATED;
        stream->captured.push_back(std::move(operation));
        return SUCCESS;
    }
    if (stream == &default_stream) {
        // Work on the legacy stream would have to wait for streams that are being captured.
        for (Stream* captured : captures) {
            if (!captured->blocking) continue;
            captured->invalidated = true;
            return STREAM_CAPTURE_IMPLICIT;
        }
    }
    return operation.run();
}

bool forbidden_while_capturing() {
    bool forbidden = false;
    for (Stream* stream : captures) {
        if (stream->mode == 2) continue;
        stream->invalidated = true;
        forbidden = true;
    }
    return forbidden;
}

}  // namespace emulated

using namespace emulated;

API cuStreamCreateWithPriority(Stream** stream, unsigned flags, int) {
    ENTER(CONTEXT)
    *stream = streams.add(new Stream());
    (*stream)->blocking = !(flags & 1);
    return SUCCESS;
}
API cuStreamCreate(Stream** stream, unsigned flags) {
    ENTER(CONTEXT)
    *stream = streams.add(new Stream());
    (*stream)->blocking = !(flags & 1);
    return SUCCESS;
}

API cuStreamDestroy_v2(Stream* stream) {
    ENTER(LIBRARY)
    if (!streams.remove(stream)) return INVALID_HANDLE;
    captures.erase(std::remove(captures.begin(), captures.end(), stream), captures.end());
    delete stream;
    return SUCCESS;
}

API cuStreamSynchronize(void* handle) {
    ENTER(CONTEXT)
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capturing) {
        stream->invalidated = true;
        return STREAM_CAPTURE_UNSUPPORTED;
    }
    ++Session::mine().counters.synchronisations;
    return settle_copies();
}

API cuStreamQuery(void* handle) {
    ENTER(CONTEXT)
    return stream_of(handle) ? SUCCESS : INVALID_HANDLE;
}

API cuStreamWaitEvent(void* handle, Event* event, unsigned) {
    ENTER(CONTEXT)
    return stream_of(handle) && events.has(event) ? SUCCESS : INVALID_HANDLE;
}

API cuLaunchHostFunc(void* stream, void (*function)(void*), void* data) {
    ENTER(CONTEXT)
    return submit(stream, {Operation::other, [=] {
                               function(data);
                               return SUCCESS;
                           }});
}

API cuEventCreate(Event** event, unsigned flags) {
    ENTER(CONTEXT)
    *event = events.add(new Event());
    (*event)->timed = !(flags & 2);
    return SUCCESS;
}

API cuEventDestroy_v2(Event* event) {
    ENTER(LIBRARY)
    if (!events.remove(event)) return INVALID_HANDLE;
    delete event;
    return SUCCESS;
}

API cuEventRecord(Event* event, void* stream) {
    ENTER(CONTEXT)
    if (!events.has(event)) return INVALID_HANDLE;
    return submit(stream, {Operation::other, [=] {
                               event->recorded = true;
                               event->milliseconds = now();
                               return SUCCESS;
                           }});
}

API cuEventSynchronize(Event* event) {
    ENTER(CONTEXT)
    if (!events.has(event)) return INVALID_HANDLE;
    ++Session::mine().counters.synchronisations;
    return settle_copies();
}

API cuEventQuery(Event* event) {
    ENTER(CONTEXT)
    return events.has(event) ? SUCCESS : INVALID_HANDLE;
}

API cuEventElapsedTime_v2(float* milliseconds, Event* start, Event* end) {
    ENTER(CONTEXT)
    if (!events.has(start) || !events.has(end) || !start->timed || !end->timed) return INVALID_HANDLE;
    if (!start->recorded || !end->recorded) return INVALID_HANDLE;
    *milliseconds = static_cast<float>(end->milliseconds - start->milliseconds);
    return SUCCESS;
}
API cuEventElapsedTime(float* milliseconds, Event* start, Event* end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

API cuStreamBeginCapture_v2(Stream* stream, int mode) {
    ENTER(CONTEXT)
    // The default stream cannot be captured.
    if (reinterpret_cast<uintptr_t>(stream) <= 2) return STREAM_CAPTURE_UNSUPPORTED;
    if (!streams.has(stream)) return INVALID_HANDLE;
    if (stream->capturing) return ILLEGAL_STATE;
    stream->capturing = true;
    stream->invalidated = false;
    stream->mode = mode;
    stream->captured.clear();
    captures.push_back(stream);
    return SUCCESS;
}

API cuStreamEndCapture(Stream* stream, Graph** graph) {
    ENTER(CONTEXT)
    *graph = nullptr;
    if (!streams.has(stream)) return INVALID_HANDLE;
    if (!stream->capturing) return ILLEGAL_STATE;
    stream->capturing = false;
    captures.erase(std::remove(captures.begin(), captures.end(), stream), captures.end());
    if (stream->invalidated) return STREAM_CAPTURE_INVALIDATED;
    *graph = graphs.add(new Graph{std::move(stream->captured)});
    stream->captured.clear();
    return SUCCESS;
}

API cuStreamIsCapturing(void* handle, int* status) {
    ENTER(CONTEXT)
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    *status = !stream->capturing ? 0 : stream->invalidated ? 2 : 1;
    return SUCCESS;
}

API cuGraphGetNodes(Graph* graph, void** nodes, size_t* count) {
    ENTER(CONTEXT)
    if (!graphs.has(graph)) return INVALID_HANDLE;
    for (size_t i = 0; nodes && i < *count && i < graph->operations.size(); ++i) nodes[i] = &graph->operations[i];
    *count = graph->operations.size();
    return SUCCESS;
}

API cuGraphNodeGetType(Operation* node, int* type) {
    ENTER(CONTEXT)
    *type = node->kind;
    return SUCCESS;
}

API cuGraphInstantiateWithFlags(Graph** executable, Graph* graph, unsigned long long) {
    ENTER(CONTEXT)
    if (!graphs.has(graph)) return INVALID_HANDLE;
    *executable = executables.add(new Graph(*graph));
    return SUCCESS;
}

API cuGraphUpload(Graph* executable, void* stream) {
    ENTER(CONTEXT)
    return executables.has(executable) && stream_of(stream) ? SUCCESS : INVALID_HANDLE;
}

API cuGraphLaunch(Graph* executable, void* stream) {
    ENTER(CONTEXT)
    if (!executables.has(executable)) return INVALID_HANDLE;
    return submit(stream, {Operation::other, [=]() -> CUresult {
                               ++Session::mine().counters.graph_launches;
                               for (const Operation& operation : executable->operations) {
                                   if (CUresult failed = operation.run()) return failed;
                               }
                               return SUCCESS;
                           }});
}

API cuGraphExecDestroy(Graph* executable) {
    ENTER(LIBRARY)
    if (!executables.remove(executable)) return INVALID_HANDLE;
    delete executable;
    return SUCCESS;
}

API cuGraphDestroy(Graph* graph) {
    ENTER(LIBRARY)
    if (!graphs.remove(graph)) return INVALID_HANDLE;
    delete graph;
    return SUCCESS;
}
