//! How a weight gradient is cut into tasks and blocks. It depends on shapes alone.

use super::super::Geometry;
use crate::device::cpu::simd::LANES;
use crate::ops::Scratch;
use crate::ops::matmul::kernel::{MAX_ROWS, PANEL};

/// Tasks to aim for.
const TASKS: usize = 24;
/// Multiply-accumulates per pixel that a task should have at least, so that reading the pixels does not count.
const WORK: usize = 32 << 10;
/// Channels of either side that a task takes at most.
const CHANNELS: usize = 256;
/// Elements of x, and of dy, that are worked on at a time: shares of the second cache.
const BLOCK: usize = 56 << 10;
/// Partial sums kept, in elements, at most (two groups are always allowed).
const PARTIAL: usize = 4 << 20;

/// How the work is cut.
pub(super) struct Cut {
    /// Geometry with the last axis' taps merged into channels, if that is done; its input then counts padded pixels.
    pub g: Geometry,
    /// Elements between pixels of x: less than `g.cin` where taps are merged.
    pub pixel: usize,
    /// Whether x is copied with the padding of its rows written out.
    pub padded: bool,
    /// Tasks along taps, input channels and output channels.
    pub splits: [usize; 3],
    /// Groups of rows with partial sums of their own.
    pub groups: usize,
    /// Rows of dy that are worked on at a time. A row is a stretch along the last axis.
    pub rows: usize,
    /// Whether dy is rearranged into panels.
    pub pack: bool,
}

impl Cut {
    pub fn new(g: &Geometry, counts: bool) -> Self {
        let mut g = flattened(g, counts);
        let (pixel, mut padded) = (g.cin, false);
        if g.cin < PANEL && g.kernel[2] > 1 && g.dilation[2] == 1 {
            let needed = (g.output[2] - 1) * g.stride[2] + g.kernel[2];
            padded = g.before[2] > 0 || needed > g.input[2];
            g.input[2] = if padded { needed.max(g.before[2] + g.input[2]) } else { g.input[2] };
            (g.before[2], g.cin, g.kernel[2]) = (0, g.cin * g.kernel[2], 1);
        }
        let channel_splits = [g.cin.div_ceil(CHANNELS), g.cout.div_ceil(CHANNELS)];
        let parts = channel_splits[0] * channel_splits[1];
        let work = g.taps() * g.cin * g.cout;
        let tap_splits = TASKS.div_ceil(parts).min(work / parts / WORK).clamp(1, g.taps());
        let rows_in_all = g.n * g.output[0] * g.output[1];
        let per_row = g.output[2] * g.cout.min(CHANNELS).next_multiple_of(PANEL);
        let rows = (BLOCK / per_row.max(g.output[2] * g.stride[2] * g.cin.min(CHANNELS))).max(1);
        let blocks = rows_in_all.div_ceil(rows).max(1);
        let affordable = (PARTIAL / work.max(1)).max(2);
        let groups = TASKS.div_ceil(parts * tap_splits).min(blocks).min(affordable).max(1);
        let pack = !g.cout.is_multiple_of(PANEL) || g.cout > 4 * PANEL;
        Self { g, pixel, padded, splits: [tap_splits, channel_splits[0], channel_splits[1]], groups, rows, pack }
    }

    pub fn padded_len(&self) -> usize {
        let g = &self.g;
        if self.padded { g.n * g.input_pixels() * self.pixel } else { 0 }
    }

    pub fn partial_len(&self) -> usize {
        if self.groups > 1 { self.groups * self.g.taps() * self.g.cin * self.g.cout } else { 0 }
    }

    /// Elements of the panels of dy that one worker works on.
    pub fn panels_len(&self) -> usize {
        let g = &self.g;
        let pixels = self.rows * g.output[2];
        if self.pack { (pixels + 1) * g.cout.min(CHANNELS).next_multiple_of(PANEL) } else { 0 }
    }

    /// Elements of the pixels of x that one worker gathers for a tile.
    pub fn pixels_len(&self) -> usize {
        self.rows * self.g.output[2] * MAX_ROWS.next_multiple_of(LANES)
    }

    pub fn scratch(&self, threads: usize) -> usize {
        Scratch::bytes::<f32>(self.padded_len())
            + Scratch::bytes::<f32>(self.partial_len())
            + threads * (Scratch::bytes::<f32>(self.panels_len()) + Scratch::bytes::<f32>(self.pixels_len()))
    }
}

/// A pointwise convolution as one over rows of pixels of a manageable length.
fn flattened(g: &Geometry, counts: bool) -> Geometry {
    let mut g = *g;
    if g.kernel == [1; 3] && g.input == g.output && g.before == [0; 3] {
        let pixels = g.input_pixels() * if counts { 1 } else { g.n };
        if !counts {
            g.n = 1;
        }
        // Rows of the largest length up to 64 that divides the pixels; one pixel if there is none.
        let row = (1..=64).rev().find(|row| pixels.is_multiple_of(*row)).unwrap_or(1);
        (g.input, g.output) = ([1, pixels / row, row], [1, pixels / row, row]);
    }
    g
}
