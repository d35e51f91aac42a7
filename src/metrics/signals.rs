//! One MU's estimated signal against the true one.

use super::firings::{Agreement, FiringPair, signal_agreement};
use crate::{Error, Result};

/// Normalised mean squared error: sum of (estimate - truth)^2 over sum of truth^2; none for a silent truth.
pub fn normalised_mse(estimate: &[f32], truth: &[f32]) -> Option<f64> {
    let error: f64 = pairs(estimate, truth).map(|(e, t)| (e - t).powi(2)).sum();
    let energy: f64 = truth.iter().map(|t| f64::from(*t).powi(2)).sum();
    (energy > 0.0).then(|| error / energy)
}

/// The same after the estimate is multiplied by the factor that makes it smallest: what is left when only the shape counts.
pub fn scaled_mse(estimate: &[f32], truth: &[f32]) -> Option<f64> {
    let (mut et, mut ee, mut tt) = (0.0, 0.0, 0.0);
    pairs(estimate, truth).for_each(|(e, t)| (et, ee, tt) = (et + e * t, ee + e * e, tt + t * t));
    let explained = if ee > 0.0 { et * et / ee } else { 0.0 };
    (tt > 0.0).then(|| (1.0 - explained / tt).max(0.0))
}

/// Pearson's correlation coefficient; none if either signal is constant.
pub fn pearson(estimate: &[f32], truth: &[f32]) -> Option<f64> {
    let n = estimate.len() as f64;
    let mean = |signal: &[f32]| signal.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let (me, mt) = (mean(estimate), mean(truth));
    let (mut et, mut ee, mut tt) = (0.0, 0.0, 0.0);
    pairs(estimate, truth).for_each(|(e, t)| {
        let (e, t) = (e - me, t - mt);
        (et, ee, tt) = (et + e * t, ee + e * e, tt + t * t);
    });
    (ee > 0.0 && tt > 0.0).then(|| et / (ee * tt).sqrt())
}

fn pairs<'a>(estimate: &'a [f32], truth: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
    estimate.iter().zip(truth).map(|(e, t)| (f64::from(*e), f64::from(*t)))
}

/// All scores of one estimated signal.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalScore {
    /// Its firings (first) against those of the true signal (second).
    pub agreement: Agreement,
    /// Normalised mean squared error; none for a silent truth.
    pub normalised_mse: Option<f64>,
    /// The same after the best scale factor.
    pub scaled_mse: Option<f64>,
    /// Pearson's correlation; none if either is constant.
    pub pearson: Option<f64>,
    /// Its firings beside the true instants.
    pub firings: FiringPair,
}

impl SignalScore {
    /// Scores `estimate` against the true signal, both sampled at 400 Hz (`fs_hz` only converts the instants), and the MU's
    /// firing instants in seconds from the first frame, rising, those before it included. Fails if lengths differ.
    pub fn new(estimate: &[f32], truth: &[f32], instants_s: &[f32], fs_hz: f64) -> Result<Self> {
        if estimate.len() != truth.len() || truth.is_empty() {
            let message = format!("has {} samples, the true signal {}", estimate.len(), truth.len());
            return Err(Error::value("estimated signal", message));
        }
        Ok(Self {
            agreement: signal_agreement(estimate, truth),
            normalised_mse: normalised_mse(estimate, truth),
            scaled_mse: scaled_mse(estimate, truth),
            pearson: pearson(estimate, truth),
            firings: FiringPair::new(estimate, instants_s, fs_hz),
        })
    }
}
