//! From recordings to the figures of a cell (a number of MUs at a noise level).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::firings::FiringPair;
use super::masks::{Detection, Pair};
use super::signals::SignalScore;
use crate::{Error, Result};

/// Mean and standard deviation over recordings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistic {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the sample (n - 1); 0 for a single recording.
    pub sd: f64,
    /// How many recordings have a value.
    pub recordings: usize,
}

impl Statistic {
    /// Of the values that there are; none without any.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().flatten().collect();
        let mean = mean(&values)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (squares / (values.len() - 1).max(1) as f64).sqrt();
        Some(Self { mean, sd, recordings: values.len() })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Mean of the values that there are.
fn mean_of(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    mean(&values.into_iter().flatten().collect::<Vec<_>>())
}

/// Found and all true MUs whose diameter lies in a range, over all recordings of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiameterBin {
    /// Smallest diameter.
    pub min_mm: f64,
    /// Largest diameter; it belongs to the next bin, if there is one.
    pub max_mm: f64,
    /// Found true MUs.
    pub found: usize,
    /// All true MUs.
    pub all: usize,
}

impl DiameterBin {
    /// The bins of the specification.
    pub const EDGES_MM: [f64; 4] = [2.5, 5.0, 7.5, 10.0];

    /// Share found; none without MUs.
    pub fn recall(&self) -> Option<f64> {
        (self.all > 0).then(|| self.found as f64 / self.all as f64)
    }
}

/// Detection and segmentation of a cell. Segmentation is averaged over the matched pairs of a recording, then over recordings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DetectionReport {
    /// True positives over predictions.
    pub precision: Option<Statistic>,
    /// Recordings without any prediction: they have no precision and are left out of it.
    pub without_prediction: usize,
    /// True positives over true MUs.
    pub recall: Option<Statistic>,
    /// Intersection over union of matched pairs.
    pub iou: Option<Statistic>,
    /// Share of predicted pixels that are true.
    pub segmentation_precision: Option<Statistic>,
    /// Share of true pixels that are predicted.
    pub segmentation_recall: Option<Statistic>,
    /// Dice coefficient.
    pub dice: Option<Statistic>,
    /// Distance of the centres.
    pub centre_error_mm: Option<Statistic>,
    /// Size of the difference of the diameters.
    pub diameter_error_mm: Option<Statistic>,
    /// Predicted less true diameter, with its sign.
    pub diameter_bias_mm: Option<Statistic>,
    /// Recall by diameter.
    pub recall_by_diameter: Vec<DiameterBin>,
}

/// Signals of a cell by one method, averaged over the MUs of a recording, then over recordings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SignalReport {
    /// Rate of agreement with the firings of the true signal.
    pub rate_of_agreement: Option<Statistic>,
    /// MUs left out of it, since neither signal has a firing.
    pub without_firings: usize,
    /// Share of MUs whose rate of agreement is at least 0.9.
    pub share_above_090: Option<Statistic>,
    /// Rate of agreement with the simulator's firing instants, one lag for the whole test set removed.
    pub rate_of_agreement_instants: Option<Statistic>,
    /// Normalised mean squared error.
    pub normalised_mse: Option<Statistic>,
    /// The same after the best scale factor.
    pub scaled_mse: Option<Statistic>,
    /// Pearson's correlation.
    pub pearson: Option<Statistic>,
}

/// Both steps one after the other: signals of the detected territories.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndToEndReport {
    /// Signals of detected MUs.
    pub detected: SignalReport,
    /// Rate of agreement with undetected MUs at 0.
    pub rate_of_agreement_all: Option<Statistic>,
    /// Share of true MUs matched at IoU > 0.5 whose rate of agreement is at least [`GOOD_RATE`].
    #[serde(rename = "yield")]
    pub yield_: Option<Statistic>,
}

/// From this rate of agreement on an MU counts towards the yield.
pub const GOOD_RATE: f64 = 0.9;

