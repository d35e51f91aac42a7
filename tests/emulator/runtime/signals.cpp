// What the processor itself refuses in a kernel: an address that nobody has mapped (in a plain build, which checks
// nothing) and an integer division by zero, which the device does not mind but which is never meant. The test goes on;
// only the launch fails.
#include <signal.h>
#include <ucontext.h>

#include "machine.h"
#include "reports.h"

namespace emulated {

namespace {

struct sigaction previous_segv, previous_bus, previous_fpe;

// Where the fiber goes on after the signal, as if it had called this itself.
thread_local const char* fault_kind;
thread_local const void* fault_site;
thread_local const void* fault_address;

[[noreturn]] void fail() {
    const char* text = fault_kind == kind::DIVISION ? "an integer divided by zero" : "access to memory that nobody has";
    report_fatal(fault_kind, fault_site, format("%s (%p)", text, fault_address));
}

void handle(int signal, siginfo_t* info, void* context) {
    const struct sigaction& previous = signal == SIGFPE   ? previous_fpe
                                       : signal == SIGBUS ? previous_bus
                                                          : previous_segv;
    if (!emulator_thread) {
        // Not ours: whoever was here before, or the end.
        if (previous.sa_flags & SA_SIGINFO) {
            previous.sa_sigaction(signal, info, context);
        } else {
            sigaction(signal, &previous, nullptr);
        }
        return;
    }
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    fault_kind = signal == SIGFPE ? kind::DIVISION : kind::ILLEGAL_ADDRESS;
    // Reports expect the address behind the instruction.
    fault_site = reinterpret_cast<const void*>(registers[REG_RIP] + 1);
    fault_address = info->si_addr;
    registers[REG_RIP] = reinterpret_cast<greg_t>(&fail);
    // Below the red zone, aligned as at a function's entry.
    registers[REG_RSP] = ((registers[REG_RSP] - 256) & ~greg_t(15)) - 8;
}

struct Install {
    Install() {
        struct sigaction action{};
        action.sa_sigaction = handle;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &action, &previous_segv);
        sigaction(SIGBUS, &action, &previous_bus);
        sigaction(SIGFPE, &action, &previous_fpe);
    }
} install;

}  // namespace

}  // namespace emulated
