// cp.async: copies that happen either at once or only at the wait that covers them, by seed; a kernel must be right
// both ways. Until then what lies at the destination may not be read.
#include <cstring>

#include "machine.h"
#include "reports.h"
#include "shadow.h"

using namespace emulated;

namespace {

bool watched(const Machine& machine) { return machine.launch->checked || machine.launch->profiled; }

void perform(Copy& copy) {
    if (copy.done) return;
    if (copy.valid > 0) std::memcpy(copy.to, copy.from, copy.valid);
    std::memset(copy.to + copy.valid, 0, copy.bytes - copy.valid);
    copy.done = true;
}

bool misaligned(const void* address, unsigned bytes) { return reinterpret_cast<uintptr_t>(address) % bytes != 0; }

}  // namespace

void emulator_copy_async(void* shared, const void* global, unsigned bytes, unsigned valid, const void* site) {
    Thread& me = self();
    Machine& machine = *me.machine;
    if (misaligned(shared, bytes) || misaligned(global, bytes)) {
        report_fatal(kind::MISALIGNED, site,
                     format("cp.async of %u bytes from %p to %p: both must be multiples of it", bytes, global, shared));
    }
    if (machine.shared_offset(shared) > SHARED_ROOM - bytes) {
        report_fatal(kind::OUT_OF_BOUNDS_SHARED, site, format("cp.async to %p, which is not shared memory", shared));
    }
    if (watched(machine) && valid > 0) check_access(global, valid, Access::read, site);
    // Whenever it happens, from here on nobody may use what lies there, which nothing but a barrier before can ensure.
    if (watched(machine)) check_access(shared, bytes, Access::write, site);
    if (machine.launch->checked) mark_shared(machine, machine.shared_offset(shared), bytes, UNINITIALISED);
    Copy copy{
        static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), bytes, valid, site, false};
    if (machine.launch->seed != 0 && machine.random() % 2 == 0) perform(copy);
    me.copies.waiting.push_back(copy);
}

void emulator_copy_commit() {
    Copies& copies = self().copies;
    copies.ends.push_back(copies.waiting.size());
}

// All but the last `pending` groups are done when it returns.
void emulator_copy_wait(unsigned pending) {
    Machine& machine = *self().machine;
    Copies& copies = self().copies;
    if (copies.ends.size() <= pending) return;
    size_t groups = copies.ends.size() - pending, end = copies.ends[groups - 1];
    for (size_t i = 0; i < end; ++i) {
        Copy& copy = copies.waiting[i];
        // Written as late as now: others need a barrier behind the wait.
        if (machine.launch->checked) check_access(copy.to, copy.bytes, Access::write, copy.site);
        perform(copy);
    }
    copies.waiting.erase(copies.waiting.begin(), copies.waiting.begin() + static_cast<std::ptrdiff_t>(end));
    copies.ends.erase(copies.ends.begin(), copies.ends.begin() + static_cast<std::ptrdiff_t>(groups));
    for (size_t& other : copies.ends) other -= end;
}
