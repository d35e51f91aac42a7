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

/// Losses of the first steps. The device may differ from the processor by twice as much as two instruction sets of it, which
/// round in another order, and by what the precision policy's rounding explains.
fn trains<T: Task>(device: &Device, make: impl Fn(&Device) -> Result<T>) -> Result<()> {
    let processor = |isa| Device::Cpu(Arc::new(Cpu::with(Cpu::new().threads(), isa)));
    let expected = steps(&mut make(&processor(Isa::detect()))?)?;
    let honest = steps(&mut make(&processor(Isa::Portable))?)?;
    let found = steps(&mut make(device)?)?;
    // Unit roundoff of the policy, times the depth through which errors add up at random.
    let rounding = f64::from(device.precision().round(1.0 + f32::EPSILON) != 1.0 + f32::EPSILON) * 0.02;
    for (step, ((found, expected), honest)) in found.iter().zip(&expected).zip(&honest).enumerate() {
        for (((name, found), (_, expected)), (_, honest)) in found.iter().zip(expected).zip(honest) {
            let scale = expected.abs().max(1e-3);
            let bound = 2.0 * (expected - honest).abs() + (2e-5 + rounding) * scale * (step + 1) as f64;
            if !((found - expected).abs() <= bound) {
                return Err(Error::graph(format!(
                    "step {step}: {name} is {found:e}, the processor has {expected:e}, bound {bound:e}"
                )));
            }
        }
    }
    Ok(())
}

fn train_detector(device: &Device, seed: u64) -> Result<()> {
    trains(device, |device| detector(device, seed))
}

fn train_twitch(device: &Device, seed: u64) -> Result<()> {
    trains(device, |device| twitch(device, seed))
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
