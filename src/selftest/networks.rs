//! Both `lite` networks on a device against the processor: units found, losses of training steps, and the same bits from
//! replayed and from single launches.

use std::sync::Arc;

use crate::device::cpu::Isa;
use crate::device::{Cpu, Device};
use crate::identify::{Identifier, Recording};
use crate::muscle::{Noise, Simulator, SimulatorConfig, Split};
use crate::train::{DetectorRun, DetectorTask, Figures, Task, TwitchRun, TwitchTask};
use crate::{Error, Result};

/// A check of a device; the number is a seed.
type Check = fn(&Device, u64) -> Result<()>;

/// Name and body of every check.
pub(super) const CHECKS: [(&str, Check); 5] = [
    ("identify_lite", identify),
    ("train_detector_lite", train_detector),
    ("train_twitch_lite", train_twitch),
    ("replay_detector_lite", replay_detector),
    ("replay_twitch_lite", replay_twitch),
];

const STEPS: u64 = 3;

fn detector(device: &Device, seed: u64) -> Result<DetectorTask> {
    DetectorTask::new(device, DetectorRun { batch: 2, seed, ..DetectorRun::lite(100) })
}

fn twitch(device: &Device, seed: u64) -> Result<TwitchTask> {
    TwitchTask::new(device, TwitchRun { batch: 1, detected_share: 0.0, seed, ..TwitchRun::lite(100) }, None)
}

/// The units of a recording: as many, with the same territories up to single pixels, and nearly the same signals.
fn identify(device: &Device, seed: u64) -> Result<()> {
    let config = SimulatorConfig::paper().with_units(12).with_noise(Noise::Snr { db: 20.0 });
    let grid = config.grid;
    let truth = Simulator::new(config)?.simulate(Split::Test, 0, seed);
    let shape = [grid.frames, grid.height, grid.width];
    let recording = Recording::new("selftest", truth.velocity, shape, grid.fs_hz.into())?;
    let expected = Identifier::new(&Device::cpu())?.identify(&recording)?;
    let found = Identifier::new(device)?.identify(&recording)?;
    if found.units.len() != expected.units.len() {
        let (found, expected) = (found.units.len(), expected.units.len());
        return Err(Error::graph(format!("{found} units were found, the processor finds {expected}")));
    }
    for (index, (a, b)) in found.units.iter().zip(&expected.units).enumerate() {
        let different = a.mask.iter().zip(&b.mask).filter(|(a, b)| a != b).count();
        let inside = b.mask.iter().filter(|pixel| **pixel > 0).count();
        if different * 50 > inside {
            let message = format!("unit {index}: {different} pixels differ from the processor's territory of {inside}");
            return Err(Error::graph(message));
        }
        let energy: f32 = b.signal.iter().map(|v| v * v).sum();
        let error: f32 = a.signal.iter().zip(&b.signal).map(|(a, b)| (a - b) * (a - b)).sum();
        if !(error <= 1e-2 * energy) {
            return Err(Error::graph(format!("unit {index}: its signal has error {error:e} in {energy:e}")));
        }
    }
    Ok(())
}

fn steps<T: Task>(task: &mut T) -> Result<Vec<Figures>> {
    (0..STEPS).map(|step| task.step(step)).collect()
}

/// What may differ on another device although nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Share of a loss that another order of sums may change.
    pub loss: f64,
    /// Share of the gradient's norm that a few ReLUs may change whose inputs are zero but for rounding, so that they let a gradient
    /// pass on one device and not on another.
    pub gradient_norm: f64,
    /// Share of any figure that one decision may change which falls otherwise because two numbers are equal but for rounding (a
    /// region proposed or not); this may happen in one step of three. Where operands are rounded, several do in every step, and
    /// together may change four times as much (7.6e-2 of the box part was seen).
    pub decision: f64,
}

impl Allowance {
    /// Losses: about a hundred roundings (some ten were seen). Gradients: ten times the share of a single ReLU (2e-5 was seen).
    pub const ROUNDING: Self = Self { loss: 1e-5, gradient_norm: 2e-4, decision: 0.0 };
    /// Singular vectors of nearly equal singular values turn into each other: the signals made of them differed by 2e-3, the
    /// loss by 7e-5 of itself.
    pub const SINGULAR_VECTORS: Self = Self { loss: 7e-4, gradient_norm: 7e-3, decision: 0.0 };
    /// As `ROUNDING`, where hundreds of boxes are ranked and suppressed (3e-4 of the loss and 1e-2 of its box part were seen).
    pub const RANKING: Self = Self { decision: 0.05, ..Self::ROUNDING };
}

