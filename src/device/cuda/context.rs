//! A GPU as a device: context, stream, loaded modules, and the first fault, which every later call returns.

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaEvent, CudaGraph, CudaStream, DriverError, result, sys};

use super::{Architecture, Bundle, Compiler, Cubin, KernelCache, Module, Precision, Sources, Target, probe};
use crate::{DeviceFault, Error, Result};

/// How many launches are remembered, to be named when the device fails.
const REMEMBERED: usize = 8;

/// A GPU: everything goes through one stream of its own.
pub struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    ordinal: usize,
    name: String,
    driver: i32,
    target: Target,
    compiler: Compiler,
    modules: Mutex<HashMap<Module, Arc<LoadedModule>>>,
    fault: OnceLock<String>,
    recent: Mutex<VecDeque<Arc<str>>>,
    guarded: bool,
}

/// A stream to put work on: the device's own, or one that records a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue(pub(super) sys::CUstream);

/// A module in the driver.
#[derive(Debug)]
pub(super) struct LoadedModule {
    handle: sys::CUmodule,
}

// SAFETY: the driver's handles may be used from any thread in which the context is current.
unsafe impl Send for LoadedModule {}
// SAFETY: as above.
unsafe impl Sync for LoadedModule {}

impl Cuda {
    /// Number of GPUs. Fails if there is no driver that will do.
    pub fn count() -> Result<usize> {
        probe::driver()?;
        result::init().map_err(no_gpu)?;
        Ok(result::device::get_count().map_err(no_gpu)?.max(0) as usize)
    }

    /// Opens GPU `ordinal`, with kernels, cache and folder as the environment says.
    pub fn open(ordinal: usize, precision: Precision) -> Result<Self> {
        let (sources, cache) = (Sources::from_environment()?, KernelCache::from_environment()?);
        Self::with(ordinal, precision, sources, cache, Bundle::from_environment()?)
    }

    /// The same GPU under the same policy, with a stream and modules of its own.
    pub fn opened_again(&self) -> Result<Self> {
        Ok(Self::open(self.ordinal, self.target.precision)?.guarded(self.guarded))
    }

    /// Opens GPU `ordinal` with kernels from `sources`, compiled `ahead` of time or kept in `cache`.
    pub fn with(
        ordinal: usize,
        precision: Precision,
        sources: Sources,
        cache: KernelCache,
        ahead: Arc<Bundle>,
    ) -> Result<Self> {
        let driver = probe::driver()?;
        let count = Self::count()?;
        if ordinal >= count {
            let message = match count {
                0 => "the driver sees no GPU; check the GPU and its permissions, or use --device cpu".to_owned(),
                _ => format!("there is no GPU {ordinal}: the driver sees {count}, numbered from 0"),
            };
            return Err(Error::device(DeviceFault::Absent, message));
        }
        let context = CudaContext::new(ordinal).map_err(no_gpu)?;
        // SAFETY: everything of ours runs on one stream, so nothing needs cudarc's events between streams.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(no_gpu)?;
        let name = context.name().map_err(no_gpu)?;
        let (major, minor) = context.compute_capability().map_err(no_gpu)?;
        let architecture = Architecture { number: (10 * major + minor) as u32 };
        if architecture < Architecture::OLDEST {
            let oldest = Architecture::OLDEST;
            let message =
                format!("{name} is {architecture}, kernels need {oldest} (Turing) or newer; use --device cpu");
            return Err(Error::device(DeviceFault::WrongArchitecture, message));
        }
        use sys::CUdevice_attribute_enum as Attribute;
        let attribute = |which| context.attribute(which).map(|value| value.max(0) as u32).map_err(no_gpu);
        let target = Target {
            architecture,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            precision,
        };
        Ok(Self {
            context,
            stream,
            ordinal,
            name,
            driver,
            target,
            compiler: Compiler::new(architecture, sources, cache, ahead).for_driver(driver),
            modules: Mutex::default(),
            fault: OnceLock::new(),
            recent: Mutex::default(),
            guarded: false,
        })
    }

    /// With `true`, executors run step by step, fill outputs and scratch with NaN before each, and look for writes over their
    /// ends after it. Slow: for tests, and for finding out where a run goes wrong.
    pub fn guarded(mut self, guarded: bool) -> Self {
        self.guarded = guarded;
        self
    }

    /// With work cut as for so many multiprocessors: variants for large work are then taken for small work, which is how they are
    /// checked.
    pub fn cut_for(mut self, multiprocessors: u32) -> Self {
        self.target = self.target.cut_for(multiprocessors);
        self
    }

    /// Bytes kept free behind every place in memory.
    pub(crate) fn guard_bytes(&self) -> usize {
        if self.guarded { 256 } else { 0 }
    }

    /// Whether kernels can be had, made ahead of time or by a compiler; else why not.
    pub fn can_compile(&self) -> Result<()> {
        self.compiler.usable()
    }

    /// What kernels are chosen for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The stream that everything goes through.
    pub(crate) fn queue(&self) -> Queue {
        Queue(self.stream.cu_stream())
    }

