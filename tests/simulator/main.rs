//! The simulator against its specification: distributions, shares, levels, addresses, errors.
//!
//! Statistical bounds are 4 to 5 standard errors wide, and the seeds are fixed.

mod dataset;
mod firing;
mod hard;
mod noise;
mod random_numbers;
mod units;

use sarcomere::muscle::{SimulatedRecording, Simulator, SimulatorConfig, Split, Truth};

const SEED: u64 = 20_200_611;

fn simulator(config: SimulatorConfig) -> Simulator {
    Simulator::new(config).expect("a usable config")
}

/// Truths of `n` training recordings; one frame is rendered, so that thousands are cheap. Firings stay those of the warm-up.
fn truths(mut config: SimulatorConfig, n: u32) -> Vec<Truth> {
    config.grid.frames = 1;
    let simulator = simulator(config);
    (0..n).map(|index| simulator.simulate(Split::Train, index, SEED).truth).collect()
}

/// Kolmogorov and Smirnov: how far the samples are from a uniform distribution on [0, 1], times sqrt(n). Above 1.95 once in
/// a thousand times.
fn distance_from_uniform(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len() as f64;
    let gaps = samples.iter().enumerate().map(|(k, x)| (x - k as f64 / n).abs().max(((k + 1) as f64 / n - x).abs()));
    gaps.fold(0.0, f64::max) * n.sqrt()
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0usize);
    values.into_iter().for_each(|value| (sum, n) = (sum + value, n + 1));
    sum / n as f64
}

fn mean_square(values: &[f32]) -> f64 {
    mean(values.iter().map(|v| f64::from(*v).powi(2)))
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let (ma, mb) = (mean(a.iter().map(|v| f64::from(*v))), mean(b.iter().map(|v| f64::from(*v))));
    let centred = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - ma, f64::from(*y) - mb));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    centred.for_each(|(x, y)| (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y));
    xy / (xx * yy).sqrt()
}

/// The course of one pixel.
fn pixel(recording: &SimulatedRecording, y: usize, x: usize) -> Vec<f32> {
    recording.velocity.iter().skip(y * 64 + x).step_by(64 * 64).copied().collect()
}

fn all_firings(truth: &Truth, unit: usize) -> Vec<f32> {
    let unit = &truth.units[unit];
    unit.earlier_firings_s.iter().chain(&unit.firings_s).copied().collect()
}
