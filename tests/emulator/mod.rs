//! Stand-ins for the CUDA driver and for NVRTC, so that everything that runs on a GPU runs on any x86-64 Linux machine too:
//! compiling a module compiles its text with the host's C++ compiler, launching a kernel runs each of its threads as a fiber,
//! in an order that a seed chooses, and on request under checks (bounds, uninitialised memory, races, barriers, masks).
//!
//! The engine is not changed: the stand-ins are shared objects with the names of the real libraries, loaded before cudarc looks.
//!
//! ```text
//! include/    what a kernel's text sees in place of the CUDA headers
//! runtime/    fibers, barriers and warps, memory and its checks, access profile
//! driver/     entry points of libcuda
//! compiler/   entry points of libnvrtc, and the calls of the host's compiler
//! planted/    kernels with one bug each, and their mended twins: the checks checked
//! ```
//!
//! A program of its own meets them where `LD_LIBRARY_PATH` names the [folder](Emulator::folder) that they were built in:
//! `LD_LIBRARY_PATH=target/tmp/emulator-... sarcomere demo --device cuda` (with `SARCOMERE_KERNEL_CACHE=off`: what their compiler
//! makes is of no use to a real driver).
//!
//! All settings, counters, ordered failures and faults belong to the calling thread: tests run side by side.
//!
//! What it cannot show: speed, registers and spills; the device's own rounding (fused multiply-adds, `expf`, tensor cores);
//! registers that were never set; memory order weaker than the program's; work of several streams at the same time (a stream
//! does its work at once); of two accesses to different bytes of one word, the earlier one once the later has been made.

#![allow(dead_code)]

mod build;

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// What the calling thread has made the driver do.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Device allocations.
    pub allocations: u64,
    /// Device allocations given back.
    pub frees: u64,
    /// Kernels run, those of graphs included.
    pub launches: u64,
    /// Fills run.
    pub fills: u64,
    /// Copies from host to device, and their bytes.
    pub to_device: u64,
    pub to_device_bytes: u64,
    /// Copies from device to host, and their bytes.
    pub to_host: u64,
    pub to_host_bytes: u64,
    /// Copies on the device, and their bytes.
    pub on_device: u64,
    pub on_device_bytes: u64,
    /// Waits for a stream, an event or the context.
    pub synchronisations: u64,
    /// Graphs launched.
    pub graph_launches: u64,
    /// Programs compiled.
    pub compilations: u64,
    /// Modules loaded.
    pub module_loads: u64,
}

impl Counters {
    /// What was done since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            allocations: self.allocations - before.allocations,
            frees: self.frees - before.frees,
            launches: self.launches - before.launches,
            fills: self.fills - before.fills,
            to_device: self.to_device - before.to_device,
            to_device_bytes: self.to_device_bytes - before.to_device_bytes,
            to_host: self.to_host - before.to_host,
            to_host_bytes: self.to_host_bytes - before.to_host_bytes,
            on_device: self.on_device - before.on_device,
            on_device_bytes: self.on_device_bytes - before.on_device_bytes,
            synchronisations: self.synchronisations - before.synchronisations,
            graph_launches: self.graph_launches - before.graph_launches,
            compilations: self.compilations - before.compilations,
            module_loads: self.module_loads - before.module_loads,
        }
    }
}

/// The GPUs that the calling thread sees.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DeviceDescription {
    /// How many.
    pub count: c_int,
    /// Compute capability: 9 of 9.0.
    pub major: c_int,
    /// Compute capability: 0 of 9.0.
    pub minor: c_int,
    /// The driver's version: 1000 major + 10 minor.
    pub driver: c_int,
    /// Multiprocessors of each.
    pub multiprocessors: c_int,
    /// Memory of each; no more than 16 GiB can be allocated, whatever it says.
    pub memory_bytes: u64,
}

impl Default for DeviceDescription {
    fn default() -> Self {
        Self { count: 1, major: 9, minor: 0, driver: 13_000, multiprocessors: 132, memory_bytes: 4 << 30 }
    }
}

/// The loaded stand-ins.
#[derive(Debug)]
pub struct Emulator {
    driver: Library,
    compiler: Library,
    aliases: Vec<Library>,
    folder: PathBuf,
    in_use: std::fs::File,
}

