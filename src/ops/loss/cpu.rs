//! CPU bodies of the losses. A loss and its gradient walk the same rows ([`walk`]): the loss adds up values, the gradient
//! first counts, then writes slopes.

use super::pointwise::{PointwiseLoss, Selection};
use super::softmax::{ROWS_PER_PART, SparseSoftmaxLoss};
use crate::Result;
use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;
use crate::ops::{CpuArgs, Input, Scratch, is_valid_row};

/// The sum of a part and the number of values in it.
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    /// A whole number; `f64` to be stored beside the sum.
    count: f64,
}

/// Scratch for `parts` sums.
pub(super) fn sums_bytes(parts: usize) -> usize {
    Scratch::bytes::<[f64; 2]>(parts)
}

/// Runs `part(index)` for every part; the total, joined in order.
fn total(cpu: &Cpu, scratch: &mut [u8], parts: usize, part: impl Fn(usize) -> Sum + Sync) -> Sum {
    let sums: &mut [[f64; 2]] = bytemuck::cast_slice_mut(&mut scratch[..parts * size_of::<[f64; 2]>()]);
    cpu.parallel_chunks(sums, 1, |index, stored| {
        let Sum { sum, count } = part(index);
        stored[0] = [sum, count];
    });
    sums.iter().fold(Sum::default(), |total, [sum, count]| Sum { sum: total.sum + sum, count: total.count + count })
}

impl Sum {
    fn mean(self) -> f32 {
        if self.count > 0.0 { (self.sum / self.count) as f32 } else { 0.0 }
    }

    /// The gradient of each value's loss, for the gradient `dy` of the mean.
    fn share(self, dy: f32) -> f32 {
        if self.count > 0.0 { (f64::from(dy) / self.count) as f32 } else { 0.0 }
    }
}

/// A run of predictions that meets a run of targets.
#[derive(Clone, Copy)]
struct Run {
    /// Index of the first prediction, and the distance to the next.
    x: usize,
    stride: usize,
    /// Index of the first target.
    target: usize,
    len: usize,
    /// Multiplies predictions and targets.
    scale: f32,
}

