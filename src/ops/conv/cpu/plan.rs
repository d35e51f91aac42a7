//! How a correlation is cut: along which axis tiles run, what is packed, what one task does.

use super::super::Geometry;
use super::correlation::Correlation;
use crate::device::cpu::Isa;
use crate::ops::matmul::kernel::{MAX_ROWS, PANEL, Tiling};
use crate::ops::matmul::pack::padded_pitch;

/// The axis along which the pixels of a tile lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TileAxis {
    /// The same pixel of several maps. All taps of a tile are inside the map or outside of it together.
    Maps,
    /// Neighbours along a spatial axis. Taps beyond its ends meet zeros; along the other axes they are left out.
    Spatial(usize),
}

impl TileAxis {
    /// Axes worth comparing: tiles of maps only while a tile's maps stay small.
    fn candidates(c: &Correlation) -> impl Iterator<Item = Self> {
        let map = c.input.iter().product::<usize>() * c.channels_in;
        let maps = (c.n > 1 && map * MAX_ROWS.min(c.n) <= 2 * PACKED).then_some(Self::Maps);
        let spatial = (0..3).filter(|i| c.output[*i] > 1 || *i == 2).map(Self::Spatial);
        maps.into_iter().chain(spatial)
    }
}

/// Packed input kept at a time, in elements, unless a single unit is larger.
const PACKED: usize = 2 << 20;

/// The plan for one number of maps. The input is packed by units; a unit is one map, or one tile of maps, or one tile of a
/// pointwise axis. Within a unit, `[phase][line][channel][index]`: a line is a pixel without the tile axis, index runs along
/// the tile axis from `first`, phase is the remainder of the input pixel by the step.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub axis: TileAxis,
    pub tiling: Tiling,
    /// Whether every tile is a unit of its own.
    pub tile_units: bool,
    /// Number of units.
    pub units: usize,
    /// Input pixels of the tile axis that have the same remainder are this far apart; 1 for maps.
    pub step: usize,
    /// Index 0 of a packed line stands for input pixel `step * first`.
    pub first: isize,
    /// Indices of a packed line.
    pub len: usize,
    /// Elements between channels of a packed line.
    pub pitch: usize,
    /// Lines of a unit along the three spatial axes; 1 along the tile axis.
    pub lines: [usize; 3],
    /// Estimated cycles, for comparing axes.
    pub cycles: f64,
}

impl Plan {
    /// The cheapest plan for `n` valid maps.
    pub fn new(isa: Isa, c: &Correlation, n: usize) -> Self {
        let plans = TileAxis::candidates(c).map(|axis| Self::along(isa, c, n, axis));
        let best = plans.min_by(|a, b| a.cycles.total_cmp(&b.cycles));
        best.unwrap_or_else(|| Self::along(isa, c, n, TileAxis::Spatial(2)))
    }

    fn along(isa: Isa, c: &Correlation, n: usize, axis: TileAxis) -> Self {
        let panels = c.channels_out.div_ceil(PANEL);
        let (rows, step, first, reach, same_counts) = match axis {
            TileAxis::Maps => (n.max(1), 1, 0, n.max(1), true),
            TileAxis::Spatial(i) => {
                let (step, classes) = (c.in_step[i], &c.axes[i]);
                let rows = classes.iter().map(|class| class.count).max().unwrap_or(0).max(1);
                let taps = classes.iter().flat_map(|class| class.taps.iter().map(|tap| (tap.offset, class.count)));
                // Range of packed indices that the taps of all classes reach.
                let (first, end) = taps.fold((0, rows as isize), |(first, end), (offset, count)| {
                    let at = offset.div_euclid(step as isize);
                    (first.min(at), end.max(at + count as isize))
                });
                let same = classes.iter().all(|class| class.count == rows);
                (rows, step, first, (end - first) as usize, same)
            }
        };
        let tiling = Tiling::new(isa, rows, panels);
        let tile_units = step == 1 && reach == rows && same_counts;
        let len = if tile_units { tiling.max_rows() } else { reach };
        let pitch = if tile_units { len } else { padded_pitch(len) };
        let (mut lines, mut units) = (c.input, 1);
        if let TileAxis::Spatial(i) = axis {
            (lines[i], units) = (1, n);
        }
        if tile_units {
            units *= tiling.tiles;
        }
        let mut plan = Self { axis, tiling, tile_units, units, step, first, len, pitch, lines, cycles: 0.0 };
        plan.cycles = plan.estimate(isa, c, n, panels);
        plan
    }

