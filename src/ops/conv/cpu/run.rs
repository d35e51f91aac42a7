//! Running a correlation: pack some units of the input, compute their tiles, go on.

use super::correlation::{Axis, Correlation};
use super::plan::{Plan, TileAxis};
use crate::device::Cpu;
use crate::device::cpu::{Isa, SendPtr};
use crate::ops::matmul::finish::{Finish, TileBuffer};
use crate::ops::matmul::kernel::{MAX_ROWS, PANEL, Run, Tile, Tiling, kernel};
use crate::ops::matmul::pack::panel_len;
use crate::ops::valid_rows;

/// Tasks to aim for: enough to keep many cores busy to the end.
const TASKS: usize = 24;
/// Packed input that a task works on, in elements: a share of the second cache.
const BLOCK: usize = 140 << 10;

/// All that tasks share.
pub(super) struct Job<'a> {
    pub(super) isa: Isa,
    pub(super) c: &'a Correlation,
    pub(super) plan: Plan,
    /// Valid maps.
    pub(super) maps: Vec<usize>,
    pub(super) x: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) finish: Finish<'a>,
    pub(super) y: SendPtr<f32>,
    /// Classes of pixels of all three axes and their first item within a unit.
    pub(super) classes: Vec<([usize; 3], usize)>,
    /// Items of a unit: pixels without the tile axis, of all classes.
    pub(super) items: usize,
}

/// `y = finish(correlation(x, weights))` for valid maps, zero for the others.
#[allow(clippy::too_many_arguments, reason = "operands, extents and what is fused: all of them are needed")]
pub(super) fn run(
    cpu: &Cpu,
    c: &Correlation,
    x: &[f32],
    weights: &[f32],
    finish: Finish<'_>,
    counts: Option<&[i32]>,
    y: &mut [f32],
    packed: &mut [f32],
) {
    if y.is_empty() {
        return;
    }
    let maps: Vec<usize> = valid_rows(c.n, counts).collect();
    if maps.len() < c.n {
        cpu.parallel_chunks(y, c.output.iter().product::<usize>() * c.channels_out, |map, y| {
            if maps.binary_search(&map).is_err() {
                y.fill(0.0);
            }
        });
    }
    if maps.is_empty() {
        return;
    }
    let plan = Plan::new(cpu.isa(), c, maps.len());
    let mut job = Job {
        isa: cpu.isa(),
        c,
        plan,
        maps,
        x,
        weights,
        finish,
        y: SendPtr(y.as_mut_ptr()),
        classes: vec![],
        items: 0,
    };
    job.enumerate_classes();
    let at_a_time = job.plan.units_at_a_time(c);
    let packed = &mut packed[..at_a_time * job.plan.unit_len(c)];
    for first in (0..job.plan.units).step_by(at_a_time) {
        let units = at_a_time.min(job.plan.units - first);
        job.pack_units(cpu, first, units, packed);
        job.compute_units(cpu, first, units, packed);
    }
}

/// What a task that computes keeps from tile to tile.
#[derive(Default)]
struct TaskScratch {
    runs: Vec<Run>,
    /// For each axis the taps that are inside the map: where they begin in the packed unit, and their share of the tap's
    /// index.
    places: [Vec<(usize, usize)>; 3],
    buffer: TileBuffer,
}

