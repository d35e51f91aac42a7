//! The weight gradient: `dw[tap, ci, co] = sum over pixels of x[pixel + tap, ci] * dy[pixel, co]`.
//!
//! Both operands already lie as the kernel reads them: the sum runs over pixels, a pixel's channels are adjacent. A run of
//! the kernel is a stretch of a row of pixels; taps that fall outside the map are left out by clipping the stretch. Where
//! channels are few, the taps of a row together play the part of channels: with the row's padding written out, they are
//! adjacent too.
//!
//! Tasks are parts of the weights (taps x input channels x output channels) times groups of rows; the groups' partial sums are
//! added in order at the end. How the work is cut depends on shapes alone.

use super::super::Geometry;
use super::cut::Cut;
use crate::device::Cpu;
use crate::device::cpu::simd::LANES;
use crate::device::cpu::{Isa, SendPtr};
use crate::ops::matmul::finish::TileBuffer;
use crate::ops::matmul::kernel::{PANEL, Run, Tile, TileFn, Tiling, kernel};
use crate::ops::matmul::pack::pack_panel;
use crate::ops::{Scratch, valid_rows};

/// `dw` from `x` and `dy`, over the valid maps.
pub(super) fn wgrad(
    cpu: &Cpu,
    geometry: &Geometry,
    x: &[f32],
    dy: &[f32],
    counts: Option<&[i32]>,
    dw: &mut [f32],
    scratch: &mut [u8],
) {
    let cut = Cut::new(geometry, counts.is_some());
    let mut scratch = Scratch::new(scratch);
    let padded = scratch.take::<f32>(cut.padded_len());
    let partial = scratch.take::<f32>(cut.partial_len());
    let mut take = |len: usize| SendPtr(scratch.take::<f32>(len).as_mut_ptr());
    let workers: Vec<WorkerScratch> = (0..cpu.threads())
        .map(|_| WorkerScratch { panels: take(cut.panels_len()), pixels: take(cut.pixels_len()) })
        .collect();
    if cut.padded {
        let (row, pixel) = (cut.g.input[2] * cut.pixel, cut.pixel);
        let (from, before) = (geometry.input[2] * pixel, geometry.before[2] * pixel);
        cpu.parallel_chunks(padded, row, |i, to| {
            to[..before].fill(0.0);
            to[before..before + from].copy_from_slice(&x[i * from..][..from]);
            to[before + from..].fill(0.0);
        });
    }
    let maps: Vec<usize> = valid_rows(cut.g.n, counts).collect();
    let size = dw.len();
    let sums = if cut.groups > 1 { SendPtr(partial.as_mut_ptr()) } else { SendPtr(dw.as_mut_ptr()) };
    let job = Job { isa: cpu.isa(), cut: &cut, x: if cut.padded { padded } else { x }, dy, maps: &maps, sums, size };
    let [taps, inputs, outputs] = cut.splits;
    cpu.parallel(cut.groups * taps * inputs * outputs, |task, worker| {
        let (output, task) = (task % outputs, task / outputs);
        let (input, task) = (task % inputs, task / inputs);
        let (tap, group) = (task % taps, task / taps);
        job.run(group, [tap, input, output], workers[worker]);
    });
    if cut.groups > 1 {
        let partial = &*partial;
        cpu.parallel_chunks(dw, 4096, |chunk, dw| {
            dw.copy_from_slice(&partial[chunk * 4096..][..dw.len()]);
            for group in 1..cut.groups {
                let partial = &partial[group * size + chunk * 4096..];
                dw.iter_mut().zip(partial).for_each(|(dw, partial)| *dw += partial);
            }
        });
    }
}

/// Memory of one worker.
#[derive(Clone, Copy)]
struct WorkerScratch {
    panels: SendPtr<f32>,
    pixels: SendPtr<f32>,
}

/// All that tasks share.
struct Job<'a> {
    isa: Isa,
    cut: &'a Cut,
    x: &'a [f32],
    dy: &'a [f32],
    maps: &'a [usize],
    sums: SendPtr<f32>,
    /// Elements of dw.
    size: usize,
}

/// Part `index` of `parts` equal ones of `0..len`.
fn part(index: usize, parts: usize, len: usize) -> std::ops::Range<usize> {
    index * len / parts..(index + 1) * len / parts
}

