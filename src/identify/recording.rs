//! A recording: tissue velocity over time on a pixel grid.

use std::borrow::Cow;
use std::ops::Range;

use super::frames::Frames;
use super::survey::survey;
use crate::{Error, Result};

/// Most values a recording may hold: 4 GiB of `f32`.
pub const MAX_VALUES: usize = 1 << 30;
/// Most pixels along one side.
pub const MAX_SIDE: usize = 4096;
/// Fewest pixels along one side: a territory must have room.
pub const MIN_SIDE: usize = 8;
/// Frame rates that can carry twitches, in Hz.
pub const FS_RANGE_HZ: std::ops::RangeInclusive<f64> = 50.0..=100_000.0;
/// Pixel sizes that ultrasound can have, in mm.
pub const PIXEL_RANGE_MM: std::ops::RangeInclusive<f64> = 0.001..=20.0;

/// Tissue velocity `[T, H, W]` (time, depth, width), any unit (mm/s by convention), sampled at `fs_hz`.
///
/// Every recording has been checked: sizes within reason, all values finite, not constant. A long one that was read from a file stays
/// there, and its frames are read as they are needed.
#[derive(Clone, Debug)]
pub struct Recording {
    name: String,
    frames: Frames,
    /// Root mean square velocity, `[H, W]`.
    rms: Vec<f32>,
    shape: [usize; 3],
    fs_hz: f64,
    mm_per_pixel: Option<f64>,
}

impl Recording {
    /// A recording from its values in row-major order `[T, H, W]` and its frame rate.
    ///
    /// # Errors
    /// [`Error::Value`] naming the field if the sizes are empty, absurd or do not fit the values, if a value is not finite,
    /// if all values are equal, or if `fs_hz` is out of [`FS_RANGE_HZ`].
    pub fn new(name: impl Into<String>, velocity: Vec<f32>, shape: [usize; 3], fs_hz: f64) -> Result<Self> {
        let values = check_shape(&shape)?;
        if velocity.len() != values {
            return Err(Error::value(
                "velocity",
                format!(
                    "expected {values} values for the shape {}, got {}: give one value per frame and pixel",
                    show(&shape),
                    velocity.len()
                ),
            ));
        }
        Self::of_frames(name.into(), Frames::Memory(velocity), shape, fs_hz)
    }

    /// A recording from frames of a shape that is known to be good; looks at every value.
    pub(super) fn of_frames(name: String, frames: Frames, shape: [usize; 3], fs_hz: f64) -> Result<Self> {
        let rms = survey(&frames, shape)?;
        check_fs(fs_hz)?;
        Ok(Self { name, frames, rms, shape, fs_hz, mm_per_pixel: None })
    }

    /// The same recording with its pixel size, which lets territories be measured and scaled as the networks expect.
    ///
    /// # Errors
    /// [`Error::Value`] if it is out of [`PIXEL_RANGE_MM`].
    pub fn with_mm_per_pixel(mut self, mm_per_pixel: f64) -> Result<Self> {
        if !PIXEL_RANGE_MM.contains(&mm_per_pixel) {
            return Err(Error::value(
                "mm_per_pixel",
                format!(
                    "expected a pixel size of {} to {} mm, got {mm_per_pixel}: give the distance between pixel centres in millimetres",
                    PIXEL_RANGE_MM.start(),
                    PIXEL_RANGE_MM.end()
                ),
            ));
        }
        self.mm_per_pixel = Some(mm_per_pixel);
        Ok(self)
    }

    /// Its name: for a file, the stem.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The velocities of some frames, row-major `[frames, H, W]`.
    ///
    /// # Errors
    /// [`Error::Value`] if there are no such frames; [`Error::Io`] or [`Error::File`] if the recording's file cannot be read any more
    /// or has changed since.
    pub fn velocity(&self, frames: Range<usize>) -> Result<Cow<'_, [f32]>> {
        if frames.start > frames.end || frames.end > self.shape[0] {
            let message =
                format!("expected frames within 0 to {}, got {} to {}", self.shape[0], frames.start, frames.end);
            return Err(Error::value("frames", message));
        }
        self.frames.read(self.shape, frames)
    }

    /// Frames, rows, columns.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.shape[0]
    }

    /// Pixel rows (depth).
    pub fn height(&self) -> usize {
        self.shape[1]
    }

    /// Pixel columns (width).
    pub fn width(&self) -> usize {
        self.shape[2]
    }

    /// Frames per second.
    pub fn fs_hz(&self) -> f64 {
        self.fs_hz
    }

    /// Distance between pixel centres in mm, where known.
    pub fn mm_per_pixel(&self) -> Option<f64> {
        self.mm_per_pixel
    }

    /// Length in seconds: frames over frame rate.
    pub fn duration_s(&self) -> f64 {
        self.shape[0] as f64 / self.fs_hz
    }

    /// Root mean square velocity of every pixel over time, `[H, W]`: the map that shows where tissue moves.
    pub fn rms_map(&self) -> &[f32] {
        &self.rms
    }
}

/// Checks the extents and returns their product.
pub(crate) fn check_shape(shape: &[usize]) -> Result<usize> {
    let [frames, height, width] = *shape else {
        return Err(Error::value(
            "velocity",
            format!(
                "expected 3 axes [time, height, width], found {} {}: save one recording as one array [T, H, W]",
                shape.len(),
                show(shape)
            ),
        ));
    };
    if frames == 0 || height == 0 || width == 0 {
        return Err(Error::value(
            "velocity",
            format!("expected at least one frame and pixel, found the empty shape {}: check the export", show(shape)),
        ));
    }
    let small = height.min(width);
    let large = height.max(width);
    if small < MIN_SIDE || large > MAX_SIDE {
        let hint = if width > height.saturating_mul(3) && frames <= 2 * height {
            "; are the axes in the order [time, height, width]?"
        } else {
            ""
        };
        return Err(Error::value(
            "velocity",
            format!(
                "expected {MIN_SIDE} to {MAX_SIDE} pixels a side, found {} (frames, rows, columns): crop or resample it{hint}",
                show(shape)
            ),
        ));
    }
    match frames.checked_mul(height).and_then(|n| n.checked_mul(width)) {
        Some(values) if values <= MAX_VALUES => Ok(values),
        _ => Err(Error::value(
            "velocity",
            format!(
                "expected at most {MAX_VALUES} values, found the shape {}: cut it into shorter recordings",
                show(shape)
            ),
        )),
    }
}

pub(crate) fn check_fs(fs_hz: f64) -> Result<()> {
    if FS_RANGE_HZ.contains(&fs_hz) {
        return Ok(());
    }
    Err(Error::value(
        "fs_hz",
        format!(
            "expected {} to {} frames per second, got {fs_hz}: give the frame rate in Hz",
            FS_RANGE_HZ.start(),
            FS_RANGE_HZ.end()
        ),
    ))
}

/// `[400, 64, 64]`.
pub(crate) fn show(shape: &[usize]) -> String {
    format!("{shape:?}")
}
