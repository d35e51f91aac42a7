//! Detection and segmentation.

use super::for_each_recording;
use crate::Result;
use crate::detector::{DetectedUnit, Detector};
use crate::metrics::{Cell, CellReport, Detection, Masks, detect};
use crate::muscle::{SimulatedRecording, SimulatorConfig, Split, TestCell, Truth};

/// Scores detected units against a recording's truth, adds the result to a cell and returns it.
pub fn add_detection(cell: &mut Cell, units: &[DetectedUnit], recording: &SimulatedRecording) -> Result<Detection> {
    let found = matched(units.iter().map(|unit| (&unit.mask[..], unit.score)), &recording.truth)?;
    cell.add_detection(found.clone(), &diameters_mm(&recording.truth))?;
    Ok(found)
}

/// Scores territories with their scores against a recording's truth.
pub(super) fn matched<'a>(units: impl Iterator<Item = (&'a [u8], f32)>, truth: &Truth) -> Result<Detection> {
    let (masks, scores): (Vec<&[u8]>, Vec<f32>) = units.unzip();
    let (predicted, true_masks) = (masks.concat(), truth.masks());
    detect(
        Masks::new(&predicted, truth.height, truth.width)?,
        &scores,
        Masks::new(&true_masks, truth.height, truth.width)?,
        f64::from(truth.mm_per_pixel),
    )
}

pub(super) fn diameters_mm(truth: &Truth) -> Vec<f32> {
    truth.units.iter().map(|unit| unit.territory.diameter_mm).collect()
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