impl Job<'_> {
    /// Adds up one part of the weights over one group of rows.
    fn run(&self, group: usize, [tap, input, output]: [usize; 3], scratch: WorkerScratch) {
        let (g, isa) = (&self.cut.g, self.isa);
        let taps = part(tap, self.cut.splits[0], g.taps());
        let inputs = part(input, self.cut.splits[1], g.cin);
        // Panels, so that no part begins inside of one.
        let columns = part(output, self.cut.splits[2], g.cout.div_ceil(PANEL));
        let columns = columns.start * PANEL..(columns.end * PANEL).min(g.cout);
        let sums = SendPtr(self.sums.get().wrapping_add(group * self.size));
        let lines = part(group, self.cut.groups, self.maps.len() * g.output[0] * g.output[1]);
        let panels_in_all = columns.len().div_ceil(PANEL);
        let tiling = Tiling::new(isa, inputs.len(), panels_in_all);
        // Channels far apart in x are copied together where every copy is read by several tiles.
        let apart = g.taps() == 1 || g.stride[2] > 1;
        let gather = apart && panels_in_all >= 2 * tiling.panels && g.cin > tiling.max_rows();
        let mut runs = Vec::with_capacity(self.cut.rows);
        let mut buffer = TileBuffer::new();
        let mut begun = vec![false; taps.len()];
        let mut start = lines.start;
        while start < lines.end {
            let block = start..(start + self.cut.rows).min(lines.end);
            let (b, b_step, b_panel) = self.columns(block.clone(), columns.clone(), scratch.panels);
            for (tap, begun) in taps.clone().zip(&mut begun) {
                self.collect_runs(block.clone(), tap, b_step, &mut runs);
                if runs.is_empty() {
                    continue;
                }
                let x_runs = runs.clone();
                if gather {
                    let mut at = 0;
                    for run in &mut runs {
                        run.a = at * tiling.max_rows().next_multiple_of(LANES);
                        at += run.len;
                    }
                }
                for index in 0..tiling.tiles {
                    let (skip, rows) = tiling.tile(index);
                    let input = inputs.start + skip;
                    let (a, a_step) = if gather {
                        let slot = tiling.max_rows().next_multiple_of(LANES);
                        self.gather(&x_runs, input, rows, slot, scratch.pixels);
                        (scratch.pixels.get().cast_const(), slot)
                    } else {
                        (self.x.as_ptr().wrapping_add(input), g.stride[2] * self.cut.pixel)
                    };
                    for first in (columns.start..columns.end).step_by(tiling.panels * PANEL) {
                        let count = (columns.end - first).div_ceil(PANEL).min(tiling.panels);
                        let tile = Tile {
                            runs: &runs,
                            a,
                            a_step,
                            b: b.wrapping_add((first - columns.start) / PANEL * b_panel),
                            b_step,
                            b_panel,
                            c: sums.get().wrapping_add((tap * g.cin + input) * g.cout + first),
                            c_row: g.cout,
                            c_panel: PANEL,
                            accumulate: *begun,
                        };
                        // SAFETY: runs stay inside x or the gathered pixels, and dy or its panels; the tile lies in this
                        // task's part of dw.
                        unsafe { sum_tile(kernel(isa, rows, count), tile, rows, count, g.cout - first, &mut buffer) };
                    }
                }
                *begun = true;
            }
            start = block.end;
        }
        // Taps that never met the map.
        for tap in taps.zip(begun).filter(|(_, begun)| !begun).map(|(tap, _)| tap) {
            for row in inputs.clone().map(|input| tap * g.cin + input) {
                let to = sums.get().wrapping_add(row * g.cout + columns.start);
                // SAFETY: this task's part of dw.
                unsafe { std::slice::from_raw_parts_mut(to, columns.len()) }.fill(0.0);
            }
        }
    }

    /// Copies `rows` channels from `input` on of all pixels of `runs`, each to a slot of `slot` elements.
    fn gather(&self, runs: &[Run], input: usize, rows: usize, slot: usize, to: SendPtr<f32>) {
        let step = self.cut.g.stride[2] * self.cut.pixel;
        let mut slots = 0;
        for run in runs {
            for i in 0..run.len {
                let from = &self.x[run.a + i * step + input..];
                // SAFETY: the worker's own buffer has a slot for every pixel of a block.
                let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(slots * slot), slot) };
                // Whole vectors where they can be read; what is too much in a slot does no harm.
                let (from, to) =
                    if from.len() >= slot { (&from[..slot], to) } else { (&from[..rows], &mut to[..rows]) };
                if let (Some(from), Some(to)) = (from.first_chunk::<LANES>(), to.first_chunk_mut::<LANES>()) {
                    *to = *from;
                }
                if to.len() != LANES {
                    to.copy_from_slice(from);
                }
                slots += 1;
            }
        }
    }

    /// The columns of dy for a block of rows: in place, or rearranged into panels. Returns where they begin, and the
    /// distances between pixels and between panels.
    fn columns(
        &self,
        block: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        panels: SendPtr<f32>,
    ) -> (*const f32, usize, usize) {
        let g = &self.cut.g;
        if !self.cut.pack {
            return (self.dy.as_ptr().wrapping_add(columns.start), g.cout, PANEL);
        }
        let pixels = block.len() * g.output[2];
        let panel_len = (pixels + 1) * PANEL;
        for (i, first) in columns.clone().step_by(PANEL).enumerate() {
            for (j, row) in block.clone().enumerate() {
                let (from, len) = (self.dy_row(row), g.output[2] * PANEL);
                // SAFETY: the worker's own buffer has room for all rows and panels of a block.
                let to = unsafe { std::slice::from_raw_parts_mut(panels.get().add(i * panel_len + j * len), len) };
                pack_panel(&self.dy[from..], g.cout, g.output[2], g.cout, first, to);
            }
        }
        (panels.get(), PANEL, panel_len)
    }

    /// Where row `row` of the valid maps begins in dy.
    fn dy_row(&self, row: usize) -> usize {
        let g = &self.cut.g;
        let per_map = g.output[0] * g.output[1];
        (self.maps[row / per_map] * per_map + row % per_map) * g.output[2] * g.cout
    }

    /// The stretches of a block's rows for which a tap lies inside the map.
    fn collect_runs(&self, block: std::ops::Range<usize>, tap: usize, b_step: usize, runs: &mut Vec<Run>) {
        let g = &self.cut.g;
        let k = [tap / (g.kernel[1] * g.kernel[2]), tap / g.kernel[2] % g.kernel[1], tap % g.kernel[2]];
        let offset: [isize; 3] = std::array::from_fn(|i| (k[i] * g.dilation[i]) as isize - g.before[i] as isize);
        // Pixels of a row whose tap is inside.
        let ceil = |at: isize| (at.max(0) as usize).div_ceil(g.stride[2]);
        let (low, high) = (ceil(-offset[2]), ceil(g.input[2] as isize - offset[2]).min(g.output[2]));
        runs.clear();
        if low >= high {
            return;
        }
        let (per_map, map_len) = (g.output[0] * g.output[1], g.input_pixels() * self.cut.pixel);
        let first = (low * g.stride[2]) as isize + offset[2];
        for (j, row) in block.clone().enumerate() {
            let (map, at) = (self.maps[row / per_map], row % per_map);
            let t = (at / g.output[1] * g.stride[0]) as isize + offset[0];
            let y = (at % g.output[1] * g.stride[1]) as isize + offset[1];
            if t < 0 || t as usize >= g.input[0] || y < 0 || y as usize >= g.input[1] {
                continue;
            }
            let pixel = (t as usize * g.input[1] + y as usize) * g.input[2] + first as usize;
            let b = if self.cut.pack { j * g.output[2] * b_step } else { self.dy_row(row) };
            let run = Run { a: map * map_len + pixel * self.cut.pixel, b: b + low * b_step, len: high - low };
            match runs.last_mut() {
                // Rows that follow each other without a gap are one run.
                Some(last)
                    if last.a + last.len * g.stride[2] * self.cut.pixel == run.a
                        && last.b + last.len * b_step == run.b =>
                {
                    last.len += run.len;
                }
                _ => runs.push(run),
            }
        }
    }
}

/// Runs the kernel on a tile with `columns` columns left in its row, by way of `buffer` where a panel is not full.
///
/// # Safety
/// As for the kernel, for the columns that there are.
unsafe fn sum_tile(
    kernel: TileFn,
    mut tile: Tile<'_>,
    rows: usize,
    panels: usize,
    columns: usize,
    buffer: &mut TileBuffer,
) {
    if columns >= panels * PANEL {
        // SAFETY: the caller's contract.
        return unsafe { kernel(&tile) };
    }
    let (to, row) = (tile.c, tile.c_row);
    let accumulate = std::mem::take(&mut tile.accumulate);
    (tile.c, tile.c_row) = (buffer.0.as_mut_ptr(), TileBuffer::ROW);
    // SAFETY: the caller's contract; only columns that there are get touched.
    unsafe {
        kernel(&tile);
        for (i, sums) in buffer.0.chunks_exact(TileBuffer::ROW).take(rows).enumerate() {
            let to = std::slice::from_raw_parts_mut(to.add(i * row), columns);
            if accumulate {
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
            } else {
                to.copy_from_slice(&sums[..columns]);
            }
        }
    }
}
