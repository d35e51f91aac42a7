//! CUDA launches of the reductions; the kernels are in `kernels/reduce.cu` and `kernels/standardise.cu`.

use bytemuck::NoUninit;

use super::ReduceKind;
use super::cpu::Plan;
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::ensure;
use crate::tensor::Shape;

const MAX_AXES: usize = 6;
const BLOCK: usize = 256;
const WARP: usize = 32;
/// Values that a lane folds before its segment ends: bounds the rounding error and spreads long reductions over the GPU.
const VALUES_PER_LANE: usize = 32;
const MAX_SEGMENTS: usize = 65_535;

/// A reduction as the kernels take it; see `kernels/reduce.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, NoUninit)]
struct Fold {
    columns: i32,
    inner: i32,
    rows: i32,
    outputs_in_block: i32,
    count: i32,
    length: i32,
    segment: i32,
    kept_axes: i32,
    reduced_axes: i32,
    kept: [i32; MAX_AXES],
    kept_step: [i32; MAX_AXES],
    reduced: [i32; MAX_AXES],
    reduced_step: [i32; MAX_AXES],
}

/// A fold and the grid that it runs on.
struct Cut {
    fold: Fold,
    count: usize,
    blocks: usize,
    segments: usize,
}

impl Cut {
    fn new(op: &str, shape: &Shape, axes: &[usize]) -> Result<Self> {
        let plan = Plan::new(shape, axes);
        let (kept, reduced) = (plan.kept.len(), plan.reduced.len());
        ensure(op, kept.max(reduced) <= MAX_AXES && i32::try_from(shape.len()).is_ok(), || {
            format!(
                "the GPU reduces at most 2^31 - 1 values over {MAX_AXES} separate axes, asked for {axes:?} of {shape}"
            )
        })?;
        let count = plan.outer() * plan.width();
        let length = plan.rows() * if plan.columns { 1 } else { plan.inner };
        let lanes = if plan.columns {
            let outputs = plan.inner.next_power_of_two().min(WARP);
            length.next_power_of_two().min(BLOCK / outputs)
        } else {
            let whole = length.next_power_of_two();
            whole.min(WARP).max(whole / 4).min(BLOCK)
        };
        let segment = (lanes * VALUES_PER_LANE).max(length.div_ceil(MAX_SEGMENTS));
        let outputs = BLOCK / lanes;
        // What is no size here is a size of the tensor or a step in it: all fit, the number of elements does.
        let of = |axes: &[(usize, usize)], part: fn(&(usize, usize)) -> usize| {
            let mut to = [0; MAX_AXES];
            to.iter_mut().zip(axes.iter().rev()).for_each(|(to, axis)| *to = part(axis) as i32);
            to
        };
        let fold = Fold {
            columns: i32::from(plan.columns),
            inner: plan.inner as i32,
            rows: plan.rows() as i32,
            outputs_in_block: outputs as i32,
            count: count as i32,
            length: length as i32,
            segment: segment as i32,
            kept_axes: kept as i32,
            reduced_axes: reduced as i32,
            kept: of(&plan.kept, |axis| axis.0),
            kept_step: of(&plan.kept, |axis| axis.1),
            reduced: of(&plan.reduced, |axis| axis.0),
            reduced_step: of(&plan.reduced, |axis| axis.1),
        };
        Ok(Self { fold, count, blocks: count.div_ceil(outputs), segments: length.div_ceil(segment).max(1) })
    }

    fn launch(&self, kernel: &str) -> Launch {
        Launch::new("reduce", kernel).grid(self.blocks, self.segments, 1).block(BLOCK)
    }
}

pub(super) fn reduce(op: &str, kind: ReduceKind, axes: &[usize], types: &Types<'_>) -> Result<Work> {
    let cut = Cut::new(op, &types.inputs[0].shape, axes)?;
    let mut work = Work::new();
    if cut.count == 0 {
        return Ok(work);
    }
    let (name, scale) = match kind {
        ReduceKind::Sum => ("sum", 1.0),
        ReduceKind::Mean => ("sum", 1.0 / cut.fold.length as f32),
        ReduceKind::Max => ("max", 1.0),
    };
    let fold = |to: Arg, scale: f32| {
        cut.launch(&format!("reduce_{name}_f32")).input(0).arg(to).float(scale).structure(&cut.fold)
    };
    if cut.segments == 1 {
        work.launch(fold(Arg::Output(0), scale));
        return Ok(work);
    }
    let parts = work.take_scratch(cut.segments * cut.count * size_of::<f32>());
    work.launch(fold(Arg::Scratch(parts), 1.0));
    let join = Launch::new("reduce", format!("reduce_{name}_join_f32")).over(cut.count).scratch(parts).output(0);
    work.launch(join.int(cut.count).int(cut.segments).float(scale));
    Ok(work)
}

