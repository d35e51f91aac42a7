//! From first signals to better ones: slow basis, noise, profiles.

use super::{NoiseWhitening, ProfileUnmix};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Tensor;

/// How signals are refined, see [`Graph::refined_signals`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refinement {
    /// Cosines that signals are made of: of `T` frames at `f` Hz, `n` cosines reach to `n f / (2 T)` Hz.
    pub cosines: usize,
    /// Rounds of alternating least squares.
    pub rounds: usize,
    /// The noise.
    pub noise: NoiseWhitening,
    /// One round.
    pub round: ProfileUnmix,
}

impl Refinement {
    /// With the defaults of the rest.
    pub fn new(cosines: usize, rounds: usize) -> Self {
        Self { cosines, rounds, noise: NoiseWhitening::default(), round: ProfileUnmix::default() }
    }
}

impl Graph {
    /// Signals `[N*U,T,1]` of units, from first ones of the same shape: made of slow cosines (the first of the discrete cosine
    /// transform) by `rounds` of [`ProfileUnmix`], against noise as [`NoiseWhitening`] finds it. For the other arguments see
    /// [`Graph::unmixed_signals`].
    pub fn refined_signals(
        &mut self,
        recordings: Value,
        masks: Value,
        signals: Value,
        counts: Option<Value>,
        refinement: &Refinement,
    ) -> Result<Value> {
        let (rows, shape) = (self.shape(signals)[0], self.shape(recordings).clone());
        let (n, frames, height, width) = (shape[0], shape[1], shape[2], shape[3]);
        let cosines = refinement.cosines.clamp(1, frames.max(1));
        let basis = cosine_basis(frames, cosines);
        let slopes = self.constant(Tensor::new([cosines, cosines], &slopes(&basis, frames, cosines))?);
        let rounded: Vec<f32> = basis.iter().map(|value| *value as f32).collect();
        let each = self.constant(Tensor::new([n, cosines, frames], &rounded.repeat(n))?);
        let basis = self.constant(Tensor::new([cosines, frames], &rounded)?);
        let filters = self.apply(refinement.noise, &[recordings])?;
        let flat = self.reshape(recordings, [n, frames, height * width])?;
        let slow = self.matmul(flat, each, true, true)?;
        let slow = self.reshape(slow, [n, height, width, cosines])?;
        let signals = self.reshape(signals, [rows, frames])?;
        let mut signals = self.matmul(signals, basis, false, true)?;
        for _ in 0..refinement.rounds {
            let inputs = [slow, masks, signals, filters[0], filters[1], slopes];
            let inputs: Vec<Value> = inputs.into_iter().chain(counts).collect();
            signals = self.apply1(refinement.round, &inputs)?;
        }
        let signals = self.matmul(signals, basis, false, false)?;
        self.reshape(signals, [rows, frames, 1])
    }
}

/// The first `cosines` functions of the discrete cosine transform, orthonormal, `[cosines,frames]`.
fn cosine_basis(frames: usize, cosines: usize) -> Vec<f64> {
    let value = |k: usize, t: usize| {
        let height = if k == 0 { 1.0 } else { 2.0 } / frames as f64;
        height.sqrt() * (std::f64::consts::PI * k as f64 * (t as f64 + 0.5) / frames as f64).cos()
    };
    (0..cosines).flat_map(|k| (0..frames).map(move |t| value(k, t))).collect()
}

/// What takes coefficients to those of the derivative: central differences, one-sided ones at the ends, per frame.
fn slopes(basis: &[f64], frames: usize, cosines: usize) -> Vec<f32> {
    let derivative = |row: &[f64]| -> Vec<f64> {
        let at = |t: usize| {
            let (before, after) = (t.saturating_sub(1), (t + 1).min(frames - 1));
            (row[after] - row[before]) / (after - before).max(1) as f64
        };
        (0..frames).map(at).collect()
    };
    let rows = || basis.chunks_exact(frames).take(cosines);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() as f32;
    rows()
        .flat_map(|row| {
            let derivative = derivative(row);
            rows().map(move |other| product(&derivative, other)).collect::<Vec<f32>>()
        })
        .collect()
}