/// Calls `visit` for every run that part `part` of the loss compares.
fn walk(loss: &PointwiseLoss, inputs: &[Input<'_>], part: usize, mut visit: impl FnMut(Run)) {
    let (x, targets) = (&inputs[0], inputs[1].f32());
    match loss.selection {
        Selection::All | Selection::Amplitude => {
            let counts = inputs.get(2).map(|counts| counts.i32());
            let (rows, each) = (x.shape()[0], loss.rows_per_part(x.ty()));
            let len = targets.len().checked_div(rows).unwrap_or(0);
            for row in (part * each..rows.min((part + 1) * each)).filter(|row| is_valid_row(*row, rows, counts)) {
                let start = row * len;
                let scale = match loss.selection {
                    Selection::Amplitude => {
                        1.0 / targets[start..start + len].iter().fold(0.0f32, |m, t| m.max(t.abs()))
                    }
                    _ => 1.0,
                };
                if scale.is_finite() {
                    visit(Run { x: start, stride: 1, target: start, len, scale });
                }
            }
        }
        Selection::Matches => {
            let (anchors, len, rows) = (x.shape()[1], x.shape()[2], inputs[1].shape()[1]);
            let matches = &inputs[2].i32()[part * anchors..(part + 1) * anchors];
            let positive = (0..anchors).filter(|anchor| matches[*anchor] == 1);
            for (row, anchor) in positive.take(rows).enumerate() {
                let (x, target) = ((part * anchors + anchor) * len, (part * rows + row) * len);
                visit(Run { x, stride: 1, target, len, scale: 1.0 });
            }
        }
        Selection::Classes { channels_last } => {
            let (rows, labels) = (inputs[1].shape()[1], inputs[2].shape()[1]);
            let images = inputs[1].shape()[0];
            let len = targets.len().checked_div(images * rows).unwrap_or(0);
            let classes = x.ty().len().checked_div(targets.len()).unwrap_or(0);
            for row in 0..rows {
                let class = inputs[2].i32()[part * labels + row];
                if class <= 0 || class as usize >= classes {
                    continue;
                }
                let (row, class) = (part * rows + row, class as usize);
                let (offset, stride) = if channels_last { (class, classes) } else { (class * len, 1) };
                visit(Run { x: row * len * classes + offset, stride, target: row * len, len, scale: 1.0 });
            }
        }
    }
}

pub(super) fn pointwise(loss: &PointwiseLoss, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let inputs = args.inputs;
    let (x, targets) = (inputs[0].f32(), inputs[1].f32());
    let parts = loss.parts(inputs[0].ty(), inputs[1].ty());
    let sum = total(cpu, args.scratch, parts, |part| {
        let mut sum = Sum::default();
        walk(loss, inputs, part, |run| {
            let targets = &targets[run.target..run.target + run.len];
            for (i, t) in targets.iter().enumerate() {
                let p = x[run.x + i * run.stride];
                sum.sum += f64::from(loss.kind.value(run.scale * p, run.scale * t));
            }
            sum.count += run.len as f64;
        });
        sum
    });
    args.outputs[0].f32()[0] = sum.mean();
    Ok(())
}

pub(super) fn pointwise_grad(loss: &PointwiseLoss, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (dy, inputs) = (args.inputs[0].f32()[0], &args.inputs[1..]);
    let (x, targets) = (inputs[0].f32(), inputs[1].f32());
    let parts = loss.parts(inputs[0].ty(), inputs[1].ty());
    let sum = total(cpu, args.scratch, parts, |part| {
        let mut sum = Sum::default();
        walk(loss, inputs, part, |run| sum.count += run.len as f64);
        sum
    });
    let share = sum.share(dy);
    let dx = args.outputs[0].f32();
    dx.fill(0.0);
    let dx = Disjoint::new(dx, 1);
    cpu.parallel(parts, |part, _| {
        walk(loss, inputs, part, |run| {
            for (i, t) in targets[run.target..run.target + run.len].iter().enumerate() {
                let at = run.x + i * run.stride;
                let slope = loss.kind.slope(run.scale * x[at], run.scale * t);
                // SAFETY: every prediction belongs to one run, every run to one part.
                unsafe { dx.run(at)[0] = share * run.scale * slope };
            }
        });
    });
    Ok(())
}

/// The class of row `row`, unless the row is left out.
fn row_class(loss: &SparseSoftmaxLoss, inputs: &[Input<'_>], row: usize, logits: &[f32]) -> Option<usize> {
    let labels = inputs[1].i32();
    let counts = inputs.get(2).map(|counts| counts.i32());
    if !is_valid_row(row, labels.len(), counts) {
        return None;
    }
    if !loss.active.is_empty() {
        let mut best = 0;
        (1..logits.len()).for_each(|class| best = if logits[class] > logits[best] { class } else { best });
        if !loss.active[best] {
            return None;
        }
    }
    loss.labels.class(labels[row], logits.len())
}

/// The largest logit and the logarithm of the sum of exponentials above it.
fn log_sum(logits: &[f32]) -> (f32, f32) {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let sum: f32 = logits.iter().map(|v| (v - largest).exp()).sum();
    (largest, sum.ln())
}

pub(super) fn softmax(loss: &SparseSoftmaxLoss, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let inputs = args.inputs;
    let (logits, classes) = (inputs[0].f32(), inputs[0].shape().last());
    let rows = inputs[1].ty().len();
    let sum = total(cpu, args.scratch, rows.div_ceil(ROWS_PER_PART), |part| {
        let mut sum = Sum::default();
        for row in part * ROWS_PER_PART..rows.min((part + 1) * ROWS_PER_PART) {
            let logits = &logits[row * classes..(row + 1) * classes];
            if let Some(class) = row_class(loss, inputs, row, logits) {
                let (largest, log) = log_sum(logits);
                sum.sum += f64::from(log - (logits[class] - largest));
                sum.count += 1.0;
            }
        }
        sum
    });
    args.outputs[0].f32()[0] = sum.mean();
    Ok(())
}

pub(super) fn softmax_grad(loss: &SparseSoftmaxLoss, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (dy, inputs) = (args.inputs[0].f32()[0], &args.inputs[1..]);
    let (logits, classes) = (inputs[0].f32(), inputs[0].shape().last());
    let rows = inputs[1].ty().len();
    let row_logits = |row: usize| &logits[row * classes..(row + 1) * classes];
    let sum = total(cpu, args.scratch, rows.div_ceil(ROWS_PER_PART), |part| {
        let part = part * ROWS_PER_PART..rows.min((part + 1) * ROWS_PER_PART);
        let count = part.filter(|row| row_class(loss, inputs, *row, row_logits(*row)).is_some()).count();
        Sum { sum: 0.0, count: count as f64 }
    });
    let share = sum.share(dy);
    cpu.parallel_chunks(args.outputs[0].f32(), ROWS_PER_PART * classes, |part, out| {
        for (i, out) in out.chunks_exact_mut(classes).enumerate() {
            let row = part * ROWS_PER_PART + i;
            let logits = row_logits(row);
            let Some(class) = row_class(loss, inputs, row, logits) else {
                out.fill(0.0);
                continue;
            };
            let (largest, log) = log_sum(logits);
            for (c, out) in out.iter_mut().enumerate() {
                let probability = (logits[c] - largest - log).exp();
                *out = share * (probability - f32::from(u8::from(c == class)));
            }
        }
    });
    Ok(())
}
