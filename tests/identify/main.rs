//! Recordings in, units out: readers, resampling, windows, linking. The networks are stood in for by plain rules, so that what is
//! expected can be worked out by hand.
mod linking;
mod readers;
mod resampling;
mod sources;
mod tiles;
mod weights;

use sarcomere::Recording;
use sarcomere::identify::ReadOptions;

/// Holds nothing in memory.
const FROM_FILE: ReadOptions = ReadOptions { fs_hz: None, mm_per_pixel: None, array: None, memory_bytes: Some(0) };

/// All velocities.
fn velocity(recording: &Recording) -> std::borrow::Cow<'_, [f32]> {
    recording.velocity(0..recording.frames()).unwrap()
}