    /// One line for logs: name, architecture, memory, driver, precision.
    pub fn describe(&self) -> String {
        let memory = self.context.total_mem().unwrap_or(0) as f64 / (1u64 << 30) as f64;
        let (ordinal, architecture, driver) = (self.ordinal, self.target.architecture, probe::dotted(self.driver));
        let (asked, precision) = (self.target.precision, self.target.effective_precision());
        let precision = match asked == precision {
            true => precision.to_string(),
            false => format!("{precision} ({asked} needs sm_80)"),
        };
        format!(
            "cuda:{ordinal} ({}, {architecture}, {memory:.1} GiB, driver for CUDA {driver}, {precision})",
            self.name
        )
    }

    /// Bytes of device memory that are free.
    pub fn free_bytes(&self) -> Result<usize> {
        self.usable()?;
        result::mem_get_info().map(|(free, _)| free).map_err(|error| self.failed("asking for free memory", error))
    }

    /// Makes the context current; returns the first fault if there was one.
    pub(super) fn usable(&self) -> Result<()> {
        if let Some(first) = self.fault.get() {
            let message = format!("{} cannot be used any more; the first fault was: {first}", self.name);
            return Err(Error::device(DeviceFault::Lost, message));
        }
        self.context.bind_to_thread().map_err(|error| self.failed("making the context current", error))
    }

    /// Waits until the stream has done everything.
    pub fn synchronize(&self) -> Result<()> {
        self.usable()?;
        // SAFETY: the stream is ours.
        let done = unsafe { result::stream::synchronize(self.queue().0) };
        done.map_err(|error| self.failed("waiting for the device", error))
    }

    /// A point of the stream whose time can be asked for.
    pub(crate) fn mark(&self) -> Result<CudaEvent> {
        self.usable()?;
        let event = self.context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT));
        let event = event.map_err(|error| self.failed("making an event", error))?;
        event.record(&self.stream).map_err(|error| self.failed("recording an event", error))?;
        Ok(event)
    }

    /// Time from one mark to a later one; waits for it.
    pub(crate) fn between(&self, first: &CudaEvent, second: &CudaEvent) -> Result<Duration> {
        let ms = first.elapsed_ms(second).map_err(|error| self.failed("asking for a time", error))?;
        Ok(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }

    /// Sets device memory, in stream order.
    pub(super) fn fill(&self, queue: Queue, address: u64, bytes: usize, byte: u8) -> Result<()> {
        self.usable()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller gives a range of a buffer of its own.
        let done = unsafe { result::memset_d8_async(address, byte, bytes, queue.0) };
        done.map_err(|error| self.failed("filling device memory", error))
    }

    /// Copies device memory, in stream order.
    pub(crate) fn copy(&self, queue: Queue, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.usable()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller gives ranges of buffers of its own.
        let done = unsafe { result::memcpy_dtod_async(to, from, bytes, queue.0) };
        done.map_err(|error| self.failed("copying device memory", error))
    }

    /// The function of a kernel, its module compiled and loaded if it is not yet.
    pub(super) fn function(&self, module: &Module, kernel: &str) -> Result<sys::CUfunction> {
        let loaded = self.load(module)?;
        let name = CString::new(kernel).map_err(|_| Error::graph("a kernel's name has a zero byte inside"))?;
        // SAFETY: modules stay loaded as long as this device lives.
        unsafe { result::module::get_function(loaded.handle, name) }.map_err(|error| {
            let message = format!("kernels/{}.cu has no kernel '{kernel}' ({error})", module.source);
            Error::device(DeviceFault::KernelText, message)
        })
    }

    /// Compiles (or takes from the cache) and loads a module.
    pub(super) fn load(&self, module: &Module) -> Result<Arc<LoadedModule>> {
        self.usable()?;
        let mut modules = self.modules.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(loaded) = modules.get(module) {
            return Ok(loaded.clone());
        }
        let cubin = self.compiler.compile(module)?;
        // SAFETY: a whole cubin, as the compiler or the checked cache gave it.
        let hand_over = |cubin: &Cubin| unsafe { result::module::load_data(cubin.image.as_ptr().cast()) };
        let mut handle = hand_over(&cubin);
        // One that was kept may be from another driver's days; one just made is what there is.
        if cubin.found
            && handle.as_ref().is_err_and(|error| is_about_image(error.0))
            && let Ok(made) = self.compiler.compile_anew(module)
        {
            handle = hand_over(&made);
        }
        let handle = handle.map_err(|error| {
            let message = format!(
                "the driver refuses kernels/{}.cu as compiled for {}: {}",
                module.source,
                self.target.architecture,
                advice(error)
            );
            Error::device(DeviceFault::WrongArchitecture, message)
        })?;
        let loaded = Arc::new(LoadedModule { handle });
        modules.insert(module.clone(), loaded.clone());
        Ok(loaded)
    }

    /// Records everything that `enqueue` puts on the stream it is given as a graph, instead of running it. The stream is made for
    /// this: on the device's own, what other threads put there meanwhile would be recorded too.
    pub(crate) fn capture(&self, enqueue: impl FnOnce(Queue) -> Result<()>) -> Result<Option<CudaGraph>> {
        self.usable()?;
        let recorder = self.context.new_stream().map_err(|error| self.failed("making a stream", error))?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        recorder.begin_capture(mode).map_err(|error| self.failed("starting the capture of a plan", error))?;
        let enqueued = enqueue(Queue(recorder.cu_stream()));
        let graph = recorder.end_capture(sys::CUgraphInstantiate_flags(0));
        enqueued?;
        graph.map_err(|error| self.failed("ending the capture of a plan", error))
    }

    /// Replays a captured graph on the device's own stream.
    pub(crate) fn replay(&self, graph: &CudaGraph) -> Result<()> {
        self.usable()?;
        self.remember(&"replay of a captured plan".into());
        // SAFETY: graph and stream are of this context.
        let done = unsafe { result::graph::launch(graph.cu_graph_exec(), self.queue().0) };
        done.map_err(|error| self.failed("replaying a captured plan", error))
    }

    /// Remembers a launch, to be named if the device fails.
    pub(super) fn remember(&self, launch: &Arc<str>) {
        let mut recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(launch.clone());
    }

    /// The error for a failed call. A fault that the driver does not recover from marks the device.
    pub(super) fn failed(&self, doing: &str, error: DriverError) -> Error {
        let message = format!("{}: {doing} failed: {}", self.name, advice(error));
        if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Error::device(DeviceFault::OutOfMemory, message);
        }
        if !is_sticky(error.0) {
            return Error::device(DeviceFault::Refused, message);
        }
        let recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let launches = recent.iter().rev().map(|launch| &**launch).collect::<Vec<_>>().join(" <- ");
        let message = match launches.is_empty() {
            true => message,
            false => format!("{message}; last launches, newest first: {launches}"),
        };
        let message = format!("{message}. Start the program anew; what was saved is untouched");
        let _ = self.fault.set(message.clone());
        Error::device(DeviceFault::Lost, message)
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cuda({})", self.describe())
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let modules = self.modules.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        if self.fault.get().is_none() && self.context.bind_to_thread().is_ok() {
            for (_, module) in modules.drain() {
                // SAFETY: nothing runs any more: executors hold the device.
                let _ = unsafe { result::module::unload(module.handle) };
            }
        }
    }
}

