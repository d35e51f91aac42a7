//! Detection and segmentation.

use super::for_each_recording;
use crate::Result;
use crate::detector::{DetectedUnit, Detector};
use crate::metrics::{Cell, CellReport, Detection, Masks, detect};
use crate::muscle::{SimulatedRecording, SimulatorConfig, Split, TestCell};

/// Scores detected units against a recording's truth, adds the result to a cell and returns it.
pub fn add_detection(cell: &mut Cell, units: &[DetectedUnit], recording: &SimulatedRecording) -> Result<Detection> {
    let truth = &recording.truth;
    let predicted: Vec<u8> = units.iter().flat_map(|unit| unit.mask.iter().copied()).collect();
    let scores: Vec<f32> = units.iter().map(|unit| unit.score).collect();
    let true_masks = truth.masks();
    let found = detect(
        Masks::new(&predicted, truth.height, truth.width)?,
        &scores,
        Masks::new(&true_masks, truth.height, truth.width)?,
        f64::from(truth.mm_per_pixel),
    )?;
    let diameters: Vec<f32> = truth.units.iter().map(|unit| unit.territory.diameter_mm).collect();
    cell.add_detection(found.clone(), &diameters)?;
    Ok(found)
}

/// Runs the detector on `recordings` recordings of a cell of one split.
pub fn detect_cell(
    detector: &mut Detector,
    preset: &str,
    test: TestCell,
    recordings: u32,
    split: Split,
    seed: u64,
) -> Result<CellReport> {
    let simulator = test.simulator(&SimulatorConfig::from_name(preset)?)?;
    let mut cell = Cell::new(preset, test.units, None);
    for_each_recording(&simulator, test, (split, seed), recordings, |recording, standardised, _| {
        let units = detector.detect(standardised)?;
        add_detection(&mut cell, &units, recording).map(drop)
    })?;
    Ok(cell.report(None, f64::from(simulator.config().grid.fs_hz)))
}
