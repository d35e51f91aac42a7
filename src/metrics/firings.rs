//! Twitch trains: firings of a signal, and how well two trains of firings agree.

use serde::{Deserialize, Serialize};

/// Samples of the running mean before firings are taken: 27.5 ms at 400 Hz.
pub const MEAN_SAMPLES: usize = 11;
/// Firings at most so many samples apart match: 15 ms at 400 Hz.
pub const TOLERANCE_SAMPLES: f64 = 6.0;

/// Firings of a twitch train sampled at 400 Hz, as sample indices (section III.C.2 of the paper): the local maxima of its
/// running mean over 11 samples, those below 0 dropped. The mean is centred; at the ends it is the mean of what is there. A plateau
/// counts once, at its middle (the earlier sample of two); the first and the last sample are never maxima.
pub fn firings(signal: &[f32]) -> Vec<usize> {
    maxima(&running_mean(signal, MEAN_SAMPLES))
}

/// As [`firings`], but no two less than `least` samples apart: the higher one of two stays. A motor neuron needs some time before
/// it can fire again, so two near maxima are one twitch with a ripple; decompositions of electromyograms pick the peaks of a
/// motor unit's train in the same way.
pub fn firings_apart(signal: &[f32], least: usize) -> Vec<usize> {
    let mean = running_mean(signal, MEAN_SAMPLES);
    let mut falling = maxima(&mean);
    falling.sort_by(|a, b| mean[*b].total_cmp(&mean[*a]).then(a.cmp(b)));
    let mut kept = std::collections::BTreeSet::new();
    for at in falling {
        if kept.range((at + 1).saturating_sub(least)..at + least.max(1)).next().is_none() {
            kept.insert(at);
        }
    }
    kept.into_iter().collect()
}

/// Centred mean over `samples` samples (an odd number), at the ends over what is there.
pub fn running_mean(signal: &[f32], samples: usize) -> Vec<f64> {
    let reach = samples / 2;
    (0..signal.len())
        .map(|at| {
            let window = &signal[at.saturating_sub(reach)..(at + reach + 1).min(signal.len())];
            window.iter().map(|value| f64::from(*value)).sum::<f64>() / window.len() as f64
        })
        .collect()
}

/// Local maxima that are not below 0; a plateau counts once, at its middle.
fn maxima(signal: &[f64]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < signal.len() {
        let level = signal[start];
        let length = signal[start..].iter().take_while(|value| **value == level).count().max(1);
        let (end, next) = (start + length - 1, start + length);
        let rises = start > 0 && signal[start - 1] < level;
        let falls = next < signal.len() && signal[next] < level;
        if rises && falls && level >= 0.0 {
            found.push((start + end) / 2);
        }
        start = next;
    }
    found
}

/// How the firings of two signals match up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Matched pairs, c.
    pub matched: usize,
    /// Unmatched firings of the first signal, A.
    pub only_first: usize,
    /// Unmatched firings of the second signal, B.
    pub only_second: usize,
}

impl Agreement {
    /// Rate of agreement c / (c + A + B): 0 if one signal has no firings, none if neither has any.
    pub fn rate(&self) -> Option<f64> {
        let all = self.matched + self.only_first + self.only_second;
        (all > 0).then(|| self.matched as f64 / all as f64)
    }
}

/// Matched pairs of two rising lists of instants: one to one, at most `tolerance` apart, as many as possible. The ordered
/// sweep: of the two earliest left over, either they match or the earlier one never will.
pub fn matched_pairs(first: &[f64], second: &[f64], tolerance: f64) -> Vec<(usize, usize)> {
    let (mut a, mut b) = (0, 0);
    let mut pairs = Vec::new();
    while a < first.len() && b < second.len() {
        if (first[a] - second[b]).abs() <= tolerance {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if first[a] < second[b] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

/// Agreement of two rising lists of instants, in samples at 400 Hz, within [`TOLERANCE_SAMPLES`].
pub fn agreement(first: &[f64], second: &[f64]) -> Agreement {
    let matched = matched_pairs(first, second, TOLERANCE_SAMPLES).len();
    Agreement { matched, only_first: first.len() - matched, only_second: second.len() - matched }
}

/// Agreement of the firings taken from two signals at 400 Hz: the paper's comparison of an estimate with the truth.
pub fn signal_agreement(estimate: &[f32], truth: &[f32]) -> Agreement {
    agreement(&as_instants(&firings(estimate)), &as_instants(&firings(truth)))
}

fn as_instants(samples: &[usize]) -> Vec<f64> {
    samples.iter().map(|sample| *sample as f64).collect()
}

/// Firings taken from a signal beside the instants when its MU really fired.
#[derive(Clone, Debug, PartialEq)]
pub struct FiringPair {
    /// From the signal, in samples; rising.
    pub estimated: Vec<f64>,
    /// The instants, in samples from the first frame; rising. May lie outside the recording.
    pub instants: Vec<f64>,
    /// Number of frames of the recording.
    pub frames: usize,
}

impl FiringPair {
    /// The firings of `signal`, and instants given in seconds.
    pub fn new(signal: &[f32], instants_s: &[f32], fs_hz: f64) -> Self {
        let instants = instants_s.iter().map(|t| f64::from(*t) * fs_hz).collect();
        Self { estimated: as_instants(&firings(signal)), instants, frames: signal.len() }
    }

    /// Agreement after the instants are moved `lag` samples later; those that then lie outside the recording are left out.
    pub fn agreement(&self, lag: f64) -> Agreement {
        let shifted: Vec<f64> =
            self.instants.iter().map(|t| t + lag).filter(|t| *t >= 0.0 && *t <= self.frames as f64 - 1.0).collect();
        agreement(&self.estimated, &shifted)
    }
}

/// Longest lag between firing and peak that is tried: 60 ms at 400 Hz.
pub const MAX_LAG_SAMPLES: usize = 24;
/// Lags tried in one sample.
const LAG_STEPS: usize = 4;

/// The one lag (in samples, at most [`MAX_LAG_SAMPLES`], in quarters) that gives the most matched pairs over a whole test set; of
/// several the middle one. A twitch peaks some time after its firing.
pub fn common_lag<'a>(pairs: impl IntoIterator<Item = &'a FiringPair>) -> f64 {
    let mut matched = vec![0usize; MAX_LAG_SAMPLES * LAG_STEPS + 1];
    for pair in pairs {
        for (step, sum) in matched.iter_mut().enumerate() {
            *sum += pair.agreement(step as f64 / LAG_STEPS as f64).matched;
        }
    }
    let most = matched.iter().max().copied().unwrap_or(0);
    let best: Vec<usize> = (0..matched.len()).filter(|step| matched[*step] == most).collect();
    best[best.len() / 2] as f64 / LAG_STEPS as f64
}
