//! The twitch: tissue displacement after one firing, and its velocity.
//!
//! Displacement D(t) = A (t / Tc)^m exp(m (1 - t / Tc)), t from the onset: it peaks at A when t = Tc and has fallen to A / 2
//! when t = Th, with m = ln 2 / (ln(Tc / Th) + Th / Tc - 1). Velocity V = dD/dt = (A m / Tc) (Tc / t - 1) (D / A): a
//! positive lobe until Tc, a lower and longer negative one after it, no net area. An analytic stand-in for the waveform that
//! the paper measured by electro-stimulation.

use serde::{Deserialize, Serialize};

use super::config::Twitch;
use super::draw::{Draw, Quantity};
use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;
use crate::ops::random::approx::{exp, ln};
use crate::ops::random::wide::ln as ln_wide;

/// Twitches end this many contraction times after their onset; D is below 1e-5 of its peak from about 7 on.
const SUPPORT: f32 = 10.0;

/// The twitch of one MU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waveform {
    /// Tc, from onset to the peak of the displacement.
    pub contraction_s: f32,
    /// Th, from onset to the instant when half of the displacement is left.
    pub half_relaxation_s: f32,
    /// From firing to onset.
    pub lead_s: f32,
    /// Peak displacement A.
    pub amplitude_mm: f32,
}

impl Waveform {
    pub(super) fn draw(config: &Twitch, draw: &Draw, unit: usize) -> Self {
        let mut times = draw.unit(Quantity::Times, unit);
        let contraction_s = 1e-3 * config.contraction_ms.at(times.uniform());
        let half_relaxation_s = contraction_s * config.half_relaxation_ratio.at(times.uniform());
        let lead_s = 1e-3 * config.lead_ms.at(times.uniform());
        let amplitude_mm = 1e-3 * config.amplitude_um.log_at(draw.unit(Quantity::Amplitude, unit).uniform());
        Self { contraction_s, half_relaxation_s, lead_s, amplitude_mm }
    }

    /// The exponent m.
    pub fn exponent(&self) -> f32 {
        let ratio = f64::from(self.half_relaxation_s) / f64::from(self.contraction_s);
        (std::f64::consts::LN_2 / (ratio - 1.0 - ln_wide(ratio))) as f32
    }

    /// Velocity in mm/s `t_s` seconds after the firing.
    pub fn velocity_mm_s(&self, t_s: f32) -> f32 {
        let m = self.exponent();
        let x = (t_s - self.lead_s) / self.contraction_s;
        if x <= 0.0 { 0.0 } else { self.amplitude_mm / self.contraction_s * shape(x, m) }
    }

    /// Adds the velocity after a firing at `firing_s` to samples at `(k - before) / fs_hz` seconds. `amplitude` and `duration`
    /// scale this firing's A, and Tc with Th.
    pub(super) fn add(&self, isa: Isa, train: &mut [f32], before: usize, fs_hz: f32, firing: Scaled) {
        let m = self.exponent();
        let contraction = self.contraction_s * firing.duration;
        let scale = self.amplitude_mm * firing.amplitude / contraction;
        // In samples of `train`.
        let onset = (firing.instant_s + self.lead_s) * fs_hz + before as f32;
        let length = contraction * fs_hz;
        let first = (onset.floor() + 1.0).max(0.0) as usize;
        let end = ((onset + SUPPORT * length).ceil().max(0.0) as usize).min(train.len());
        if first >= end {
            return;
        }
        add_shape(isa, &mut train[first..end], first as f32 - onset, length, m, scale);
    }
}

per_isa! {
    /// Sample `k` gets `scale * shape((first + k) / length)`.
    fn add_shape[](samples: &mut [f32], first: f32, length: f32, m: f32, scale: f32) {
        for (k, sample) in samples.iter_mut().enumerate() {
            *sample += scale * shape((k as i32 as f32 + first) / length, m);
        }
    }
}

/// One firing: when, and its own factors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled {
    pub instant_s: f32,
    pub amplitude: f32,
    pub duration: f32,
}

/// (1 / x - 1) m x^m exp(m (1 - x)): velocity for A = Tc = 1, x > 0.
#[inline(always)]
fn shape(x: f32, m: f32) -> f32 {
    let x = if x < 1e-6 { 1e-6 } else { x };
    m * (1.0 / x - 1.0) * exp(m * (ln(x) + 1.0 - x))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAVEFORM: Waveform =
        Waveform { contraction_s: 0.060, half_relaxation_s: 0.100, lead_s: 0.005, amplitude_mm: 0.020 };

    /// Displacement by summing velocity in fine steps: it peaks at Tc, is half at Th, and nothing is left at the end.
    #[test]
    fn the_displacement_has_its_peak_half_and_end_where_the_formula_says() {
        let step = 1e-5f64;
        let mut displacement = vec![0f64];
        for k in 0..80_000 {
            let v = WAVEFORM.velocity_mm_s(((f64::from(k) + 0.5) * step) as f32);
            displacement.push(displacement[displacement.len() - 1] + f64::from(v) * step);
        }
        let at = |t: f64| displacement[(t / step).round() as usize];
        let peak = displacement.iter().copied().fold(0.0, f64::max);
        assert!((peak - 0.020).abs() < 1e-6 && (at(0.065) - peak).abs() < 1e-7, "{peak}");
        assert!((at(0.105) - 0.010).abs() < 2e-6, "{}", at(0.105));
        assert_eq!(at(0.004), 0.0);
        assert!(at(0.8).abs() < 1e-6, "{}", at(0.8));
        assert!((WAVEFORM.exponent() - 4.45).abs() < 0.01);
    }

    #[test]
    fn adding_a_twitch_samples_it() {
        let mut train = vec![0f32; 300];
        WAVEFORM.add(Isa::detect(), &mut train, 20, 400.0, Scaled { instant_s: 0.013, amplitude: 1.0, duration: 1.0 });
        for (k, found) in train.iter().enumerate() {
            let expected = WAVEFORM.velocity_mm_s((k as f32 - 20.0) / 400.0 - 0.013);
            assert!((found - expected).abs() < 1e-4, "{k}: {found} {expected}");
        }
    }
}
