//! Launches of the correlation with neighbours, and of its gradient.

use super::NeighbourCorrelationAttrs;
use super::plan::Plan;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::{Error, Result};

const SOURCE: &str = "correlation";
/// `SLICE` and `MAX_OFFSETS` of `kernels/correlation.cu`.
const SLICE: usize = 64;
const MAX_OFFSETS: usize = 256;

/// What both directions share: extents, offsets, scratch of the smoothed signals and of what is made from their sums.
struct Parts {
    plan: Plan,
    slices: usize,
    channels: usize,
    pairs: usize,
    signals: usize,
    inverse: usize,
    relative: usize,
    mean_energy: usize,
}

/// `Offsets` of the kernels: three arrays of 16-bit integers.
fn offsets(entries: impl Iterator<Item = (isize, isize, i16)>) -> Arg {
    let mut table = [[0i16; MAX_OFFSETS]; 3];
    for (i, (dy, dx, source)) in entries.enumerate() {
        (table[0][i], table[1][i], table[2][i]) = (dy as i16, dx as i16, source);
    }
    Arg::Struct(bytemuck::cast_slice(table.as_flattened()).to_vec())
}

impl Parts {
    /// Begins with the smoothed signals, the sums of the first `pairs` pairs, and the levels made from the energies.
    /// Returns the offset of the sums.
    fn begin(
        attrs: &NeighbourCorrelationAttrs,
        types: &Types<'_>,
        work: &mut Work,
        all: bool,
    ) -> Result<(Self, usize)> {
        let plan = Plan::new(attrs, &types.inputs[0].shape);
        let limit = i16::MAX as usize;
        if plan.maps.len() >= MAX_OFFSETS || plan.height > limit || plan.width > limit {
            let message = format!("its kernels take up to {} offsets and {limit} x {limit} pixels", MAX_OFFSETS - 1);
            return Err(Error::op("neighbour_correlation", message));
        }
        let (slices, pairs) = (plan.frames.div_ceil(SLICE), if all { plan.pairs.len() } else { 1 });
        let (images, pixels, recordings) = (plan.images, plan.pixels(), plan.images * plan.recording());
        let [mean, inverse, relative] = [(); 3].map(|()| work.take_scratch(4 * images * pixels));
        let (mean_energy, signals) = (work.take_scratch(8 * images), work.take_scratch(4 * recordings));
        let sums = work.take_scratch(4 * images * pairs * slices * pixels);
        let channels = plan.maps.len() + 1;
        let parts = Self { plan, slices, channels, pairs, signals, inverse, relative, mean_energy };

        let launch = parts.over_pixels("correlation_mean_f32").shared(4 * parts.plan.frames);
        work.launch(parts.field(launch.input(0).scratch(mean)));
        let launch = Launch::new(SOURCE, "correlation_smooth_f32").over(recordings);
        work.launch(parts.field(launch.input(0).scratch(mean).scratch(signals)));
        let grid = [pixels.div_ceil(256), pairs, images * slices];
        let launch = Launch::new(SOURCE, "correlation_products_f32").grid(grid[0], grid[1], grid[2]);
        let launch = parts.field(launch.scratch(signals).scratch(sums));
        let offset = |pair: &(usize, isize)| (pair.0 as isize, pair.1, 0);
        work.launch(launch.arg(offsets(parts.plan.pairs[..pairs].iter().map(offset))));
        let launch = Launch::new(SOURCE, "correlation_levels_f32").grid(images, 1, 1).scratch(sums);
        work.launch(parts.field(launch.scratch(inverse).scratch(relative).scratch(mean_energy)));
        Ok((parts, sums))
    }

    /// A launch with one thread a pixel and a row of blocks a recording.
    fn over_pixels(&self, kernel: &str) -> Launch {
        Launch::new(SOURCE, kernel).grid(self.plan.pixels().div_ceil(256), self.plan.images, 1)
    }

    /// The next argument: `Field` of the kernels.
    fn field(&self, launch: Launch) -> Launch {
        let plan = &self.plan;
        let extents = [plan.images, plan.frames, plan.height, plan.width, plan.smooth_frames];
        launch.fields(&[&extents[..], &[self.slices, self.pairs, self.channels]].concat(), &[plan.floor])
    }

    /// `Offsets` of the maps.
    fn maps(&self) -> Arg {
        offsets(self.plan.maps.iter().map(|map| match map {
            Some(map) => (map.dy, map.dx, 2 * map.pair as i16 + i16::from(map.opposite)),
            None => (0, 0, -1),
        }))
    }
}

pub(super) fn forward(attrs: &NeighbourCorrelationAttrs, types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    if types.outputs[0].is_empty() {
        return Ok(work);
    }
    let (parts, sums) = Parts::begin(attrs, types, &mut work, true)?;
    let launch = Launch::new(SOURCE, "correlation_maps_f32").over(types.outputs[0].len());
    let launch = launch.scratch(sums).scratch(parts.inverse).scratch(parts.relative).output(0);
    work.launch(parts.field(launch).arg(parts.maps()));
    Ok(work)
}

pub(super) fn backward(attrs: &NeighbourCorrelationAttrs, types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    if types.outputs[0].is_empty() {
        return Ok(work);
    }
    let (parts, _) = Parts::begin(attrs, types, &mut work, false)?;
    let (values, recordings) = (parts.plan.images * parts.plan.pixels(), types.outputs[0].len());
    let factors = work.take_scratch(4 * values * (parts.channels - 1));
    let [to_energy, to_mean] = [(); 2].map(|()| work.take_scratch(8 * values));
    let (own, dy) = (work.take_scratch(4 * values), work.take_scratch(4 * recordings));

    let launch = parts.over_pixels("correlation_grad_levels_f32").input(1).input(2);
    let launch = launch.scratch(parts.inverse).scratch(parts.relative).scratch(parts.mean_energy);
    let launch = launch.scratch(factors).scratch(to_energy).scratch(to_mean);
    work.launch(parts.field(launch).arg(parts.maps()));
    let launch = Launch::new(SOURCE, "correlation_grad_own_f32").grid(parts.plan.images, 1, 1);
    work.launch(parts.field(launch.scratch(to_energy).scratch(to_mean).scratch(own)));
    let launch = Launch::new(SOURCE, "correlation_grad_signals_f32").over(recordings).scratch(parts.signals);
    let launch = launch.scratch(factors).scratch(own).scratch(parts.mean_energy).scratch(dy);
    work.launch(parts.field(launch).arg(parts.maps()));
    let launch = Launch::new(SOURCE, "correlation_grad_smooth_f32").over(recordings).scratch(dy).output(0);
    work.launch(parts.field(launch));
    Ok(work)
}
