//! Any size and frame rate onto the networks' grid and rate, and back.

use std::ops::Range;

use super::frames::parts;

/// Side of the networks' grid, in pixels.
pub const GRID: usize = 64;
/// Longest side of the grid of a large field, in pixels: 160 mm.
pub const MAX_GRID: usize = 4 * GRID;
/// Frame rate of the networks, in Hz.
pub const GRID_FS_HZ: f64 = 400.0;
/// Pixel size of the networks' grid, in mm.
pub const GRID_MM: f64 = 0.625;
/// Field of the networks' grid, in mm.
pub const FIELD_MM: f64 = GRID as f64 * GRID_MM;

/// How one axis of a recording lies on an axis of the grid: grid pixel `g` covers the recording's pixels from
/// `start + g * step` to `start + (g + 1) * step` (pixel `i` covers `i` to `i + 1`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Pixels of the recording.
    pub size: usize,
    /// Pixels of the grid: [`GRID`], or more where the field is larger than that.
    pub grid: usize,
    /// Recording pixels per grid pixel.
    pub step: f64,
    /// Where grid pixel 0 begins, in recording pixels; negative where the field is smaller than the grid.
    pub start: f64,
}

impl Axis {
    fn centred(size: usize, step: f64) -> Self {
        // What rounding leaves above a whole number is no further pixel.
        let grid = ((size as f64 / step - 1e-6).ceil() as usize).max(GRID);
        Self { size, grid, step, start: (size as f64 - grid as f64 * step) / 2.0 }
    }

    /// The grid from the recording.
    pub(super) fn forward(&self) -> Line {
        Line::new(self.size, self.grid, self.start, self.step, false)
    }

    /// The recording from the grid.
    fn backward(&self) -> Line {
        Line::new(self.grid, self.size, -self.start / self.step, 1.0 / self.step, true)
    }

    /// Whether grid and recording are the same.
    pub fn is_identity(&self) -> bool {
        self.size == self.grid && self.step == 1.0 && self.start == 0.0
    }

    /// A coordinate of the grid (pixel edges are integers) in the recording's pixels.
    pub fn to_recording(&self, grid: f64) -> f64 {
        self.start + grid * self.step
    }
}

/// Where a recording lies on the networks' grid: the aspect is kept, the field centred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Rows.
    pub y: Axis,
    /// Columns.
    pub x: Axis,
}

impl Placement {
    /// Places a field of `height` x `width` pixels.
    ///
    /// Without a pixel size, or where the field is within 10 % of the networks' 40 mm, its longer side spans 64 pixels of grid.
    /// Other fields whose pixel size is known keep their physical scale, so that territories have the size that the networks
    /// have learned: a smaller field is surrounded by zeros (but never spans less than a quarter of 64 pixels), a larger one
    /// has a larger grid (but of at most [`MAX_GRID`] pixels a side), which is searched in tiles.
    pub fn new(height: usize, width: usize, mm_per_pixel: Option<f64>) -> Self {
        let side = height.max(width) as f64;
        let step = match mm_per_pixel {
            Some(mm) if side * mm < 0.9 * FIELD_MM => (GRID_MM / mm).min(4.0 * side / GRID as f64),
            Some(mm) if side * mm > 1.1 * FIELD_MM => (GRID_MM / mm).max(side / MAX_GRID as f64),
            _ => side / GRID as f64,
        };
        Self { y: Axis::centred(height, step), x: Axis::centred(width, step) }
    }

    /// Whether recording and grid are the same.
    pub fn is_identity(&self) -> bool {
        self.y.is_identity() && self.x.is_identity()
    }

    /// Rows and columns of the grid: 64 each, more where the field is larger.
    pub fn grid(&self) -> [usize; 2] {
        [self.y.grid, self.x.grid]
    }