    fn estimate(&self, isa: Isa, c: &Correlation, n: usize, panels: usize) -> f64 {
        // (pixel, tap) pairs along the axes across the tile, times taps along it.
        let mut pairs = 1.0;
        for i in 0..3 {
            let along: usize = match self.axis {
                TileAxis::Spatial(axis) if axis == i => c.axes[i].iter().map(|axis| axis.taps.len()).sum(),
                _ => c.axes[i]
                    .iter()
                    .map(|axis| axis.taps.iter().map(|tap| inside(c, i, axis.count, tap.offset)).sum::<usize>())
                    .sum(),
            };
            pairs *= along as f64;
        }
        if self.axis != TileAxis::Maps {
            pairs *= n as f64;
        }
        let sums = pairs * c.channels_in as f64 * self.tiling.cycles(isa, panels);
        // Rearranging sixteen values takes about ten cycles, more when channels are few.
        let per_value = if c.channels_in < 8 { 2.0 } else { 0.6 };
        sums + (self.units * self.unit_len(c)) as f64 * per_value
    }

    /// Elements of a packed line.
    pub fn line_len(&self, c: &Correlation) -> usize {
        c.channels_in * self.pitch
    }

    /// Elements of all packed lines of one phase.
    pub fn phase_len(&self, c: &Correlation) -> usize {
        self.lines.iter().product::<usize>() * self.line_len(c)
    }

    /// Elements of a packed unit.
    pub fn unit_len(&self, c: &Correlation) -> usize {
        self.step * self.phase_len(c)
    }

    /// Units packed at a time.
    pub fn units_at_a_time(&self, c: &Correlation) -> usize {
        (PACKED / self.unit_len(c).max(1)).clamp(1, self.units.max(1))
    }

    /// Elements of packed input that any plan for up to `c.n` maps needs; for all of them exactly if there are no counts.
    pub fn max_packed(isa: Isa, c: &Correlation, counts: bool) -> usize {
        if !counts {
            let plan = Self::new(isa, c, c.n);
            return plan.units_at_a_time(c) * plan.unit_len(c);
        }
        let need = |axis| {
            let plan = Self::along(isa, c, c.n, axis);
            // Fewer maps make fewer units, but may make a tile of maps wider.
            let pitch = if axis == TileAxis::Maps { MAX_ROWS.min(c.n.max(1)) } else { plan.pitch };
            let unit = plan.unit_len(c) / plan.pitch * pitch;
            unit.max(PACKED.min(unit * plan.units))
        };
        TileAxis::candidates(c).map(need).max().unwrap_or(0)
    }
}

/// How many of `count` pixels have the tap of that offset inside the map, along axis `i`.
fn inside(c: &Correlation, i: usize, count: usize, offset: isize) -> usize {
    let step = c.in_step[i] as isize;
    let ceil = |at: isize| (at.max(0) + step - 1) / step;
    let (low, high) = (ceil(-offset), ceil(c.input[i] as isize - offset));
    (high.min(count as isize) - low).max(0) as usize
}

/// Elements of the packed weights of a correlation.
pub(super) fn weights_len(c: &Correlation) -> usize {
    crate::ops::matmul::pack::packed_len(c.terms(), c.channels_out)
}

/// Whether the geometry's correlation is a convolution or a data gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

impl Direction {
    pub(super) fn correlation(self, g: &Geometry, counts: bool) -> Correlation {
        match self {
            Direction::Forward => Correlation::fprop(g, counts),
            Direction::Backward => Correlation::dgrad(g, counts),
        }
    }
}