impl Job<'_> {
    fn enumerate_classes(&mut self) {
        let [t, y, x] = &self.c.axes;
        for a in 0..t.len() {
            for b in 0..y.len() {
                for c in 0..x.len() {
                    self.classes.push(([a, b, c], self.items));
                    self.items += self.outer_counts([a, b, c]).iter().product::<usize>();
                }
            }
        }
    }

    fn axes(&self, class: [usize; 3]) -> [&Axis; 3] {
        std::array::from_fn(|i| &self.c.axes[i][class[i]])
    }

    pub(super) fn spatial(&self) -> Option<usize> {
        match self.plan.axis {
            TileAxis::Maps => None,
            TileAxis::Spatial(i) => Some(i),
        }
    }

    /// Output pixels of a class along each axis, 1 along the tile axis.
    fn outer_counts(&self, class: [usize; 3]) -> [usize; 3] {
        let mut counts = self.axes(class).map(|axis| axis.count);
        if let Some(i) = self.spatial() {
            counts[i] = counts[i].min(1);
        }
        counts
    }

    /// Position among valid maps and first tile of a unit.
    pub(super) fn unit(&self, unit: usize) -> (usize, usize) {
        match (self.plan.tile_units, self.plan.axis) {
            (true, TileAxis::Maps) => (0, unit),
            (true, _) => (unit / self.plan.tiling.tiles, unit % self.plan.tiling.tiles),
            (false, _) => (unit, 0),
        }
    }

    /// Items whose packed input shares the second cache with a group of panels.
    fn block(&self) -> usize {
        let last = (0..3).rev().find(|i| self.spatial() != Some(*i) && self.plan.lines[*i] > 1);
        let taps = |i: usize| self.c.axes[i].iter().map(|axis| axis.taps.len()).max().unwrap_or(1);
        let across: usize = (0..3).filter(|i| self.spatial() != Some(*i) && last != Some(*i)).map(taps).product();
        let reach = last.map_or(0, |i| taps(i).saturating_sub(1));
        let per_line = (across * self.plan.line_len(self.c)).max(1);
        // Where not even one item fits, panels are the better thing to reuse.
        if per_line * (reach + 1) > BLOCK { 16 } else { BLOCK / per_line - reach }
    }

    fn compute_units(&self, cpu: &Cpu, first: usize, units: usize, packed: &[f32]) {
        let plan = &self.plan;
        let panels = self.c.channels_out.div_ceil(PANEL);
        let groups = panels.div_ceil(plan.tiling.panels);
        let items = units * self.items;
        let block = self.block().min(items.div_ceil(TASKS.div_ceil(groups))).max(1);
        let blocks = items.div_ceil(block);
        let splits = TASKS.div_ceil(blocks).min(groups);
        cpu.parallel(blocks * splits, |task, _| {
            let (split, start) = (task % splits, task / splits * block);
            let mut scratch = TaskScratch::default();
            for group in split * groups / splits..(split + 1) * groups / splits {
                let panel = group * plan.tiling.panels;
                let count = plan.tiling.panels.min(panels - panel);
                for item in start..(start + block).min(items) {
                    let unit = item / self.items;
                    let packed = &packed[unit * plan.unit_len(self.c)..];
                    self.compute_item(first + unit, item % self.items, packed, panel, count, &mut scratch);
                }
            }
        });
    }

    /// Computes the tiles of one item for some panels.
    fn compute_item(
        &self,
        unit: usize,
        item: usize,
        packed: &[f32],
        panel: usize,
        panels: usize,
        scratch: &mut TaskScratch,
    ) {
        let (c, plan) = (self.c, &self.plan);
        let at = self.classes.partition_point(|(_, first)| *first <= item) - 1;
        let (class, first) = self.classes[at];
        let (axes, counts) = (self.axes(class), self.outer_counts(class));
        let item = item - first;
        let q = [item / (counts[1] * counts[2]), item / counts[2] % counts[1], item % counts[2]];
        self.collect_runs(axes, q, scratch);

        let (map, unit_tile) = self.unit(unit);
        let strides = [c.output[1] * c.output[2], c.output[2], 1].map(|pixels| pixels * c.channels_out);
        let map_len = c.output[0] * strides[0];
        let mut y = (0..3).map(|i| (c.out_step[i] * q[i] + axes[i].out_start) * strides[i]).sum::<usize>();
        let (tiling, stride) = match self.spatial() {
            None => (plan.tiling, map_len),
            Some(i) => {
                y += self.maps[map] * map_len;
                let tiling = Tiling::with_panels(self.isa, axes[i].count, plan.tiling.panels);
                (if plan.tile_units { plan.tiling } else { tiling }, c.out_step[i] * strides[i])
            }
        };
        let tiles = if plan.tile_units { unit_tile..unit_tile + 1 } else { 0..tiling.tiles };
        let regular = plan.axis != TileAxis::Maps || self.maps.len() == c.n;
        for index in tiles {
            let (skip, rows) = tiling.tile(index);
            let mut offsets = [0; MAX_ROWS];
            for (i, offset) in offsets[..rows].iter_mut().enumerate() {
                let along = if plan.axis == TileAxis::Maps { self.maps[skip + i] } else { skip + i };
                *offset = y + along * stride;
            }
            let mut tile = Tile {
                runs: &scratch.runs,
                a: packed[if plan.tile_units { 0 } else { skip }..].as_ptr(),
                a_step: plan.pitch,
                b: self.weights[panel * panel_len(c.terms())..].as_ptr(),
                b_step: PANEL,
                b_panel: panel_len(c.terms()),
                c: scratch.buffer.0.as_mut_ptr(),
                c_row: TileBuffer::ROW,
                c_panel: PANEL,
                accumulate: false,
            };
            // SAFETY: runs stay inside the packed unit and the packed weights; distinct items and panels write distinct
            // parts of y.
            unsafe {
                if regular && self.finish.is_plain() {
                    (tile.c, tile.c_row) = (self.y.get().add(offsets[0] + panel * PANEL), stride);
                    kernel(self.isa, rows, panels)(&tile);
                } else {
                    kernel(self.isa, rows, panels)(&tile);
                    self.finish.write(self.isa, &scratch.buffer, self.y.get(), &offsets[..rows], panel, panels);
                }
            }
        }
    }

    /// The runs of output pixel `q`: taps that meet the map, those along the tile axis innermost, where they reread the
    /// same lines of the cache.
    fn collect_runs(&self, axes: [&Axis; 3], q: [usize; 3], scratch: &mut TaskScratch) {
        let (c, plan) = (self.c, &self.plan);
        let line = plan.line_len(c);
        let line_strides = [plan.lines[1] * plan.lines[2], plan.lines[2], 1];
        let tap_strides = [c.kernel[1] * c.kernel[2], c.kernel[2], 1];
        let order = match self.spatial() {
            Some(0) => [1, 2, 0],
            Some(1) => [0, 2, 1],
            _ => [0, 1, 2],
        };
        // Where a tap of an axis begins: elements of the packed unit, index of the tap.
        let place = |i: usize, tap: usize| -> Option<(usize, usize)> {
            let tap = axes[i].taps[tap];
            if self.spatial() == Some(i) {
                let (phase, at) =
                    (tap.offset.rem_euclid(plan.step as isize), tap.offset.div_euclid(plan.step as isize));
                let offset = phase as usize * plan.phase_len(c) + (at - plan.first) as usize;
                return Some((offset, tap.k * tap_strides[i]));
            }
            let at = (q[i] * c.in_step[i]) as isize + tap.offset;
            let inside = at >= 0 && (at as usize) < c.input[i];
            inside.then(|| (at as usize * line_strides[i] * line, tap.k * tap_strides[i]))
        };
        for (i, places) in scratch.places.iter_mut().enumerate() {
            places.clear();
            places.extend((0..axes[i].taps.len()).filter_map(|tap| place(i, tap)));
        }
        let [first, second, third] = order.map(|i| &scratch.places[i]);
        scratch.runs.clear();
        for (a, tap) in first {
            for (a, tap) in second.iter().map(|(more, next)| (a + more, tap + next)) {
                scratch.runs.extend(third.iter().map(|(more, next)| Run {
                    a: a + more,
                    b: (tap + next) * c.channels_in * PANEL,
                    len: c.channels_in,
                }));
            }
        }
    }
}
