//! Motion that is not the MUs': slow drift of the tissue and the pulse of an artery.

use std::f32::consts::TAU;

use super::config::{Background, Grid};
use super::draw::{Draw, Quantity};
use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;
use crate::ops::random::approx::exp;
use crate::ops::random::philox::Stream;
use crate::ops::random::wide::sin_cos;

/// Independent parts of the drift.
const DRIFT_MODES: usize = 3;
/// Harmonics of the pulse; the n-th has 1 / n of the first one's amplitude.
const PULSE_HARMONICS: usize = 4;

/// A course in time multiplied by an image.
pub(super) struct Mode {
    time: Vec<f32>,
    image: Vec<f32>,
}

/// The modes of one recording; `reference` is the root mean square of the MUs' motion inside territories.
pub(super) fn modes(config: &Background, grid: &Grid, draw: &Draw, reference: f32) -> Vec<Mode> {
    let mut modes = Vec::new();
    if config.drift_level > 0.0 {
        let mut stream = draw.recording(Quantity::Drift);
        let level = config.drift_level * reference / (DRIFT_MODES as f32).sqrt();
        modes.extend((0..DRIFT_MODES).map(|_| drift_mode(config, grid, &mut stream, level)));
    }
    if config.pulse_level > 0.0 {
        let mut stream = draw.recording(Quantity::Pulse);
        modes.push(pulse_mode(config, grid, &mut stream, config.pulse_level * reference));
    }
    modes
}

/// A sinusoid in time times a plane wave over one to four field widths, of root mean square `level`.
fn drift_mode(config: &Background, grid: &Grid, stream: &mut Stream, level: f32) -> Mode {
    let hz = config.drift_hz.at(stream.uniform());
    let phase = TAU * stream.uniform();
    let field = grid.height.max(grid.width) as f32;
    let wave = TAU / (field * (1.0 + 3.0 * stream.uniform()));
    let (sin, cos) = sin_cos(TAU * stream.uniform());
    let offset = TAU * stream.uniform();
    let mut time = course(grid, |t| sin_cos(TAU * hz * t + phase).0);
    let mut image = picture(grid, |y, x| sin_cos(wave * (y * sin + x * cos) + offset).1);
    normalise(&mut time, level);
    normalise(&mut image, 1.0);
    Mode { time, image }
}

/// A periodic beat times a Gaussian patch of height 1 round the artery; of root mean square `level` at its centre.
fn pulse_mode(config: &Background, grid: &Grid, stream: &mut Stream, level: f32) -> Mode {
    let hz = config.pulse_hz.at(stream.uniform());
    let phase = stream.uniform();
    let radius = config.pulse_radius_mm.at(stream.uniform()) / grid.mm_per_pixel;
    let (centre_y, centre_x) = (grid.height as f32 * stream.uniform(), grid.width as f32 * stream.uniform());
    let mut time = course(grid, |t| {
        (1..=PULSE_HARMONICS).map(|n| n as f32).map(|n| sin_cos(TAU * n * (hz * t + phase)).1 / n).sum()
    });
    let image = picture(grid, |y, x| {
        let (dy, dx) = ((y + 0.5 - centre_y) / radius, (x + 0.5 - centre_x) / radius);
        exp(-0.5 * (dy * dy + dx * dx))
    });
    normalise(&mut time, level);
    Mode { time, image }
}

fn course(grid: &Grid, value: impl Fn(f32) -> f32) -> Vec<f32> {
    (0..grid.frames).map(|t| value(t as f32 / grid.fs_hz)).collect()
}

fn picture(grid: &Grid, value: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let value = &value;
    (0..grid.height).flat_map(|y| (0..grid.width).map(move |x| value(y as f32, x as f32))).collect()
}

/// Scales to a root mean square of `level`.
fn normalise(values: &mut [f32], level: f32) {
    let mean_square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
    let scale = level / mean_square.sqrt().max(1e-12);
    values.iter_mut().for_each(|v| *v *= scale);
}

/// Adds all modes to `velocity`.
pub(super) fn add(isa: Isa, modes: &[Mode], pixels: usize, velocity: &mut [f32]) {
    if modes.is_empty() {
        return;
    }
    for (t, frame) in velocity.chunks_exact_mut(pixels).enumerate() {
        add_frame(isa, modes, t, frame);
    }
}

per_isa! {
    fn add_frame[](modes: &[Mode], t: usize, frame: &mut [f32]) {
        for mode in modes {
            let factor = mode.time[t];
            frame.iter_mut().zip(&mode.image).for_each(|(value, weight)| *value += factor * weight);
        }
    }
}
