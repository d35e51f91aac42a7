//! What the bodies share: the pairs of pixels that are really computed, and the running mean over frames.

use super::NeighbourCorrelationAttrs;
use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Pixels computed side by side.
pub(super) const LANES: usize = 16;

/// Rows of pixels in a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub width: usize,
    /// Values from the beginning of one row to that of the next.
    pub pitch: usize,
}

/// Which pair a map is read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    /// The map's offset.
    pub dy: isize,
    pub dx: isize,
    /// Index into [`Plan::pairs`].
    pub pair: usize,
    /// Whether the pair has the opposite offset: the value at `p` is then the pair's at `p + o`.
    pub opposite: bool,
}

/// Extents, offsets without opposites, and the layout of rows in scratch.
#[derive(Debug)]
pub(super) struct Plan {
    pub images: usize,
    pub frames: usize,
    pub height: usize,
    pub width: usize,
    pub smooth_frames: usize,
    pub floor: f32,
    /// Offsets downwards, or rightwards in the same row; the first is (0, 0), whose products are the energies.
    pub pairs: Vec<(usize, isize)>,
    /// For each offset asked for, where it comes from; `None` if no pair of pixels of the field is that far apart.
    pub maps: Vec<Option<Map>>,
    /// Largest offset downwards.
    pub reach: usize,
    /// A row in scratch: the width, rounded up to whole vectors.
    pub row: usize,
    /// Zeros between rows in scratch: the largest offset sideways, rounded up to whole vectors.
    pub gap: usize,
}

impl Plan {
    pub fn new(attrs: &NeighbourCorrelationAttrs, recordings: &Shape) -> Self {
        let (height, width) = (recordings[2], recordings[3]);
        let mut pairs = vec![(0, 0)];
        let mut maps = Vec::with_capacity(attrs.offsets.len());
        for &(dy, dx) in &attrs.offsets {
            let (dy, dx) = (dy as isize, dx as isize);
            if dy.unsigned_abs() >= height || dx.unsigned_abs() >= width {
                maps.push(None);
                continue;
            }
            let opposite = (dy, dx) < (0, 0);
            let offset = (dy.unsigned_abs(), if opposite { -dx } else { dx });
            let pair = pairs.iter().position(|pair| *pair == offset).unwrap_or_else(|| {
                pairs.push(offset);
                pairs.len() - 1
            });
            maps.push(Some(Map { dy, dx, pair, opposite }));
        }
        let reach = pairs.iter().map(|pair| pair.0).max().unwrap_or(0);
        let sideways = pairs.iter().map(|pair| pair.1.unsigned_abs()).max().unwrap_or(0);
        Self {
            images: recordings[0],
            frames: recordings[1],
            height,
            width,
            smooth_frames: attrs.smooth_frames,
            floor: attrs.floor,
            pairs,
            maps,
            reach,
            row: width.next_multiple_of(LANES),
            gap: sideways.next_multiple_of(LANES),
        }
    }

    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Values of one recording.
    pub fn recording(&self) -> usize {
        self.frames * self.pixels()
    }

    /// The frames that frame `t` of the running mean covers.
    pub fn window(&self, t: usize) -> std::ops::Range<usize> {
        let half = self.smooth_frames / 2;
        t.saturating_sub(half)..t.saturating_add(half + 1).min(self.frames)
    }

    /// For each frame, its weight in the mean over time of the running mean.
    pub fn mean_weights(&self, weights: &mut [f32]) {
        for (s, weight) in weights.iter_mut().enumerate() {
            // The windows that hold s are those of the frames in s's own window.
            let sum: f64 = self.window(s).map(|t| 1.0 / self.window(t).len() as f64).sum();
            *weight = (sum / self.frames as f64) as f32;
        }
    }

    /// The mean over time of the running mean of the pixels from `start` on.
    pub fn mean(&self, isa: Isa, x: &[f32], start: usize, weights: &[f32], mean: &mut [f32]) {
        mean.fill(0.0);
        let len = mean.len();
        let frame = |s: usize| &x[s * self.pixels() + start..][..len];
        let (fours, rest) = weights.as_chunks::<4>();
        for (i, weights) in fours.iter().enumerate() {
            add_four(isa, *weights, [frame(4 * i), frame(4 * i + 1), frame(4 * i + 2), frame(4 * i + 3)], mean);
        }
        for (i, weight) in rest.iter().enumerate() {
            add_scaled(isa, *weight, frame(4 * fours.len() + i), mean);
        }
    }

    /// `y` of frame `t`: the running mean less the mean over time, of the pixels from `start` on, as many as there are
    /// means. They are written in rows of `width`, which begin `pitch` apart.
    #[allow(clippy::too_many_arguments, reason = "one call for a frame of a block of rows")]
    pub fn smooth(&self, isa: Isa, x: &[f32], t: usize, start: usize, mean: &[f32], y: &mut [f32], rows: Rows) {
        let window = self.window(t);
        let frame = |s: usize| &x[s * self.pixels() + start..][..mean.len()];
        if window.len() == 5 {
            let s = window.start;
            let frames = [frame(s), frame(s + 1), frame(s + 2), frame(s + 3), frame(s + 4)];
            return smooth_five(isa, frames, mean, y, rows);
        }
        for (row, mean) in mean.chunks_exact(rows.width).enumerate() {
            let y = &mut y[row * rows.pitch..][..rows.width];
            y.fill(0.0);
            for s in window.clone() {
                add_scaled(isa, 1.0, &frame(s)[row * rows.width..][..rows.width], y);
            }
            centre(isa, 1.0 / window.len() as f32, mean, y);
        }
    }
}

per_isa! {
    /// Adds four scaled frames to `y`: a quarter of the reads and writes of `y`.
    fn add_four[](scales: [f32; 4], frames: [&[f32]; 4], y: &mut [f32]) {
        let len = y.len();
        let (a, b, c, d) = (&frames[0][..len], &frames[1][..len], &frames[2][..len], &frames[3][..len]);
        for i in 0..len {
            y[i] += (scales[0] * a[i] + scales[1] * b[i]) + (scales[2] * c[i] + scales[3] * d[i]);
        }
    }
}

per_isa! {
    /// `y += scale x`.
    pub(super) fn add_scaled[](scale: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += scale * *x;
        }
    }
}

per_isa! {
    /// The mean of five frames, less the mean over time: the usual window, in one pass.
    fn smooth_five[](frames: [&[f32]; 5], mean: &[f32], y: &mut [f32], rows: Rows) {
        let width = rows.width;
        for (row, mean) in mean.chunks_exact(width).enumerate() {
            let at = row * width;
            let a = &frames[0][at..at + width];
            let b = &frames[1][at..at + width];
            let c = &frames[2][at..at + width];
            let d = &frames[3][at..at + width];
            let e = &frames[4][at..at + width];
            let y = &mut y[row * rows.pitch..][..width];
            for i in 0..width {
                y[i] = ((a[i] + b[i]) + (c[i] + d[i]) + e[i]) * 0.2 - mean[i];
            }
        }
    }
}

per_isa! {
    /// `y = scale y - mean`.
    fn centre[](scale: f32, mean: &[f32], y: &mut [f32]) {
        for (y, mean) in y.iter_mut().zip(mean) {
            *y = scale * *y - *mean;
        }
    }
}
