//! Packing the input of a correlation: units of it, transposed so that the pixels of a tile are adjacent.

use std::ops::Range;

use super::correlation::Correlation;
use super::run::Job;
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::device::cpu::simd::LANES;
use crate::ops::matmul::pack::transpose;

/// Columns that a task packs.
const COLUMNS: usize = 256;

/// What tasks that pack share.
struct PackJob {
    /// First unit.
    first: usize,
    /// Which pixels of each axis some tap reaches, and whether that is all of them.
    used: [Vec<bool>; 3],
    all: bool,
    /// Elements that are adjacent both in memory and among the packed lines.
    columns: usize,
    to: SendPtr<f32>,
}

impl PackJob {
    /// Whether a line is reached, given by its pixel outside and its pixel inside of the tile axis.
    fn is_used(&self, c: &Correlation, axis: Option<usize>, mut outer: usize, mut inner: usize) -> bool {
        (0..3).rev().all(|i| match axis {
            Some(axis) if axis == i => true,
            Some(axis) if i < axis => {
                let at = outer % c.input[i];
                outer /= c.input[i];
                self.used[i][at]
            }
            _ => {
                let at = inner % c.input[i];
                inner /= c.input[i];
                self.used[i][at]
            }
        })
    }
}

impl Job<'_> {
    /// Packs units `first..first + units`.
    pub(super) fn pack_units(&self, cpu: &Cpu, first: usize, units: usize, packed: &mut [f32]) {
        let (c, plan) = (self.c, &self.plan);
        // What no tap reaches is not packed.
        let mut phases = vec![false; plan.step];
        let mut used = c.input.map(|extent| vec![false; extent.max(1)]);
        for (i, used) in used.iter_mut().enumerate() {
            for (axis, tap) in c.axes[i].iter().flat_map(|axis| axis.taps.iter().map(move |tap| (axis, tap))) {
                if self.spatial() == Some(i) {
                    phases[tap.offset.rem_euclid(plan.step as isize) as usize] = true;
                    used.fill(true);
                    continue;
                }
                for q in 0..axis.count {
                    let at = (q * c.in_step[i]) as isize + tap.offset;
                    if let Some(used) = used.get_mut(at as usize).filter(|_| at >= 0) {
                        *used = true;
                    }
                }
            }
        }
        let phases: Vec<usize> = match self.spatial() {
            Some(_) => (0..plan.step).filter(|phase| phases[*phase]).collect(),
            None => vec![0],
        };
        let job = PackJob {
            first,
            all: used.iter().flatten().all(|used| *used),
            used,
            columns: (0..3)
                .filter(|i| self.spatial().is_none_or(|axis| *i > axis))
                .map(|i| c.input[i])
                .product::<usize>()
                * c.channels_in,
            to: SendPtr(packed.as_mut_ptr()),
        };
        // Columns of the transposition are what is adjacent in memory: channels, and the pixels of the axes inside the
        // tile axis.
        let outer = (plan.lines.iter().product::<usize>() * c.channels_in).checked_div(job.columns).unwrap_or(0);
        let block = if c.channels_in < COLUMNS { COLUMNS / c.channels_in * c.channels_in } else { COLUMNS };
        let (blocks, index_blocks) = (job.columns.div_ceil(block), plan.len.div_ceil(4 * LANES));
        cpu.parallel(units * outer * phases.len() * index_blocks * blocks, |task, _| {
            let (column, task) = (task % blocks * block, task / blocks);
            let (index, task) = (task % index_blocks * 4 * LANES, task / index_blocks);
            let (phase, task) = (phases[task % phases.len()], task / phases.len());
            let (outer, unit) = (task % outer, task / outer);
            for index in (index..(index + 4 * LANES).min(plan.len)).step_by(LANES) {
                self.pack_strip(&job, unit, phase, outer, index, column..(column + block).min(job.columns));
            }
        });
    }

    /// Packs up to sixteen indices of some columns.
    fn pack_strip(&self, job: &PackJob, unit: usize, phase: usize, outer: usize, index: usize, columns: Range<usize>) {
        let (c, plan) = (self.c, &self.plan);
        let (map, tile) = self.unit(job.first + unit);
        let (skip, len) = if plan.tile_units { plan.tiling.tile(tile) } else { (0, plan.len) };
        let (skip, len) = (skip + index, LANES.min(len.saturating_sub(index)));
        let map_len = c.input.iter().product::<usize>() * c.channels_in;
        // First element of the columns for index `i`; null where padding is.
        let from = |i: usize, column: usize| -> *const f32 {
            let Some(axis) = self.spatial() else {
                return self.x[self.maps[skip + i] * map_len + column..].as_ptr();
            };
            let pixel = plan.step as isize * ((skip + i) as isize + plan.first) + phase as isize;
            if pixel < 0 || pixel as usize >= c.input[axis] {
                return std::ptr::null();
            }
            self.x[self.maps[map] * map_len + (outer * c.input[axis] + pixel as usize) * job.columns + column..]
                .as_ptr()
        };
        let base = unit * plan.unit_len(c) + phase * plan.phase_len(c) + outer * job.columns * plan.pitch + index;
        let mut column = columns.start;
        while column < columns.end {
            let line = column / c.channels_in;
            let end = if job.all { columns.end } else { columns.end.min((line + 1) * c.channels_in) };
            if job.all || job.is_used(c, self.spatial(), outer, line) {
                // SAFETY: `columns` elements are adjacent in x from there; distinct tasks write distinct columns or
                // indices, all inside the buffer.
                unsafe {
                    let to = job.to.get().add(base + column * plan.pitch);
                    transpose(self.isa, len, end - column, |i| from(i, column), to, plan.pitch);
                }
            }
            column = end;
        }
    }
}