/// The error for a driver that opens no GPU.
fn no_gpu(error: DriverError) -> Error {
    use sys::CUresult::{CUDA_ERROR_NO_DEVICE, CUDA_ERROR_OUT_OF_MEMORY};
    let fault = match error.0 {
        CUDA_ERROR_OUT_OF_MEMORY => DeviceFault::OutOfMemory,
        _ => DeviceFault::Absent,
    };
    let message = match error.0 {
        CUDA_ERROR_NO_DEVICE => {
            "the driver sees no GPU; check the GPU and its permissions, or use --device cpu".to_owned()
        }
        _ => format!("the GPU cannot be opened: {}; or use --device cpu", advice(error)),
    };
    Error::device(fault, message)
}

/// Faults after which a context gives nothing but errors.
fn is_sticky(status: sys::CUresult) -> bool {
    use sys::CUresult as R;
    matches!(
        status,
        R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_LAUNCH_FAILED
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | R::CUDA_ERROR_EXTERNAL_DEVICE
            | R::CUDA_ERROR_CONTAINED
            | R::CUDA_ERROR_UNKNOWN
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | R::CUDA_ERROR_DEVICE_UNAVAILABLE
    )
}

/// Refusals of a compiled kernel as such.
fn is_about_image(status: sys::CUresult) -> bool {
    use sys::CUresult as R;
    matches!(
        status,
        R::CUDA_ERROR_INVALID_IMAGE | R::CUDA_ERROR_NO_BINARY_FOR_GPU | R::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    )
}

/// The driver's own words, and what to do.
fn advice(error: DriverError) -> String {
    use sys::CUresult as R;
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|_| "unknown".into());
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    let remedy = match error.0 {
        R::CUDA_ERROR_NO_BINARY_FOR_GPU => ": compiled for another GPU; remove the folder of compiled kernels",
        R::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => ": the compiler is newer than the driver; update the driver",
        R::CUDA_ERROR_INVALID_IMAGE => {
            ": the compiled kernel is damaged, or its compiler is newer than the driver; remove the folder of compiled \
             kernels or update the driver"
        }
        R::CUDA_ERROR_OUT_OF_MEMORY => ": close other programs on this GPU or take a smaller batch",
        R::CUDA_ERROR_ILLEGAL_ADDRESS | R::CUDA_ERROR_LAUNCH_FAILED => {
            ": a kernel went wrong; run `compute-sanitizer` on the same command to find where"
        }
        _ => "",
    };
    format!("{name} ({text}){remedy}")
}