/// The figures of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// Which recordings: the simulator's preset, or the name of a file.
    pub preset: String,
    /// Number of MUs.
    pub units: u32,
    /// Signal-to-noise ratio; none for noise-free recordings.
    pub snr_db: Option<f32>,
    /// Number of recordings.
    pub recordings: usize,
    /// Lag that was removed from the firing instants.
    pub lag_ms: Option<f64>,
    /// Detection and segmentation; none if no recording was scored for it.
    pub detection: Option<DetectionReport>,
    /// Detection and segmentation by rivals that find territories themselves, by method.
    #[serde(default)]
    pub rival_detection: BTreeMap<String, DetectionReport>,
    /// Signals with the true territories given, by method.
    pub given_territories: BTreeMap<String, SignalReport>,
    /// Signals with detected territories, by method.
    pub end_to_end: BTreeMap<String, EndToEndReport>,
}

/// Detections of the recordings of a cell by one method.
#[derive(Clone, Debug)]
struct Detections {
    list: Vec<Detection>,
    bins: Vec<DiameterBin>,
}

impl Default for Detections {
    fn default() -> Self {
        let bin = |edges: &[f64]| DiameterBin { min_mm: edges[0], max_mm: edges[1], found: 0, all: 0 };
        Self { list: Vec::new(), bins: DiameterBin::EDGES_MM.windows(2).map(bin).collect() }
    }
}

impl Detections {
    fn add(&mut self, detection: Detection, diameters_mm: &[f32]) -> Result<()> {
        if diameters_mm.len() != detection.truths {
            let message = format!("has {} values for {} true masks", diameters_mm.len(), detection.truths);
            return Err(Error::value("diameters_mm", message));
        }
        let last = self.bins.len() - 1;
        for (truth, diameter) in diameters_mm.iter().map(|d| f64::from(*d)).enumerate() {
            for (k, bin) in self.bins.iter_mut().enumerate() {
                let inside = diameter >= bin.min_mm && (diameter < bin.max_mm || (k == last && diameter == bin.max_mm));
                bin.all += usize::from(inside);
                bin.found += usize::from(inside && detection.found_by(truth).is_some());
            }
        }
        self.list.push(detection);
        Ok(())
    }

    fn report(&self) -> DetectionReport {
        let over_pairs = |value: fn(&Pair) -> f64| {
            Statistic::of(self.list.iter().map(|d| mean_of(d.pairs.iter().map(|pair| Some(value(pair))))))
        };
        DetectionReport {
            precision: Statistic::of(self.list.iter().map(Detection::precision)),
            without_prediction: self.list.iter().filter(|d| d.predictions == 0).count(),
            recall: Statistic::of(self.list.iter().map(Detection::recall)),
            iou: over_pairs(|pair| pair.iou),
            segmentation_precision: over_pairs(|pair| pair.segmentation_precision),
            segmentation_recall: over_pairs(|pair| pair.segmentation_recall),
            dice: over_pairs(|pair| pair.dice),
            centre_error_mm: over_pairs(|pair| pair.centre_error_mm),
            diameter_error_mm: over_pairs(|pair| pair.diameter_difference_mm.abs()),
            diameter_bias_mm: over_pairs(|pair| pair.diameter_difference_mm),
            recall_by_diameter: self.bins.clone(),
        }
    }
}

/// Gathers the recordings of one cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    preset: String,
    units: u32,
    snr_db: Option<f32>,
    detections: Detections,
    rivals: BTreeMap<String, Detections>,
    given: BTreeMap<String, Vec<Vec<SignalScore>>>,
    end_to_end: BTreeMap<String, Vec<Vec<Option<SignalScore>>>>,
}

impl Cell {
    /// An empty cell.
    pub fn new(preset: impl Into<String>, units: u32, snr_db: Option<f32>) -> Self {
        Self { preset: preset.into(), units, snr_db, ..Self::default() }
    }

    /// Adds the detection of one recording. `diameters_mm` are those of its true MUs; those outside all bins count in none.
    /// Fails if their number is not that of the true masks.
    pub fn add_detection(&mut self, detection: Detection, diameters_mm: &[f32]) -> Result<()> {
        self.detections.add(detection, diameters_mm)
    }

    /// The same for a rival that finds territories itself.
    pub fn add_rival_detection(&mut self, method: &str, detection: Detection, diameters_mm: &[f32]) -> Result<()> {
        self.rivals.entry(method.to_string()).or_default().add(detection, diameters_mm)
    }

