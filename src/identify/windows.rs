//! Windows of one second: cutting a recording, and asking for the units of each.

use super::resample::{GRID, GRID_FS_HZ};
use super::{OnGrid, Recording, grid_frames};
use crate::{Error, Result};

/// Frames of a window: 1 s at 400 Hz.
pub const WINDOW: usize = 400;
/// Frames from one window to the next: half a window.
pub const HOP: usize = WINDOW / 2;
/// Shortest recording in frames at 400 Hz: 0.25 s, about two twitches.
pub const MIN_FRAMES: usize = 100;

/// Where a unit lies on the 64 x 64 grid of a tile, or on the whole grid of a large field.
#[derive(Clone, Debug)]
pub struct Territory {
    /// Probability of every grid pixel to belong to it, `[64, 64]` (on a large grid, its rows and columns); a 0/1 mask will do.
    pub probability: Vec<f32>,
    /// `(y1, x1, y2, x2)` in grid pixels.
    pub bbox: [f32; 4],
}

/// A unit found in one window.
#[derive(Clone, Debug)]
pub struct WindowUnit {
    /// Where it lies.
    pub territory: Territory,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Its twitch train `[400]`, in the velocity unit of the window.
    pub signal: Vec<f32>,
}

/// What finds the units of one window: the two networks, or a stand-in.
pub trait WindowIdentifier {
    /// The units in `window`, velocities `[400, 64, 64]` as recorded (not standardised).
    fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>>;

    /// The twitch trains `[400]` of units known from other windows, one for each territory. They are given together with all
    /// others of the tile, whose signals must be told apart from theirs. `None` if that cannot be told: their signal is then zero
    /// in windows where they were not found.
    fn follow(&mut self, window: &[f32], territories: &[Territory]) -> Result<Option<Vec<Vec<f32>>>> {
        let _ = (window, territories);
        Ok(None)
    }
}

/// First frames of the windows that cover `frames` frames: half overlapping, the last one moved back to end with the recording.
pub fn window_starts(frames: usize) -> Vec<usize> {
    let last = frames.saturating_sub(WINDOW);
    let mut starts: Vec<usize> = (0..last).step_by(HOP).collect();
    starts.push(last);
    starts
}

/// The window that begins at `start`; a recording shorter than a window is mirrored at its end until it fills one.
///
/// # Errors
/// If the recording's frames cannot be read.
pub fn window<'a>(grid: &OnGrid<'a>, start: usize) -> Result<std::borrow::Cow<'a, [f32]>> {
    let (frames, pixels) = (grid.frames(), grid.pixels());
    if start + WINDOW <= frames {
        return grid.range(start..start + WINDOW);
    }
    let whole = grid.range(0..frames)?;
    let period = (2 * frames).saturating_sub(2).max(1);
    let mirrored = (0..WINDOW).flat_map(|t| {
        let t = t % period;
        let t = if t < frames { t } else { period - t };
        &whole[t * pixels..(t + 1) * pixels]
    });
    Ok(mirrored.copied().collect::<Vec<f32>>().into())
}

/// Refuses a recording too short to hold a twitch.
///
/// # Errors
/// [`Error::Value`] with the length that it has and the one that is needed.
pub fn check_length(recording: &Recording) -> Result<()> {
    let (frames, shape) = (grid_frames(recording), recording.shape());
    if frames >= MIN_FRAMES {
        return Ok(());
    }
    let hint = if shape[2] > shape[0] && shape[0] <= 2 * shape[1] {
        "; are the axes in the order [time, height, width]?"
    } else {
        ""
    };
    Err(Error::value(
        "velocity",
        format!(
            "expected at least {} s, found {:.3} s ({} frames): record longer or correct the frame rate{hint}",
            MIN_FRAMES as f64 / GRID_FS_HZ,
            frames as f64 / GRID_FS_HZ,
            shape[0]
        ),
    ))
}

/// Refuses what an identifier must not return, so that later code can rely on it.
pub fn check_unit(unit: &WindowUnit) -> Result<()> {
    let (pixels, samples) = (unit.territory.probability.len(), unit.signal.len());
    if pixels != GRID * GRID || samples != WINDOW {
        let expected = format!("expected a territory of {} pixels and a signal of {WINDOW} samples", GRID * GRID);
        return Err(Error::value("window unit", format!("{expected}, got {pixels} and {samples}")));
    }
    if !unit.score.is_finite() || unit.territory.probability.iter().chain(&unit.signal).any(|v| !v.is_finite()) {
        let advice = "the weights or the recording's scale are unusable";
        return Err(Error::value("window unit", format!("expected finite values from the networks: {advice}")));
    }
    Ok(())
}
