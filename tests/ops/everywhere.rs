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

    use crate::emulator::{DeviceDescription, Emulator};

    /// The orders in which threads and blocks are run in plain builds.
    const SCHEDULES: u32 = 8;

    /// A GPU with neither asynchronous copies nor tensor cores for bf16 and tf32: how others do without is tried on it.
    const OLDEST: DeviceDescription =
        DeviceDescription { count: 1, major: 7, minor: 5, driver: 13_000, multiprocessors: 72, memory_bytes: 4 << 30 };

    thread_local! {
        /// Devices of this thread: two for each precision, of which one watches what is written, and one of the oldest architecture.
        static DEVICES: Option<Devices> = Emulator::get().map(Devices::new);
    }

    #[derive(Clone)]
    struct Devices {
        emulator: &'static Emulator,
        plain: Vec<Device>,
        checked: Vec<Device>,
        /// As `checked`, with work cut as for a single multiprocessor: variants for large work.
        small: Vec<Device>,
        oldest: Device,
    }

    impl Devices {
        fn new(emulator: &'static Emulator) -> Self {
            let cut = |precision, guarded, multiprocessors: Option<u32>| {
                let sources = Sources::from_environment().expect("SARCOMERE_KERNELS names a folder, if it is set");
                let opened = Cuda::with(0, precision, sources, KernelCache::disabled(), Bundle::empty());
                let opened = opened.unwrap_or_else(|error| panic!("the emulated GPU cannot be opened: {error}"));
                let opened = opened.guarded(guarded);
                Device::Cuda(Arc::new(match multiprocessors {
                    Some(number) => opened.cut_for(number),
                    None => opened,
                }))
            };
            let open = |precision, guarded| cut(precision, guarded, None);
            let all = |guarded| Precision::ALL.into_iter().map(|precision| open(precision, guarded)).collect();
            let (plain, checked) = (all(false), all(true));
            let small = Precision::ALL.into_iter().map(|precision| cut(precision, true, Some(1))).collect();
            emulator.device(&OLDEST);
            let oldest = open(Precision::F32, true);
            emulator.device(&DeviceDescription::default());
            Self { emulator, plain, checked, small, oldest }
        }
    }

    /// In full precision every schedule for one problem in eight and one schedule for the others; the other precisions in one
    /// schedule each, bf16 also with values kept so; and runs under checks: in full precision, in each of the others for one problem
    /// in four, and for one in eight each on the oldest architecture, which has neither tensor cores for these nor asynchronous
    /// copies, with work cut for a small GPU in each precision, and with values kept as bf16.
    pub fn settings(seed: u64) -> Vec<Setting<'static>> {
        let Some(Devices { emulator, plain, checked, small, oldest }) = DEVICES.with(Clone::clone) else {
            return Vec::new();
        };
        let prepare = move |schedule: u32, checks: bool, description: DeviceDescription| {
            move || {
                emulator.device(&description);
                emulator.seed(schedule);
                emulator.checks(checks);
            }
        };
        let usual = DeviceDescription::default();
        let own = seed as u32 % SCHEDULES;
        let schedules =
            (0..SCHEDULES).filter(|schedule| own == 0 || *schedule == own).map(|schedule| (&plain[0], schedule));
        let in_schedule = |(device, schedule): (&Device, u32)| {
            Setting::of(device.clone()).prepared(format!("schedule {schedule}"), prepare(schedule, false, usual))
        };
        let mut settings: Vec<_> = schedules.chain(plain[1..].iter().zip([own, own + 1])).map(in_schedule).collect();
        let narrow = Setting::of(plain[2].clone()).narrow();
        settings.push(narrow.prepared(format!("schedule {own}"), prepare(own, false, usual)));
        let mut under_checks = vec![(checked[0].clone(), usual)];
        // What problems are made of goes by seeds in dozens: each kind gets every turn.
        let turn = seed + seed / 12;
        if let which @ 1..=2 = turn as usize % 4 {
            under_checks.push((checked[which].clone(), usual));
        }
        match turn % 8 {
            5 => under_checks.push((oldest, OLDEST)),
            which @ (0 | 3 | 7) => under_checks.push((small[which as usize / 3].clone(), usual)),
            6 => settings.push({
                let narrow = Setting::of(checked[2].clone()).narrow();
                narrow.prepared("under checks".to_owned(), prepare(seed as u32, true, usual))
            }),
            _ => {}
        }
        settings.extend(under_checks.into_iter().map(|(device, description)| {
            Setting::of(device).prepared("under checks".to_owned(), prepare(seed as u32, true, description))
        }));
        settings
    }

    /// An error with what the emulator found.
    pub fn explain(error: Error) -> Error {
        let report = Emulator::get().map(Emulator::report).unwrap_or_default();
        if report.is_empty() { error } else { Error::graph(format!("{error}\n{report}")) }
    }
}
