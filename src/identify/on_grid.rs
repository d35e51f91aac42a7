//! A recording as the networks are given it, a part at a time.

use std::borrow::Cow;
use std::ops::Range;

use super::Recording;
use super::frames::parts;
use super::resample::{GRID_FS_HZ, Placement, RateChange, apply};
use crate::Result;

/// Values of the recording or the grid, whichever has more, that are worked on at a time: 4 MiB.
const PART: usize = 1 << 20;

/// Number of frames at 400 Hz of a recording.
pub fn grid_frames(recording: &Recording) -> usize {
    let exact = recording.frames() as f64 * GRID_FS_HZ / recording.fs_hz();
    (exact.round() as usize).max(1)
}

/// A recording on its grid and at the networks' rate, a part at a time: a long recording is never there as a whole.
#[derive(Clone, Copy, Debug)]
pub struct OnGrid<'a> {
    recording: &'a Recording,
    placement: Placement,
}

impl<'a> OnGrid<'a> {
    /// The recording where `placement` lays it.
    pub fn new(recording: &'a Recording, placement: Placement) -> Self {
        Self { recording, placement }
    }

    /// Number of frames at 400 Hz.
    pub fn frames(&self) -> usize {
        grid_frames(self.recording)
    }

    /// Pixels of a frame.
    pub fn pixels(&self) -> usize {
        self.placement.grid().iter().product()
    }

    /// Some frames at 400 Hz, `[frames, rows, columns]`.
    ///
    /// # Errors
    /// If the recording's frames cannot be read.
    pub fn range(&self, frames: Range<usize>) -> Result<Cow<'a, [f32]>> {
        let (fs_hz, pixels) = (self.recording.fs_hz(), self.pixels());
        if fs_hz != GRID_FS_HZ {
            let change = RateChange::part(self.recording.frames(), fs_hz, GRID_FS_HZ, frames.clone());
            let mut out = vec![0f32; frames.len() * pixels];
            self.each_part(change.inputs(), &mut |start, part| change.add_from(start, part, pixels, &mut out))?;
            return Ok(out.into());
        }
        if self.placement.is_identity() {
            return self.recording.velocity(frames);
        }
        let mut out = Vec::with_capacity(frames.len() * pixels);
        self.each_part(frames, &mut |_, part| out.extend_from_slice(part))?;
        Ok(out.into())
    }

    /// Some of the recording's own frames on the grid, in parts: `visit` is told the first frame of each.
    fn each_part(&self, frames: Range<usize>, visit: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        let own_pixels = self.recording.height() * self.recording.width();
        let (y, x) = (self.placement.y.forward(), self.placement.x.forward());
        for part in parts(frames, own_pixels.max(self.pixels()), PART) {
            let start = part.start;
            let own = self.recording.velocity(part)?;
            if self.placement.is_identity() {
                visit(start, &own);
            } else {
                let placed: Vec<f32> = own.chunks_exact(own_pixels).flat_map(|frame| apply(frame, &y, &x)).collect();
                visit(start, &placed);
            }
        }
        Ok(())
    }
}
