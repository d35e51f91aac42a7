//! Twitch trains, with the true territories given and with detected ones, beside estimates that need no training.

use super::detection::{diameters_mm, matched};
use super::for_each_recording;
use crate::Result;
use crate::metrics::{self, Cell, CellReport, Detection, Masks, SignalScore, Stica, baselines};
use crate::muscle::{SimulatedRecording, SimulatorConfig, Split, TestCell, Truth};
use crate::twitch::TwitchEstimator;

/// The network, in reports.
pub const NETWORK: &str = "network";
/// Least-squares unmixing with all territories, in reports.
pub const LEAST_SQUARES: &str = "least squares";
/// The mean over the territory, in reports.
pub const MASK_MEAN: &str = "mask mean";
/// The true signal of another unit of the same recording, in reports.
pub const CHANCE: &str = "chance";
/// Independent components, which find territories and signals at once, in reports.
pub const STICA: &str = "stICA";

/// Scores of estimated signals `[units][T]`, one for each true unit.
pub fn score_all(signals: &[Vec<f32>], truth: &Truth) -> Result<Vec<SignalScore>> {
    signals.iter().zip(&truth.units).map(|(signal, unit)| score(signal, truth, unit)).collect()
}

fn score(signal: &[f32], truth: &Truth, unit: &crate::muscle::SimulatedUnit) -> Result<SignalScore> {
    let instants: Vec<f32> = unit.earlier_firings_s.iter().chain(&unit.firings_s).copied().collect();
    SignalScore::new(signal, &unit.twitch_train, &instants, f64::from(truth.fs_hz))
}

/// Adds the network's and the rivals' signals, given the true territories, to a cell. `standardised` is the recording after
/// [`crate::muscle::standardise`], which divided it by `deviation`.
pub fn add_given(
    cell: &mut Cell,
    estimator: &mut TwitchEstimator,
    recording: &SimulatedRecording,
    standardised: &[f32],
    deviation: f32,
) -> Result<()> {
    let truth = &recording.truth;
    let masks: Vec<&[u8]> = truth.units.iter().map(|unit| &unit.mask[..]).collect();
    let mut signals = estimator.estimate(standardised, [truth.height, truth.width], &masks)?;
    signals.iter_mut().flatten().for_each(|v| *v *= deviation);
    cell.add_given(NETWORK, score_all(&signals, truth)?);
    let planes = truth.masks();
    let planes = Masks::new(&planes, truth.height, truth.width)?;
    cell.add_given(MASK_MEAN, score_all(&baselines::mask_mean(&recording.velocity, planes)?, truth)?);
    cell.add_given(LEAST_SQUARES, score_all(&baselines::least_squares(&recording.velocity, planes)?, truth)?);
    let trains: Vec<Vec<f32>> = truth.units.iter().map(|unit| unit.twitch_train.clone()).collect();
    if let Some(others) = baselines::chance(&trains) {
        cell.add_given(CHANCE, score_all(&others, truth)?);
    }
    Ok(())
}

/// Adds signals estimated from detected territories (`masks`, in the order that `detection` counts them) to a cell, by the
/// network and by the rivals.
pub fn add_end_to_end(
    cell: &mut Cell,
    estimator: &mut TwitchEstimator,
    recording: &SimulatedRecording,
    (standardised, deviation): (&[f32], f32),
    masks: &[&[u8]],
    detection: &Detection,
) -> Result<()> {
    let truth = &recording.truth;
    let mut signals = estimator.estimate(standardised, [truth.height, truth.width], masks)?;
    signals.iter_mut().flatten().for_each(|v| *v *= deviation);
    let planes: Vec<u8> = masks.concat();
    let planes = Masks::new(&planes, truth.height, truth.width)?;
    let methods = [
        (NETWORK, signals),
        (MASK_MEAN, baselines::mask_mean(&recording.velocity, planes)?),
        (LEAST_SQUARES, baselines::least_squares(&recording.velocity, planes)?),
    ];
    for (method, signals) in methods {
        let signals: Vec<&[f32]> = signals.iter().map(Vec::as_slice).collect();
        cell.add_end_to_end(method, score_found(&signals, detection, truth)?);
    }
    Ok(())
}

/// Adds what independent components find in a recording: territories of their own, and the signals that go with them.
pub fn add_blind(cell: &mut Cell, stica: &Stica, recording: &SimulatedRecording) -> Result<()> {
    let truth = &recording.truth;
    let units = stica.separate(&recording.velocity, truth.height, truth.width)?;
    let detection = matched(units.iter().map(|unit| (&unit.mask[..], unit.score)), truth)?;
    let signals: Vec<&[f32]> = units.iter().map(|unit| &unit.signal[..]).collect();
    cell.add_end_to_end(STICA, score_found(&signals, &detection, truth)?);
    cell.add_rival_detection(STICA, detection, &diameters_mm(truth))
}

/// For each true unit the score of the signal from the territory that found it, if one did.
fn score_found(signals: &[&[f32]], detection: &Detection, truth: &Truth) -> Result<Vec<Option<SignalScore>>> {
    let of = |(index, unit)| {
        let signal = detection.found_by(index).and_then(|prediction| signals.get(prediction));
        signal.map(|signal| score(signal, truth, unit)).transpose()
    };
    truth.units.iter().enumerate().map(of).collect()
}

/// Runs the twitch estimator with true territories on `recordings` recordings of a cell of one split.
pub fn signal_cell(
    estimator: &mut TwitchEstimator,
    preset: &str,
    test: TestCell,
    recordings: u32,
    split: Split,
    seed: u64,
) -> Result<CellReport> {
    let simulator = test.simulator(&SimulatorConfig::from_name(preset)?)?;
    let mut cell = Cell::new(preset, test.units, None);
    for_each_recording(&simulator, test, (split, seed), recordings, |recording, standardised, deviation| {
        add_given(&mut cell, estimator, recording, standardised, deviation)
    })?;
    let fs_hz = f64::from(simulator.config().grid.fs_hz);
    let lag = metrics::common_lag(cell.firing_pairs(NETWORK));
    Ok(cell.report(Some(lag), fs_hz))
}