    /// One frame `[H, W]` on the grid, zero outside the field: area average where the recording is finer, bilinear where it is
    /// coarser.
    pub fn to_grid(&self, frame: &[f32]) -> Vec<f32> {
        apply(frame, &self.y.forward(), &self.x.forward())
    }

    /// A map on the grid (a mask's probability, say) on the recording's pixels `[H, W]`.
    pub fn to_recording(&self, map: &[f32]) -> Vec<f32> {
        apply(map, &self.y.backward(), &self.x.backward())
    }
}

/// The weights of one axis: for every output sample, the first input sample and the weights from there on.
pub(super) struct Line {
    from: usize,
    taps: Vec<(usize, Vec<f32>)>,
}

impl Line {
    /// Output `o` covers `start + o * step .. start + (o + 1) * step` of the input. With `extend`, what lies outside the input
    /// repeats its border; else it is zero.
    fn new(from: usize, to: usize, start: f64, step: f64, extend: bool) -> Self {
        let taps = (0..to).map(|o| {
            let low = start + o as f64 * step;
            // A triangle of half width 1 is bilinear interpolation; a box of width `step` is the area average.
            let (first, last) = if step > 1.0 {
                (low.floor(), (low + step).ceil() - 1.0)
            } else {
                let centre = low + step / 2.0 - 0.5;
                (centre.floor(), centre.floor() + 1.0)
            };
            let weight = |i: f64| {
                if step > 1.0 {
                    ((i + 1.0).min(low + step) - i.max(low)).max(0.0) / step
                } else {
                    (1.0 - (i - (low + step / 2.0 - 0.5)).abs()).max(0.0)
                }
            };
            let centre = low + step / 2.0;
            let outside = !extend && (centre < 0.0 || centre >= from as f64);
            let begin = first.clamp(0.0, from as f64 - 1.0) as usize;
            let end = last.clamp(0.0, from as f64 - 1.0) as usize;
            let mut weights = vec![0f32; end - begin + 1];
            let mut i = first;
            while i <= last && !outside {
                let inside = i >= 0.0 && i < from as f64;
                // Half a pixel beyond the border still repeats it: bilinear taps have nothing else to read there.
                if inside || extend || step <= 1.0 {
                    let at = (i.clamp(0.0, from as f64 - 1.0) as usize) - begin;
                    weights[at] += weight(i) as f32;
                }
                i += 1.0;
            }
            (begin, weights)
        });
        Self { from, taps: taps.collect() }
    }
}

pub(super) fn apply(input: &[f32], y: &Line, x: &Line) -> Vec<f32> {
    let width = x.taps.len();
    let mut rows = vec![0f32; y.from * width];
    for (row, out) in input.chunks_exact(x.from).zip(rows.chunks_exact_mut(width)) {
        for (out, (begin, weights)) in out.iter_mut().zip(&x.taps) {
            *out = weights.iter().zip(&row[*begin..]).map(|(w, v)| w * v).sum();
        }
    }
    let mut out = vec![0f32; y.taps.len() * width];
    for (out, (begin, weights)) in out.chunks_exact_mut(width).zip(&y.taps) {
        for (w, row) in weights.iter().zip(rows[begin * width..].chunks_exact(width)) {
            out.iter_mut().zip(row).for_each(|(out, v)| *out += w * v);
        }
    }
    out
}

/// Band-limited change of frame rate by a windowed sinc, Kaiser window, applied as it interpolates.
///
/// The pass band ends at 85 % of the lower of the two Nyquist frequencies; what would alias is 60 dB down. The weights of every
/// output sample add up to one, so that a constant stays one.
pub struct RateChange {
    /// First input sample of every output sample, and the weights from there on.
    taps: Vec<(usize, Vec<f32>)>,
}

impl RateChange {
    /// From `frames` samples at `from_hz` to samples at `to_hz`, sample 0 of both at the same instant; `to_frames` of them.
    pub fn new(frames: usize, from_hz: f64, to_hz: f64, to_frames: usize) -> Self {
        Self::part(frames, from_hz, to_hz, 0..to_frames)
    }

