//! Both networks over a whole test set.

use super::{NETWORK, add_blind, add_detection, add_end_to_end, add_given, for_each_recording};
use crate::Result;
use crate::detector::Detector;
use crate::metrics::{Cell, CellReport, Stica, common_lag};
use crate::muscle::{Noise, SimulatorConfig, Split, TestCell};
use crate::twitch::TwitchEstimator;

/// What to evaluate on.
#[derive(Clone, Debug)]
pub struct TestSet {
    /// Simulator presets.
    pub presets: Vec<String>,
    /// Cells of each.
    pub cells: Vec<TestCell>,
    /// Recordings in each cell.
    pub recordings: u32,
    /// Seed of the recordings.
    pub seed: u64,
    /// Independent components as a further rival; it takes longer than all the rest.
    pub stica: Option<Stica>,
}

/// Runs both networks (and the rivals that need no training) over a test set. `progress` is told the recordings done.
pub fn evaluate(
    detector: &mut Detector,
    estimator: &mut TwitchEstimator,
    set: &TestSet,
    mut progress: impl FnMut(usize),
) -> Result<Vec<CellReport>> {
    let mut cells = Vec::new();
    let (mut done, mut fs_hz) = (0, 400.0);
    for preset in &set.presets {
        let config = SimulatorConfig::from_name(preset)?;
        fs_hz = f64::from(config.grid.fs_hz);
        for test in &set.cells {
            let simulator = test.simulator(&config)?;
            let snr_db = match test.noise {
                Noise::Snr { db } => Some(db),
                _ => None,
            };
            let mut cell = Cell::new(preset, test.units, snr_db);
            let which = (Split::Test, set.seed);
            for_each_recording(&simulator, *test, which, set.recordings, |recording, standardised, deviation| {
                add_given(&mut cell, estimator, recording, standardised, deviation)?;
                let units = detector.detect(standardised)?;
                let detection = add_detection(&mut cell, &units, recording)?;
                let masks: Vec<&[u8]> = units.iter().map(|unit| &unit.mask[..]).collect();
                add_end_to_end(&mut cell, estimator, recording, (standardised, deviation), &masks, &detection)?;
                if let Some(stica) = &set.stica {
                    add_blind(&mut cell, stica, recording)?;
                }
                done += 1;
                progress(done);
                Ok(())
            })?;
            cells.push(cell);
        }
    }
    let lag = common_lag(cells.iter().flat_map(|cell| cell.firing_pairs(NETWORK)));
    Ok(cells.iter().map(|cell| cell.report(Some(lag), fs_hz)).collect())
}