    /// Adds one recording's signals by a method that was given the true territories; one score for each true MU.
    pub fn add_given(&mut self, method: &str, scores: Vec<SignalScore>) {
        self.given.entry(method.to_string()).or_default().push(scores);
    }

    /// Adds one recording's signals by a method that went by detected territories: for each true MU the score of the signal
    /// from the territory that found it, `None` if none did.
    pub fn add_end_to_end(&mut self, method: &str, scores: Vec<Option<SignalScore>>) {
        self.end_to_end.entry(method.to_string()).or_default().push(scores);
    }

    /// Firings beside true instants of a method given the true territories, for [`common_lag`](super::common_lag).
    pub fn firing_pairs(&self, method: &str) -> impl Iterator<Item = &FiringPair> {
        self.given.get(method).into_iter().flatten().flatten().map(|score| &score.firings)
    }

    /// The figures. `lag_samples` (at `fs_hz`) is what [`common_lag`](super::common_lag) gave for the whole test set; without it there is no
    /// comparison with instants.
    pub fn report(&self, lag_samples: Option<f64>, fs_hz: f64) -> CellReport {
        let counts = self.given.values().map(Vec::len).chain(self.end_to_end.values().map(Vec::len));
        let signals = |recordings: &Vec<Vec<SignalScore>>| {
            signal_report(&recordings.iter().map(|scores| scores.iter().collect()).collect::<Vec<_>>(), lag_samples)
        };
        CellReport {
            preset: self.preset.clone(),
            units: self.units,
            snr_db: self.snr_db,
            recordings: counts.chain([self.detections.list.len()]).max().unwrap_or(0),
            lag_ms: lag_samples.map(|lag| 1e3 * lag / fs_hz),
            detection: (!self.detections.list.is_empty()).then(|| self.detections.report()),
            rival_detection: self.rivals.iter().map(|(name, found)| (name.clone(), found.report())).collect(),
            given_territories: self.given.iter().map(|(name, scores)| (name.clone(), signals(scores))).collect(),
            end_to_end: self
                .end_to_end
                .iter()
                .map(|(name, scores)| (name.clone(), end_to_end_report(scores, lag_samples)))
                .collect(),
        }
    }
}

fn signal_report(recordings: &[Vec<&SignalScore>], lag_samples: Option<f64>) -> SignalReport {
    let over_units = |value: &dyn Fn(&SignalScore) -> Option<f64>| {
        Statistic::of(recordings.iter().map(|scores| mean_of(scores.iter().map(|score| value(score)))))
    };
    let silent = |score: &&&SignalScore| score.agreement.rate().is_none();
    SignalReport {
        rate_of_agreement: over_units(&|score| score.agreement.rate()),
        without_firings: recordings.iter().flatten().filter(silent).count(),
        share_above_090: over_units(&|score| score.agreement.rate().map(|rate| f64::from(u8::from(rate >= GOOD_RATE)))),
        rate_of_agreement_instants: lag_samples
            .and_then(|lag| over_units(&|score| score.firings.agreement(lag).rate())),
        normalised_mse: over_units(&|score| score.normalised_mse),
        scaled_mse: over_units(&|score| score.scaled_mse),
        pearson: over_units(&|score| score.pearson),
    }
}

fn end_to_end_report(recordings: &[Vec<Option<SignalScore>>], lag_samples: Option<f64>) -> EndToEndReport {
    let detected: Vec<Vec<&SignalScore>> = recordings.iter().map(|scores| scores.iter().flatten().collect()).collect();
    let over_all = |value: &dyn Fn(Option<&SignalScore>) -> Option<f64>| {
        Statistic::of(recordings.iter().map(|scores| mean_of(scores.iter().map(|score| value(score.as_ref())))))
    };
    let good = |score: &SignalScore| score.agreement.rate().is_some_and(|rate| rate >= GOOD_RATE);
    EndToEndReport {
        detected: signal_report(&detected, lag_samples),
        rate_of_agreement_all: over_all(&|score| score.map_or(Some(0.0), |score| score.agreement.rate())),
        yield_: over_all(&|score| Some(f64::from(u8::from(score.is_some_and(good))))),
    }
}