/// Trains `steps` steps on a device and on the processor; each step starts from the processor's variables, so that what differs
/// is the rounding of one step. The processor rounds honestly in as many ways as it has instruction sets: a figure may differ from
/// the best one's by four times as much as these do among themselves, by the `allowance`, and by what the precision policy's
/// rounding explains. An error names the figure.
pub fn train_as_processor<T: Task>(
    device: &Device,
    steps: u64,
    allowance: Allowance,
    make: impl Fn(&Device) -> Result<T>,
) -> Result<()> {
    let processor = |isa| make(&Device::Cpu(Arc::new(Cpu::with(Cpu::new().threads(), isa))));
    let mut honest: Vec<T> = Isa::available().into_iter().map(processor).collect::<Result<_>>()?;
    let mut best = honest.pop().ok_or_else(|| Error::graph("the processor has no instruction set"))?;
    let mut tried = make(device)?;
    // Unit roundoff of the policy, times the depth through which errors add up at random.
    let rounding = f64::from(device.precision().round(1.0 + f32::EPSILON) != 1.0 + f32::EPSILON) * 0.02;
    let mut decisions = 0;
    for step in 0..steps {
        for task in honest.iter_mut().chain([&mut tried]) {
            let source = best.training().executor();
            task.training_mut().executor_mut().copy_variables_from(source)?;
        }
        let expected = best.step(step)?;
        let others: Vec<Figures> = honest.iter_mut().map(|task| task.step(step)).collect::<Result<_>>()?;
        let found = tried.step(step)?;
        let within = |share: &dyn Fn(&str) -> f64| {
            found.iter().zip(&expected).enumerate().try_for_each(|(i, ((name, found), (_, expected)))| {
                let spread = others.iter().map(|figures| (figures[i].1 - expected).abs()).fold(0.0, f64::max);
                let bound = 4.0 * spread + (share(name) + rounding) * expected.abs().max(1e-3);
                let message =
                    format!("step {step}: {name} is {found:e}, the processor has {expected:e}, bound {bound:e}");
                if (found - expected).abs() <= bound { Ok(()) } else { Err(Error::graph(message)) }
            })
        };
        let close = within(&|name| if name == "gradient_norm" { allowance.gradient_norm } else { allowance.loss });
        if let Err(error) = close {
            // Where operands are rounded, some decision falls otherwise in every step.
            decisions += u64::from(rounding == 0.0);
            if allowance.decision == 0.0 || 3 * decisions > steps {
                return Err(error);
            }
            within(&|_| if rounding > 0.0 { 4.0 * allowance.decision } else { allowance.decision })?;
        }
    }
    Ok(())
}

fn train_detector(device: &Device, seed: u64) -> Result<()> {
    train_as_processor(device, STEPS, Allowance::RANKING, |device| detector(device, seed))
}

fn train_twitch(device: &Device, seed: u64) -> Result<()> {
    train_as_processor(device, STEPS, Allowance::SINGULAR_VECTORS, |device| twitch(device, seed))
}

/// The same steps replayed and launch by launch: every variable must have the same bytes.
fn replays<T: Task>(mut replayed: T, mut single: T) -> Result<()> {
    single.training_mut().executor_mut().start_profile();
    steps(&mut replayed)?;
    steps(&mut single)?;
    let (a, b) = (replayed.training().executor(), single.training().executor());
    for (name, _) in a.graph().variables() {
        if a.get(name)?.bytes() != b.get(name)?.bytes() {
            return Err(Error::graph(format!("variable '{name}' has other bits when launches are not replayed")));
        }
    }
    Ok(())
}

fn replay_detector(device: &Device, seed: u64) -> Result<()> {
    replays(detector(device, seed)?, detector(device, seed)?)
}

fn replay_twitch(device: &Device, seed: u64) -> Result<()> {
    replays(twitch(device, seed)?, twitch(device, seed)?)
}
