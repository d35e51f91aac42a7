//! CUDA launches of the losses; the kernels are in `kernels/loss.cu`. Their inputs are numbered from the predictions on: a
//! gradient has one more in front.

use bytemuck::NoUninit;

use super::pointwise::{Pointwise, PointwiseLoss, Selection};
use super::softmax::{SoftmaxLabels, SparseSoftmaxLoss};
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::tensor::TensorType;

const SOURCE: &str = "loss";
const BLOCK: usize = 256;
/// Blocks that leave sums at most: one block joins them.
const MAX_PARTS: usize = 1024;
/// A sum and a number, in double precision.
const PART: usize = 16;
const FLOAT: usize = size_of::<f32>();

/// A pointwise loss as the kernels take it; see `kernels/loss.cu`.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Pairs {
    kind: i32,
    selection: i32,
    beta: f32,
    targets: i32,
    row: i32,
    rows: i32,
    entries: i32,
    classes: i32,
}

/// Labels of a softmax loss as the kernels take them.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Labels {
    rows: i32,
    classes: i32,
    groups: i32,
    matches: i32,
    restricted: i32,
}

/// `dy` in front of a gradient's inputs.
#[derive(Clone, Copy)]
enum Direction {
    Loss,
    Gradient,
}

impl Direction {
    /// Input `index` of the loss.
    fn input(self, index: usize) -> Arg {
        match self {
            Direction::Loss => Arg::Input(index),
            Direction::Gradient => Arg::Input(index + 1),
        }
    }

    /// Input `index` of the loss if there is one.
    fn optional(self, inputs: &[TensorType], index: usize) -> Arg {
        if index < inputs.len() { self.input(index) } else { Arg::Null }
    }
}

fn over_values(kernel: &str, values: usize) -> Launch {
    let launch = Launch::new(SOURCE, kernel).over(values);
    let blocks = launch.grid[0] as usize;
    launch.grid(blocks.min(MAX_PARTS), 1, 1)
}

/// Joins the parts that `launch`'s blocks leave: to the mean in output 0, or to the share that the gradient is multiplied
/// by, whose place is returned. `launch` gets the parts by `finish`.
fn join(work: &mut Work, direction: Direction, launch: Launch, finish: impl FnOnce(Launch, Arg) -> Launch) -> Arg {
    let blocks = launch.grid[0] as usize;
    let parts = work.take_scratch(blocks * PART);
    work.launch(finish(launch, Arg::Scratch(parts)));
    let join = Launch::new(SOURCE, "loss_join_f32").scratch(parts).int(blocks);
    let (dy, result) = match direction {
        Direction::Loss => (Arg::Null, Arg::Output(0)),
        Direction::Gradient => (Arg::Input(0), Arg::Scratch(work.take_scratch(FLOAT))),
    };
    work.launch(join.arg(dy).arg(result.clone()));
    result
}

fn pairs(loss: &PointwiseLoss, inputs: &[TensorType]) -> Pairs {
    let (kind, beta) = match loss.kind {
        Pointwise::SmoothL1 { beta } => (0, beta),
        Pointwise::SquaredError => (1, 0.0),
        Pointwise::SigmoidCrossEntropy => (2, 0.0),
        Pointwise::BinaryCrossEntropy => (3, 0.0),
    };
    let (x, targets) = (&inputs[0], &inputs[1]);
    let dims = targets.shape.dims();
    let third = inputs.get(2);
    let (selection, rows, all_rows, entries) = match loss.selection {
        Selection::All => (0, dims[0], dims[0], third.map_or(0, TensorType::len)),
        Selection::Amplitude => (1, dims[0], dims[0], third.map_or(0, TensorType::len)),
        Selection::Matches => (2, dims[1], dims[0] * dims[1], x.shape[1]),
        Selection::Classes { channels_last } => {
            let labels = third.map_or(0, |classes| classes.shape[1]);
            (3 + i32::from(channels_last), dims[1], dims[0] * dims[1], labels)
        }
    };
    // The number of targets is checked as an argument of its own by what it is: a tensor's size.
    let int = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
    Pairs {
        kind,
        selection,
        beta,
        targets: int(targets.len()),
        row: int(targets.len().checked_div(all_rows).unwrap_or(0)),
        rows: int(rows),
        entries: int(entries),
        classes: int(x.len().checked_div(targets.len()).unwrap_or(0)),
    }
}

