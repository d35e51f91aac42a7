//! Finds out whether a device computes what it should: every op against plain loops, the primitives against the manuals, both
//! networks against the processor.

mod catalogue;
mod networks;
mod primitives;
mod suite;

use std::collections::HashSet;
use std::time::Instant;

pub use catalogue::{Kernels, catalogue, network_kernels, problem_kernels};
pub use networks::{Allowance, train_as_processor};
pub use primitives::{Primitive, PrimitiveProblem};
pub use suite::{Family, families};

use crate::device::Device;
#[cfg(feature = "cuda")]
use crate::device::cuda::Precision;
use crate::ops::problem::Setting;
use crate::{DeviceFault, Error, Result};

/// What came of one part.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Number of problems tried.
    pub problems: usize,
    /// What went wrong, problem by problem.
    pub failures: Vec<String>,
    /// Time it took.
    pub seconds: f64,
}

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// Problems of each family of ops.
    pub problems: u64,
    /// Seed of the first one.
    pub seed: u64,
    /// Whether the networks are run too.
    pub networks: bool,
    /// What the names of parts must hold; empty for all.
    pub filter: String,
}

/// Tries a device; `done` hears of every part when it is finished. Fails at the first sign that nothing will run on it: no
/// kernel compiler, a device that is lost.
pub fn run(device: &Device, options: &Options, mut done: impl FnMut(&Outcome)) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut told = HashSet::new();
    let mut part = |name: &str, problems: u64, check: &dyn Fn(u64) -> Result<()>| {
        if !name.contains(&options.filter) {
            return Ok(());
        }
        let begin = Instant::now();
        let mut failures = Vec::new();
        for seed in options.seed..options.seed + problems {
            match check(seed) {
                Ok(()) => {}
                Err(Error::Device { fault, message }) if fault.is_final() => return Err(Error::device(fault, message)),
                Err(error) => failures.push(tell_once(&error, &mut told)),
            }
        }
        let outcome = Outcome {
            name: name.into(),
            problems: problems as usize,
            failures,
            seconds: begin.elapsed().as_secs_f64(),
        };
        done(&outcome);
        outcomes.push(outcome);
        Ok(())
    };
    let settings = settings(device)?;
    for family in families() {
        part(family.name, options.problems, &|seed| family.check(seed, &settings))?;
    }
    if options.networks {
        for (name, check) in networks::CHECKS {
            part(name, 1, &|seed| check(device, seed))?;
        }
    }
    Ok(outcomes)
}

/// How the ops are tried: as they are; on a GPU also cut for a small one, so that products get the tiles of large ones, and with
/// values kept as bf16 under that policy.
fn settings(device: &Device) -> Result<Vec<Setting<'static>>> {
    let plain = Setting::of(device.clone());
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        let small = Device::Cuda(std::sync::Arc::new(cuda.opened_again()?.cut_for(catalogue::SMALL)));
        let small = Setting::of(small).prepared("cut for a small GPU".to_owned(), || ());
        let bf16 = cuda.target().effective_precision() == Precision::Bf16;
        let narrow = bf16.then(|| Setting::of(device.clone()).narrow());
        return Ok([plain, small].into_iter().chain(narrow).collect());
    }
    Ok(vec![plain])
}

/// An error's words; of a kernel that does not compile, the compiler's own only the first time.
fn tell_once(error: &Error, told: &mut HashSet<String>) -> String {
    let text = error.to_string();
    match error {
        Error::Device { fault: DeviceFault::KernelText, .. } if !told.insert(text.clone()) => {
            format!("{} (as above)", text.lines().next().unwrap_or_default())
        }
        _ => text,
    }
}
