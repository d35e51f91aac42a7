//! Finds out whether a device computes what it should: every op against plain loops, the primitives against the manuals, both
//! networks against the processor.

mod catalogue;
mod networks;
mod primitives;
mod suite;

use std::time::Instant;

pub use catalogue::catalogue;
pub use networks::{Allowance, train_as_processor};
pub use primitives::{Primitive, PrimitiveProblem};
pub use suite::{Family, families};

use crate::device::Device;
use crate::ops::problem::Setting;

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

/// Tries a device; `done` hears of every part when it is finished.
pub fn run(device: &Device, options: &Options, mut done: impl FnMut(&Outcome)) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut note = |outcome: Outcome| {
        done(&outcome);
        outcomes.push(outcome);
    };
    let chosen = |name: &str| name.contains(&options.filter);
    for family in families().into_iter().filter(|family| chosen(family.name)) {
        let settings = [Setting::of(device.clone())];
        let begin = Instant::now();
        let check = |seed| family.check(seed, &settings).err().map(|error| error.to_string());
        let failures = (options.seed..options.seed + options.problems).filter_map(check).collect();
        let (name, problems) = (family.name.to_owned(), options.problems as usize);
        note(Outcome { name, problems, failures, seconds: begin.elapsed().as_secs_f64() });
    }
    if options.networks {
        for (name, check) in networks::CHECKS.into_iter().filter(|(name, _)| chosen(name)) {
            let begin = Instant::now();
            let failures = check(device, options.seed).err().map(|error| error.to_string()).into_iter().collect();
            note(Outcome { name: name.to_owned(), problems: 1, failures, seconds: begin.elapsed().as_secs_f64() });
        }
    }
    outcomes
}
