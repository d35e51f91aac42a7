//! CUDA launches of batch norm; the kernels are in `kernels/norm.cu`.

use bytemuck::NoUninit;

use super::{BatchNormAttrs, BatchNormGrad};
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::ensure;
use crate::tensor::DType;

const BLOCK: usize = 256;
const WARP: usize = 32;
/// Rows of a thread where values are only mapped, and where they are summed.
const ROWS_MAPPED: usize = 8;
const ROWS_SUMMED: usize = 32;
const MAX_SEGMENTS: usize = 65_535;
const FLOAT: usize = size_of::<f32>();

/// `[N, .., C]` as rows of channels; see `kernels/norm.cu`.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Rows {
    channels: i32,
    columns: i32,
    rows: i32,
    sample_rows: i32,
    groups: i32,
    group: i32,
    segment: i32,
}

/// How a tensor is cut into blocks.
struct Cut {
    channels: usize,
    columns: usize,
    rows: usize,
    sample_rows: usize,
    samples: usize,
    groups: usize,
    /// Whether there are counts, and where in the inputs.
    counts: Option<usize>,
    /// Of values and their gradients.
    dtype: DType,
}

impl Cut {
    fn new(op: &str, types: &Types<'_>, counts: usize) -> Result<Self> {
        let shape = &types.inputs[0].shape;
        ensure(op, i32::try_from(shape.rows()).is_ok(), || {
            format!("the GPU normalises at most 2^31 - 1 rows, got {}", types.inputs[0])
        })?;
        let counts = Some(counts).filter(|counts| *counts < types.inputs.len());
        Ok(Self {
            channels: shape.last(),
            columns: shape.last().next_power_of_two().min(WARP),
            rows: shape.rows(),
            sample_rows: shape.dims()[1..shape.rank() - 1].iter().product(),
            samples: shape[0],
            groups: counts.map_or(0, |counts| types.inputs[counts].len()),
            counts,
            dtype: types.inputs[0].dtype,
        })
    }

    /// Rows that a block takes, each thread about `each`.
    fn segment(&self, each: usize) -> usize {
        (BLOCK / self.columns * each).max(self.rows.div_ceil(MAX_SEGMENTS))
    }

    fn segments(&self, each: usize) -> usize {
        self.rows.div_ceil(self.segment(each)).max(1)
    }

    /// A launch over channels and segments of `each` rows a thread, or over channels alone.
    fn launch(&self, kernel: &str, segments: usize) -> Launch {
        let source = if kernel.starts_with("batch_norm_fold") { "norm_fold" } else { "norm" };
        self.over(Launch::new(source, kernel), segments)
    }

    /// As [`Cut::launch`], of the variant for the element type of the values.
    fn stored(&self, kernel: &str, segments: usize) -> Launch {
        self.over(Launch::stored("norm", kernel, self.dtype), segments)
    }

    fn over(&self, launch: Launch, segments: usize) -> Launch {
        launch.grid(self.channels.div_ceil(self.columns), segments, 1).block(BLOCK)
    }

    fn structure(&self, each: usize) -> Rows {
        // `Cut::new` has made sure that all of them fit.
        Rows {
            channels: self.channels as i32,
            columns: self.columns as i32,
            rows: self.rows as i32,
            sample_rows: self.sample_rows as i32,
            groups: self.groups as i32,
            group: self.samples.checked_div(self.groups).unwrap_or(0) as i32,
            segment: self.segment(each) as i32,
        }
    }

    fn counts(&self) -> Arg {
        self.counts.map_or(Arg::Null, Arg::Input)
    }

    /// The normalisation itself, into output 0. `eps` is negative if `spread` is 1 / std.
    fn normalise(&self, mean: Arg, spread: Arg, eps: f32, relu: bool) -> Launch {
        let launch = self.stored("batch_norm", self.segments(ROWS_MAPPED)).input(0).input(1).input(2);
        let launch = launch.arg(mean).arg(spread).arg(self.counts()).output(0).float(eps).int(i32::from(relu));
        launch.structure(&self.structure(ROWS_MAPPED))
    }
}

pub(super) fn frozen(op: &str, eps: Option<f32>, relu: bool, types: &Types<'_>) -> Result<Work> {
    if types.inputs[0].is_empty() {
        return Ok(Work::new());
    }
    Ok(Work::of(Cut::new(op, types, 5)?.normalise(Arg::Input(3), Arg::Input(4), eps.unwrap_or(-1.0), relu)))
}