    /// As [`RateChange::new`], for a part of the output samples only.
    pub fn part(frames: usize, from_hz: f64, to_hz: f64, outputs: Range<usize>) -> Self {
        const ZEROS: f64 = 24.0;
        const BETA: f64 = 6.0;
        let identity = from_hz == to_hz;
        // Cut-off in cycles per input sample.
        let cut = 0.46 * (to_hz / from_hz).min(1.0);
        let half = ZEROS / (2.0 * cut);
        let taps = outputs.map(|j| {
            let centre = (j as f64 * from_hz / to_hz).min(frames as f64 - 1.0);
            if identity {
                return (j.min(frames - 1), vec![1.0]);
            }
            let first = (centre - half).ceil().max(0.0) as usize;
            let last = ((centre + half).floor() as usize).min(frames - 1);
            let weights: Vec<f64> = (first..=last)
                .map(|i| {
                    let d = i as f64 - centre;
                    let r = d / half;
                    sinc(2.0 * cut * d) * bessel_i0(BETA * (1.0 - r * r).max(0.0).sqrt())
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|w| (w / sum) as f32).collect())
        });
        Self { taps: taps.collect() }
    }

    /// The input samples that are read.
    pub fn inputs(&self) -> Range<usize> {
        let first = self.taps.first().map_or(0, |(first, _)| *first);
        first..self.taps.last().map_or(first, |(first, weights)| first + weights.len())
    }

    /// Samples `[frames, width]` at the old rate to those at the new one, `[outputs, width]`.
    pub fn apply(&self, input: &[f32], width: usize) -> Vec<f32> {
        self.apply_from(0, input, width)
    }

    /// As [`RateChange::apply`], where `input` begins with sample `offset`.
    pub fn apply_from(&self, offset: usize, input: &[f32], width: usize) -> Vec<f32> {
        let mut out = vec![0f32; self.taps.len() * width];
        self.add_from(offset, input, width, &mut out);
        out
    }

    /// Adds to `out` what the samples of `input` contribute, the first of which is number `offset`. Parts given one after the other
    /// add up to the whole, to the last bit.
    pub(super) fn add_from(&self, offset: usize, input: &[f32], width: usize, out: &mut [f32]) {
        let end = offset + input.len() / width;
        for (out, (first, weights)) in out.chunks_exact_mut(width).zip(&self.taps) {
            for i in offset.max(*first)..end.min(first + weights.len()) {
                let (w, row) = (weights[i - first], &input[(i - offset) * width..][..width]);
                out.iter_mut().zip(row).for_each(|(out, v)| *out += w * v);
            }
        }
    }
}

/// Signals at `from_hz`, all of one length, to `to_frames` samples at `to_hz`. The weights are worked out once for all signals, a part
/// of the samples at a time.
pub fn signals_at(signals: &[Vec<f32>], from_hz: f64, to_hz: f64, to_frames: usize) -> Vec<Vec<f32>> {
    let frames = signals.first().map_or(1, |signal| signal.len().max(1));
    let mut out = vec![Vec::with_capacity(to_frames); signals.len()];
    for part in parts(0..to_frames, 1, 1 << 12) {
        let change = RateChange::part(frames, from_hz, to_hz, part);
        let read = change.inputs();
        for (out, signal) in out.iter_mut().zip(signals) {
            out.extend(change.apply_from(read.start, &signal[read.clone()], 1));
        }
    }
    out
}

fn sinc(x: f64) -> f64 {
    let y = std::f64::consts::PI * x;
    if y.abs() < 1e-9 { 1.0 } else { y.sin() / y }
}

/// Modified Bessel function of the first kind, order 0: its power series, which converges fast below 10.
fn bessel_i0(x: f64) -> f64 {
    let q = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= q / (k * k) as f64;
        sum += term;
    }
    sum
}
