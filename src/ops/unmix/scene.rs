//! Recordings with units, for instances of the ops.

use crate::Result;
use crate::ops::problem::{Numbers, Real};
use crate::tensor::Tensor;

/// Recordings with units: discs that move together over a few patterns, in noise.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Recordings.
    pub recordings: usize,
    /// Masks of each.
    pub units: usize,
    /// Frames.
    pub frames: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Largest radius of a mask, in pixels. 0 makes masks of one pixel.
    pub radius: f32,
    /// Valid units of each recording; all if there are none.
    pub counts: Option<Vec<i32>>,
    /// Makes the first mask of each recording empty and the second a copy of the third, as far as there are that many.
    pub degenerate: bool,
}

impl Scene {
    /// One of any shape.
    pub fn random(numbers: &mut Numbers) -> Self {
        let (recordings, units) = (numbers.integer(1, 3), numbers.integer(1, 6));
        let ragged = numbers.integer(0, 1) == 1;
        let counts = ragged.then(|| (0..recordings).map(|_| numbers.integer(0, units + 1) as i32 - 1).collect());
        Self {
            recordings,
            units,
            frames: numbers.integer(4, 70),
            height: numbers.integer(5, 24),
            width: numbers.integer(5, 40),
            radius: numbers.uniform(0.0, 7.0),
            counts,
            degenerate: numbers.integer(0, 3) == 0,
        }
    }

    pub(super) fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub(super) fn rows(&self) -> usize {
        self.recordings * self.units
    }

    pub(super) fn is_valid(&self, row: usize, counts: &[i32]) -> bool {
        counts.is_empty() || ((row % self.units) as i32) < counts[row / self.units]
    }

    /// `[N,U,H,W]`
    pub fn masks(&self, numbers: &mut Numbers) -> Result<Tensor> {
        let mut masks = vec![0.0f32; self.rows() * self.pixels()];
        for row in 0..self.rows() {
            let (y0, x0) = (numbers.integer(0, self.height - 1), numbers.integer(0, self.width - 1));
            let radius = numbers.uniform(0.0, self.radius);
            for (i, value) in masks[row * self.pixels()..][..self.pixels()].iter_mut().enumerate() {
                let (y, x) = ((i / self.width) as f32, (i % self.width) as f32);
                *value = ((y - y0 as f32).hypot(x - x0 as f32) <= radius) as u8 as f32;
            }
        }
        for masks in masks.chunks_exact_mut(self.units * self.pixels()).filter(|_| self.degenerate) {
            masks[..self.pixels()].fill(0.0);
            if self.units > 2 {
                masks.copy_within(2 * self.pixels()..3 * self.pixels(), self.pixels());
            }
        }
        Tensor::new([self.recordings, self.units, self.height, self.width], &masks)
    }

    /// `[N,T,H,W,1]`: three patterns of amplitudes 4, 2, 1 in noise. And `[N*U,T,1]`: the sum of their courses.
    pub(super) fn recording(&self, numbers: &mut Numbers) -> Result<(Tensor, Tensor)> {
        let (frames, pixels) = (self.frames, self.pixels());
        let mut recordings = vec![0.0f32; self.recordings * frames * pixels];
        let mut reference = vec![0.0f32; self.rows() * frames];
        for (n, recording) in recordings.chunks_exact_mut(frames * pixels).enumerate() {
            let mut courses = vec![0.0f32; frames];
            for amplitude in [4.0, 2.0, 1.0] {
                let (course, pattern) = (numbers.values(frames), numbers.values(pixels));
                for (t, frame) in recording.chunks_exact_mut(pixels).enumerate() {
                    frame.iter_mut().zip(&pattern).for_each(|(x, p)| *x += amplitude * course[t] * p);
                    courses[t] += course[t];
                }
            }
            recording.iter_mut().for_each(|x| *x += numbers.uniform(-0.05, 0.05));
            reference[n * self.units * frames..][..self.units * frames]
                .chunks_exact_mut(frames)
                .for_each(|row| row.copy_from_slice(&courses));
        }
        let recordings = Tensor::new([self.recordings, frames, self.height, self.width, 1], &recordings)?;
        Ok((recordings, Tensor::new([self.rows(), frames, 1], &reference)?))
    }

    pub(super) fn with_counts(&self, mut inputs: Vec<Tensor>) -> Vec<Tensor> {
        inputs.extend(self.counts.as_ref().map(|counts| Numbers::ints(counts)));
        inputs
    }

    pub(super) fn pixels_of<R: Real>(&self, mask: &[R]) -> Vec<usize> {
        (0..mask.len()).filter(|i| mask[*i].wide() > 0.5).collect()
    }
}
