//! Problems on every executor of the machine: the processor by instruction set and thread count, and a GPU, emulated by the
//! stand-ins for driver and compiler: in several schedules, under checks, and in every precision.

use sarcomere::Result;
use sarcomere::ops::problem::{Problem, Setting, check_on, processors};

/// Every executor; what the emulated ones do depends on the seed.
pub fn settings(seed: u64) -> Vec<Setting<'static>> {
    let processors = processors().into_iter().map(Setting::of);
    #[cfg(feature = "cuda")]
    let all = processors.chain(emulated::settings(seed)).collect();
    #[cfg(not(feature = "cuda"))]
    let all = processors.collect();
    all
}

/// Checks a problem everywhere.
pub fn check_everywhere<P: Problem>(problem: &P, seed: u64) -> Result<()> {
    check_on(problem, seed, &settings(seed)).map_err(explain)
}

#[cfg(feature = "cuda")]
pub use emulated::explain;

#[cfg(not(feature = "cuda"))]
pub fn explain(error: sarcomere::Error) -> sarcomere::Error {
    error
}

#[cfg(feature = "cuda")]
mod emulated {
    use std::sync::Arc;

    use sarcomere::device::cuda::{Bundle, Cuda, KernelCache, Precision, Sources};
    use sarcomere::ops::problem::Setting;
    use sarcomere::{Device, Error};

    use crate::emulator::Emulator;

    /// The orders in which threads and blocks are run in plain builds.
    const SCHEDULES: u32 = 8;

    thread_local! {
        /// Devices of this thread: one for each precision, and one under checks that watches what is written.
        static DEVICES: Option<Devices> = Emulator::get().map(Devices::new);
    }

    #[derive(Clone)]
    struct Devices {
        emulator: &'static Emulator,
        plain: Vec<Device>,
        checked: Device,
    }

    impl Devices {
        fn new(emulator: &'static Emulator) -> Self {
            let open = |precision| {
                let sources = Sources::from_environment().expect("SARCOMERE_KERNELS names a folder, if it is set");
                let opened = Cuda::with(0, precision, sources, KernelCache::disabled(), Bundle::empty());
                opened.unwrap_or_else(|error| panic!("the emulated GPU cannot be opened: {error}"))
            };
            let plain = Precision::ALL.into_iter().map(|precision| Device::Cuda(Arc::new(open(precision)))).collect();
            Self { emulator, plain, checked: Device::Cuda(Arc::new(open(Precision::F32).guarded(true))) }
        }
    }

    /// In full precision every schedule for one problem in eight and one schedule for the others; the other precisions in one
    /// schedule each; and a run under checks.
    pub fn settings(seed: u64) -> Vec<Setting<'static>> {
        let Some(Devices { emulator, plain, checked }) = DEVICES.with(Clone::clone) else { return Vec::new() };
        let prepare = move |schedule: u32, checks: bool| {
            move || {
                emulator.seed(schedule);
                emulator.checks(checks);
            }
        };
        let mut settings = Vec::new();
        let own = seed as u32 % SCHEDULES;
        for schedule in (0..SCHEDULES).filter(|schedule| own == 0 || *schedule == own) {
            settings
                .push(Setting::of(plain[0].clone()).prepared(format!("schedule {schedule}"), prepare(schedule, false)));
        }
        for (device, schedule) in plain[1..].iter().zip([own, own + 1]) {
            settings
                .push(Setting::of(device.clone()).prepared(format!("schedule {schedule}"), prepare(schedule, false)));
        }
        settings.push(Setting::of(checked).prepared("under checks".to_owned(), prepare(seed as u32, true)));
        settings
    }

    /// An error with what the emulator found.
    pub fn explain(error: Error) -> Error {
        let report = Emulator::get().map(Emulator::report).unwrap_or_default();
        if report.is_empty() { error } else { Error::graph(format!("{error}\n{report}")) }
    }
}