/// What a pointwise kernel reads besides predictions and targets: counts, classes or listed anchors, and scales of rows, made
/// first where the selection needs them.
fn prepared(work: &mut Work, loss: &PointwiseLoss, direction: Direction, inputs: &[TensorType]) -> [Arg; 2] {
    let targets = &inputs[1];
    match loss.selection {
        Selection::All => [direction.optional(inputs, 2), Arg::Null],
        Selection::Amplitude => {
            let rows = targets.shape[0];
            let scales = work.take_scratch(rows * FLOAT);
            if rows > 0 {
                let launch = Launch::new(SOURCE, "row_scales_f32").grid(rows, 1, 1).block(BLOCK);
                work.launch(launch.arg(direction.input(1)).scratch(scales).int(targets.len() / rows));
            }
            [direction.optional(inputs, 2), Arg::Scratch(scales)]
        }
        Selection::Matches => {
            let (images, rows, anchors) = (targets.shape[0], targets.shape[1], inputs[2].shape[1]);
            let list = work.take_scratch(images * rows * FLOAT);
            if images > 0 {
                let launch = Launch::new(SOURCE, "positive_rows_f32").grid(images, 1, 1).block(BLOCK);
                work.launch(launch.arg(direction.input(2)).scratch(list).int(anchors).int(rows));
            }
            [Arg::Scratch(list), Arg::Null]
        }
        Selection::Classes { .. } => [direction.input(2), Arg::Null],
    }
}

pub(super) fn pointwise(loss: &PointwiseLoss, types: &Types<'_>) -> Work {
    let (direction, inputs) = (Direction::Loss, types.inputs);
    let (mut work, pairs) = (Work::new(), pairs(loss, inputs));
    let [third, scales] = prepared(&mut work, loss, direction, inputs);
    let launch = over_values("pointwise_loss_f32", inputs[1].len()).input(0).input(1).arg(third).arg(scales);
    join(&mut work, direction, launch, |launch, parts| launch.arg(parts).structure(&pairs));
    work
}

pub(super) fn pointwise_grad(loss: &PointwiseLoss, types: &Types<'_>) -> Work {
    let (direction, inputs) = (Direction::Gradient, &types.inputs[1..]);
    let (mut work, pairs) = (Work::new(), pairs(loss, inputs));
    let [third, scales] = prepared(&mut work, loss, direction, inputs);
    let launch = over_values("pointwise_count_f32", inputs[1].len()).arg(third.clone()).arg(scales.clone());
    let share = join(&mut work, direction, launch, |launch, parts| launch.arg(parts).structure(&pairs));
    work.zero(Arg::Output(0), types.outputs[0].bytes());
    let launch = over_values("pointwise_loss_grad_f32", inputs[1].len());
    let launch = launch.arg(direction.input(0)).arg(direction.input(1)).arg(third).arg(scales);
    work.launch(launch.arg(share).output(0).structure(&pairs));
    work
}

/// The labels, and the active classes with what they take of the kernel's constants.
fn labels(loss: &SparseSoftmaxLoss, inputs: &[TensorType]) -> (Labels, Vec<u32>) {
    let (rows, classes) = (inputs[1].len(), inputs[0].shape.last());
    let labels = Labels {
        rows: i32::try_from(rows).unwrap_or(i32::MAX),
        classes: classes as i32,
        groups: inputs.get(2).map_or(0, |counts| counts.len() as i32),
        matches: i32::from(loss.labels == SoftmaxLabels::Matches),
        restricted: i32::from(!loss.active.is_empty()),
    };
    let mut words = vec![0; loss.active.len().div_ceil(32).max(1)];
    for (class, _) in loss.active.iter().enumerate().filter(|(_, active)| **active) {
        words[class / 32] |= 1 << (class % 32);
    }
    (labels, words)
}

/// A launch over rows with logits, labels and counts as its first arguments, and what ends its arguments.
fn over_rows(
    kernel: &str,
    loss: &SparseSoftmaxLoss,
    direction: Direction,
    inputs: &[TensorType],
) -> (Launch, impl Fn(Launch) -> Launch) {
    let (labels, active) = labels(loss, inputs);
    let mut launch = over_values(kernel, inputs[1].len());
    if active.len() > 1 {
        launch = launch.constant("ACTIVE_WORDS", active.len());
    }
    let launch = launch.arg(direction.input(0)).arg(direction.input(1)).arg(direction.optional(inputs, 2));
    let active: Vec<u8> = bytemuck::cast_slice(&active).to_vec();
    (launch, move |launch: Launch| launch.structure(&labels).arg(Arg::Struct(active.clone())))
}

pub(super) fn softmax(loss: &SparseSoftmaxLoss, types: &Types<'_>) -> Work {
    let mut work = Work::new();
    let (launch, finish) = over_rows("softmax_loss_f32", loss, Direction::Loss, types.inputs);
    join(&mut work, Direction::Loss, launch, |launch, parts| finish(launch.arg(parts)));
    work
}

pub(super) fn softmax_grad(loss: &SparseSoftmaxLoss, types: &Types<'_>) -> Work {
    let (direction, inputs) = (Direction::Gradient, &types.inputs[1..]);
    let mut work = Work::new();
    let (launch, finish) = over_rows("softmax_count_f32", loss, direction, inputs);
    let share = join(&mut work, direction, launch, |launch, parts| finish(launch.arg(parts)));
    let (launch, finish) = over_rows("softmax_loss_grad_f32", loss, direction, inputs);
    work.launch(finish(launch.arg(share).output(0)));
    work
}