impl Emulator {
    /// The stand-ins, built and loaded at the first call. `None`, with a line on standard error, where they cannot be.
    pub fn get() -> Option<&'static Self> {
        static LOADED: OnceLock<Result<Emulator, String>> = OnceLock::new();
        static SKIPPED: AtomicUsize = AtomicUsize::new(0);
        match LOADED.get_or_init(Self::load) {
            Ok(emulator) => Some(emulator),
            Err(reason) => {
                let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
                // Not through a macro: what those print, the test runner keeps to itself.
                let line = format!("SKIP: {count} tests on the emulated GPU so far: {reason}\n");
                let _ = std::io::stderr().write_all(line.as_bytes());
                None
            }
        }
    }

    fn load() -> Result<Self, String> {
        let built = build::build()?;
        let open = |path: &std::path::Path| {
            // SAFETY: our own libraries; their initialisers only reserve memory.
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map_err(|error| error.to_string())
        };
        // The compiler's stand-in and the kernels find the driver's by its name.
        let driver = open(&built.driver)?;
        let compiler = open(&built.compiler)?;
        let aliases = built.aliases.iter().map(|path| open(path)).collect::<Result<_, _>>()?;
        let folder = built.driver.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { driver, compiler, aliases, folder, in_use: built.lock })
    }

    /// Where the libraries lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Chooses the order in which threads and blocks run, and when asynchronous copies happen. 0: in order, as late as allowed.
    pub fn seed(&self, seed: u32) {
        self.call::<unsafe extern "C" fn(u32), ()>(c"emulator_seed", |f| unsafe { f(seed) });
    }

    /// Turns the checks of memory on or off, for modules that this thread loads from now on.
    pub fn checks(&self, on: bool) {
        self.call::<unsafe extern "C" fn(c_int), ()>(c"emulator_checks", |f| unsafe { f(c_int::from(on)) });
    }

    /// Turns the access profile on or off, likewise.
    pub fn profile(&self, on: bool) {
        self.call::<unsafe extern "C" fn(c_int), ()>(c"emulator_profile", |f| unsafe { f(c_int::from(on)) });
    }

    /// What the checks have found since the last [`clear`](Self::clear), a line for each finding; empty if nothing.
    pub fn report(&self) -> String {
        self.text(c"emulator_report")
    }

    /// Wavefronts and sectors of each line of the kernels launched since the last `clear`.
    pub fn profile_report(&self) -> String {
        self.text(c"emulator_profile_report")
    }

    /// What this thread has made the driver do since it began.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.call::<unsafe extern "C" fn(*mut Counters), ()>(c"emulator_get_counters", |f| unsafe { f(&mut counters) });
        counters
    }

    /// Makes the `nth` next call (from 1) of an entry point by this thread return `result`. Names as `cuMemAlloc` or with version.
    pub fn fail(&self, call: &str, nth: u32, result: i32) {
        let name = CString::new(call).expect("a name has no zero byte");
        self.call::<unsafe extern "C" fn(*const c_char, u32, c_int), ()>(c"emulator_fail", |f| unsafe {
            f(name.as_ptr(), nth, result)
        });
    }

    /// Changes the GPUs that this thread sees.
    pub fn device(&self, device: &DeviceDescription) {
        self.call::<unsafe extern "C" fn(*const DeviceDescription), ()>(c"emulator_set_device", |f| unsafe {
            f(device)
        });
    }

    /// Forgets reports, ordered failures and the fault that this thread's device has had.
    pub fn clear(&self) {
        self.call::<unsafe extern "C" fn(), ()>(c"emulator_clear", |f| unsafe { f() });
    }

    /// Everything as in a new thread: seed 0, no checks, no profile, the default device, nothing ordered, nothing reported.
    pub fn reset(&self) {
        self.seed(0);
        self.checks(false);
        self.profile(false);
        self.device(&DeviceDescription::default());
        self.clear();
    }

    fn text(&self, name: &CStr) -> String {
        self.call::<unsafe extern "C" fn() -> *const c_char, String>(name, |f| {
            // SAFETY: a string that lives until this thread's next call.
            unsafe { CStr::from_ptr(f()) }.to_string_lossy().into_owned()
        })
    }

    fn call<F: Copy, R>(&self, name: &CStr, with: impl FnOnce(F) -> R) -> R {
        // SAFETY: the names and types are those of runtime/session.h.
        let function = unsafe { self.driver.get::<F>(name.to_bytes_with_nul()) };
        with(*function.expect("the driver's stand-in has its own interface"))
    }
}