pub(super) fn train(name: &str, attrs: &BatchNormAttrs, types: &Types<'_>) -> Result<Work> {
    let cut = Cut::new(name, types, 5)?;
    let mut work = Work::new();
    if cut.channels == 0 {
        return Ok(work);
    }
    let segments = cut.segments(ROWS_SUMMED);
    let [means, squares] = [(); 2].map(|()| work.take_scratch(segments * cut.channels * FLOAT));
    let numbers = work.take_scratch(segments * FLOAT);
    let structure = cut.structure(ROWS_SUMMED);
    let launch = cut.stored("batch_norm_moments", segments).input(0).arg(cut.counts());
    work.launch(launch.scratch(means).scratch(squares).scratch(numbers).structure(&structure));
    // All kernels of a node come from one module.
    let launch = cut
        .launch("batch_norm_statistics_f32", 1)
        .element("STORAGE", cut.dtype)
        .scratch(means)
        .scratch(squares)
        .scratch(numbers);
    let launch = launch.int(segments).output(1).output(2).output(3).output(4).float(attrs.eps).float(attrs.momentum);
    work.launch(launch.int(i32::from(attrs.unbiased_moving_variance)).structure(&structure));
    if !types.inputs[0].is_empty() {
        work.launch(cut.normalise(Arg::Output(1), Arg::Output(2), -1.0, attrs.relu));
    }
    Ok(work)
}

pub(super) fn grad(name: &str, op: &BatchNormGrad, types: &Types<'_>) -> Result<Work> {
    let cut = Cut::new(name, types, 6)?;
    let mut work = Work::new();
    if cut.channels == 0 {
        return Ok(work);
    }
    let eps = op.eps.unwrap_or(-1.0);
    let &[dx, dgamma, dbeta] = types.needed else { return Ok(work) };
    let parameters =
        |kernel: &str, segments: usize| (0..6).fold(cut.stored(kernel, segments), Launch::input).arg(cut.counts());
    let mut shares = Arg::Null;
    if op.eps.is_none() || dgamma || dbeta {
        let segments = cut.segments(ROWS_SUMMED);
        let [sums, dots] = [(); 2].map(|()| work.take_scratch(segments * cut.channels * FLOAT));
        let both = work.take_scratch(2 * cut.channels * FLOAT);
        let structure = cut.structure(ROWS_SUMMED);
        let launch = parameters("batch_norm_products", segments).scratch(sums).scratch(dots);
        work.launch(launch.float(eps).int(i32::from(op.relu)).structure(&structure));
        let launch = cut
            .launch("batch_norm_sums_f32", 1)
            .element("STORAGE", cut.dtype)
            .scratch(sums)
            .scratch(dots)
            .int(segments)
            .arg(cut.counts());
        let launch = launch.output(1).output(2).scratch(both).int(i32::from(op.eps.is_none()));
        work.launch(launch.structure(&structure));
        shares = Arg::Scratch(both);
    }
    if dx && !types.inputs[0].is_empty() {
        let launch = parameters("batch_norm_grad", cut.segments(ROWS_MAPPED)).arg(shares).output(0);
        work.launch(launch.float(eps).int(i32::from(op.relu)).structure(&cut.structure(ROWS_MAPPED)));
    }
    Ok(work)
}

/// Folding into weights, whose rows stand for those of a tensor without counts.
pub(super) fn fold(name: &str, eps: f32, types: &Types<'_>) -> Result<Work> {
    let cut = Cut::new(name, types, usize::MAX)?;
    if types.inputs[0].is_empty() {
        return Ok(Work::new());
    }
    let launch = (0..5).fold(cut.launch("batch_norm_fold_f32", cut.segments(ROWS_MAPPED)), Launch::input);
    let launch = launch.optional_input(types, 5).output(0).output(1).float(eps);
    Ok(Work::of(launch.structure(&cut.structure(ROWS_MAPPED))))
}

pub(super) fn fold_grad(name: &str, eps: f32, types: &Types<'_>) -> Result<Work> {
    let cut = Cut::new(name, types, usize::MAX)?;
    let mut work = Work::new();
    if types.inputs[0].is_empty() {
        return Ok(work);
    }
    let (segments, structure) = (cut.segments(ROWS_SUMMED), cut.structure(ROWS_SUMMED));
    let sums = work.take_scratch(segments * cut.channels * FLOAT);
    let launch = cut.launch("batch_norm_fold_grad_f32", segments).input(0).input(1).input(3).input(4).output(0);
    work.launch(launch.scratch(sums).float(eps).structure(&structure));
    if types.needed[1] || types.needed[2] {
        let launch = cut.launch("batch_norm_fold_sums_f32", 1).scratch(sums).int(segments);
        let launch = launch.input(1).input(2).input(3).input(5).optional_input(types, 6).output(1).output(2);
        work.launch(launch.float(eps).structure(&structure));
    }
    Ok(work)
}
