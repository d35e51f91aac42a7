//! What was found beside what is true, where that is known.

use std::path::Path;

use crate::identify::read::read_array;
use crate::identify::resample::{GRID_FS_HZ, signals_at};
use crate::identify::{MotorUnit, REFRACTORY_S, Recording, firing_instants_s};
use crate::metrics::{self, Masks, detect};
use crate::{Error, Result};

/// A motor unit whose territory and signal are known, for instance because it was simulated.
#[derive(Clone, Debug)]
pub struct KnownUnit {
    /// Territory on the recording's grid `[H, W]`, 0 or 1.
    pub mask: Vec<u8>,
    /// Twitch train `[T]` at the recording's frame rate.
    pub signal: Vec<f32>,
    /// Firings taken from the signal in the same way as from a found one, in s.
    pub firings_s: Vec<f64>,
}

impl KnownUnit {
    /// A known unit; its firings are taken from its signal, sampled at `fs_hz`.
    pub fn new(mask: Vec<u8>, signal: Vec<f32>, fs_hz: f64) -> Self {
        let frames = (signal.len() as f64 * GRID_FS_HZ / fs_hz).round() as usize;
        let resampled = signals_at(std::slice::from_ref(&signal), fs_hz, GRID_FS_HZ, frames);
        Self { firings_s: firing_instants_s(&resampled[0], REFRACTORY_S), mask, signal }
    }

    /// The known units of a recording's file: its arrays `masks` `[n, H, W]` and `signals` `[n, T]`, or those of `STEM.labels.npz`
    /// beside it. `None` if there are none or they do not fit the recording.
    ///
    /// # Errors
    /// If the labels are there but cannot be read, or a signal is not finite.
    pub fn read(path: &Path, recording: &Recording) -> Result<Option<Vec<Self>>> {
        let beside = path.with_extension("labels.npz");
        let path = if beside.is_file() { beside.as_path() } else { path };
        let Some((mask_shape, masks)) = read_array(path, "masks")? else { return Ok(None) };
        let Some((signal_shape, signals)) = read_array(path, "signals")? else { return Ok(None) };
        let [frames, height, width] = recording.shape();
        let n = mask_shape.first().copied().unwrap_or(0);
        if mask_shape != [n, height, width] || signal_shape != [n, frames] {
            return Ok(None);
        }
        if signals.iter().any(|v| !v.is_finite()) {
            let message = "signals: expected finite values, found NaN or infinity: leave the true signals out or export \
                           them again";
            return Err(Error::file(path, message));
        }
        let masks = masks.chunks_exact(height * width).map(|m| m.iter().map(|v| u8::from(*v != 0.0)).collect());
        let units = masks.zip(signals.chunks_exact(frames)).map(|(m, s)| Self::new(m, s.to_vec(), recording.fs_hz()));
        Ok(Some(units.collect()))
    }
}

/// A found unit and the true one that it is.
#[derive(Clone, Debug)]
pub struct Match {
    /// Index of the true unit.
    pub truth: usize,
    /// Intersection over union of the territories.
    pub iou: f64,
    /// Rate of agreement of the firings; `None` if neither has any.
    pub roa: Option<f64>,
}

/// How a result agrees with the truth.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// For every found unit, the true one whose territory it shares (intersection over union above 0.5).
    pub matches: Vec<Option<Match>>,
    /// True units that were not found.
    pub missed: Vec<usize>,
}

impl Comparison {
    /// Matches found and true units of a recording by territory, best scores first, and compares their firings.
    ///
    /// # Errors
    /// If a mask does not have the recording's size.
    pub fn new(found: &[MotorUnit], truth: &[KnownUnit], recording: &Recording) -> Result<Self> {
        let (height, width) = (recording.height(), recording.width());
        let masks: Vec<u8> = found.iter().flat_map(|u| u.mask.iter().copied()).collect();
        let true_masks: Vec<u8> = truth.iter().flat_map(|u| u.mask.iter().copied()).collect();
        let scores: Vec<f32> = found.iter().map(|u| u.score).collect();
        let mm = recording.mm_per_pixel().unwrap_or(1.0);
        let (masks, true_masks) = (Masks::new(&masks, height, width)?, Masks::new(&true_masks, height, width)?);
        let mut matches = vec![None; found.len()];
        for pair in detect(masks, &scores, true_masks, mm)?.pairs {
            let roa = agreement(&found[pair.prediction].firings_s, &truth[pair.truth].firings_s);
            matches[pair.prediction] = Some(Match { truth: pair.truth, iou: pair.iou, roa });
        }
        let taken: Vec<usize> = matches.iter().flatten().map(|m: &Match| m.truth).collect();
        Ok(Self { missed: (0..truth.len()).filter(|t| !taken.contains(t)).collect(), matches })
    }

    /// Number of found units that are true.
    pub fn true_positives(&self) -> usize {
        self.matches.iter().flatten().count()
    }

    /// Share of the found units that are true; `None` if none was found.
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives(), self.matches.len())
    }

    /// Share of the true units that were found; `None` if there is none.
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positives(), self.true_positives() + self.missed.len())
    }

    /// Mean rate of agreement of the found true units.
    pub fn mean_roa(&self) -> Option<f64> {
        let all: Vec<f64> = self.matches.iter().flatten().filter_map(|m| m.roa).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    /// Share of the true units that were found and whose firings agree to at least 0.9.
    pub fn firing_yield(&self) -> Option<f64> {
        let good = self.matches.iter().flatten().filter(|m| m.roa.is_some_and(|r| r >= 0.9)).count();
        share(good, self.true_positives() + self.missed.len())
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Rate of agreement of firings given in s; `None` if neither list has any.
fn agreement(found: &[f64], truth: &[f64]) -> Option<f64> {
    let samples = |t: &[f64]| t.iter().map(|t| (t * GRID_FS_HZ).round()).collect::<Vec<f64>>();
    metrics::agreement(&samples(found), &samples(truth)).rate()
}