pub(super) fn reduce_max_grad(op: &str, axes: &[usize], types: &Types<'_>) -> Result<Work> {
    let cut = Cut::new(op, &types.inputs[0].shape, axes)?;
    let mut work = Work::new();
    if cut.count > 0 {
        // A value and where it stands.
        let places = work.take_scratch(cut.segments * cut.count * 8);
        work.launch(cut.launch("reduce_max_place_f32").input(0).scratch(places).structure(&cut.fold));
        let launch = cut.launch("reduce_max_grad_f32").input(1).scratch(places).output(0);
        work.launch(launch.int(cut.segments).structure(&cut.fold));
    }
    Ok(work)
}

/// `kernel` over rows of the last axis, inputs first.
pub(super) fn softmax(kernel: &str, types: &Types<'_>) -> Work {
    let (rows, classes) = (types.outputs[0].shape.rows(), types.outputs[0].shape.last());
    if types.outputs[0].is_empty() {
        return Work::new();
    }
    let lanes = classes.next_power_of_two().min(WARP);
    let launch = Launch::new("reduce", kernel).grid((rows * lanes).div_ceil(BLOCK), 1, 1).block(BLOCK);
    let launch = (0..types.inputs.len()).fold(launch, Launch::input).output(0);
    Work::of(launch.int(rows).int(classes).int(lanes))
}

/// Values of a sample that one block handles.
const SEGMENT: usize = 16_384;
/// A pair of floats.
const PAIR: usize = 8;

/// Samples of a standardisation and the segments that they are cut into.
struct Samples {
    samples: usize,
    values: usize,
    segments: usize,
}

impl Samples {
    fn new(shape: &Shape) -> Self {
        let values = shape.dims()[1..].iter().product::<usize>();
        Self { samples: shape[0], values, segments: values.div_ceil(SEGMENT) }
    }

    fn segments(&self, kernel: &str) -> Launch {
        Launch::new("standardise", kernel).grid(self.segments, self.samples, 1).block(BLOCK)
    }

    /// A block a sample that joins what segments have left at `parts`.
    fn joined(&self, kernel: &str, parts: usize, to: usize) -> Launch {
        let launch = Launch::new("standardise", kernel).grid(self.samples, 1, 1).block(BLOCK);
        launch.scratch(parts).scratch(to).long(self.values).int(self.segments)
    }

    /// Mean and 1 / std of every sample of input 0; where they are, and where parts of segments may be.
    fn statistics(&self, work: &mut Work) -> (usize, usize) {
        let parts = work.take_scratch(self.samples * self.segments * PAIR);
        let statistics = work.take_scratch(self.samples * PAIR);
        work.launch(self.segments("standardise_moments_f32").input(0).scratch(parts).long(self.values));
        work.launch(self.joined("standardise_statistics_f32", parts, statistics));
        (statistics, parts)
    }
}

pub(super) fn standardise(types: &Types<'_>) -> Work {
    let samples = Samples::new(&types.inputs[0].shape);
    let mut work = Work::new();
    if !types.inputs[0].is_empty() {
        let (statistics, _) = samples.statistics(&mut work);
        let launch = samples.segments("standardise_f32").input(0).scratch(statistics);
        work.launch(launch.output(0).long(samples.values));
    }
    work
}

pub(super) fn standardise_grad(types: &Types<'_>) -> Work {
    let samples = Samples::new(&types.inputs[0].shape);
    let mut work = Work::new();
    if !types.inputs[0].is_empty() {
        let (statistics, parts) = samples.statistics(&mut work);
        let means = work.take_scratch(samples.samples * PAIR);
        let launch = samples.segments("standardise_products_f32").input(0).input(1);
        work.launch(launch.scratch(statistics).scratch(parts).long(samples.values));
        work.launch(samples.joined("standardise_means_f32", parts, means));
        let launch = samples.segments("standardise_grad_f32").input(0).input(1).scratch(statistics).scratch(means);
        work.launch(launch.output(0).long(samples.values));
    }
    work
}
