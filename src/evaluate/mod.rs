//! The networks against simulated recordings whose truth is known: the figures of the metrics' cells.

mod detection;
mod signals;
mod whole;

pub use detection::{add_detection, detect_cell};
pub use signals::{
    CHANCE, LEAST_SQUARES, MASK_MEAN, NETWORK, STICA, add_blind, add_end_to_end, add_given, score_all, signal_cell,
};
pub use whole::{TestSet, evaluate};

use crate::Result;
use crate::muscle::{SimulatedRecording, Simulator, Split, TestCell, standardise};

/// Calls `visit` with the first `recordings` recordings of a cell of one split: as made, standardised, and what that divided
/// by.
fn for_each_recording(
    simulator: &Simulator,
    test: TestCell,
    (split, seed): (Split, u64),
    recordings: u32,
    mut visit: impl FnMut(&SimulatedRecording, &[f32], f32) -> Result<()>,
) -> Result<()> {
    for number in 0..recordings {
        let recording = simulator.simulate(split, test.index(number), seed);
        let mut standardised = recording.velocity.clone();
        let deviation = standardise(&mut standardised);
        visit(&recording, &standardised, deviation)?;
    }
    Ok(())
}
