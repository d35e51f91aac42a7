//! Loops over many tensors as if they were one: work is cut into chunks of fixed size, so results do not depend on threads.

use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::{Input, Output};

/// Values per task.
pub(super) const CHUNK: usize = 1 << 14;

/// Number of chunks of tensors of these lengths.
pub(super) fn chunks(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.map(|len| len.div_ceil(CHUNK)).sum()
}

/// Tensor and range of elements of chunk `task`.
pub(super) fn locate(task: usize, lengths: impl Iterator<Item = usize>) -> (usize, std::ops::Range<usize>) {
    let mut first = 0;
    for (tensor, len) in lengths.enumerate() {
        let count = len.div_ceil(CHUNK);
        if task < first + count {
            let start = (task - first) * CHUNK;
            return (tensor, start..(start + CHUNK).min(len));
        }
        first += count;
    }
    (0, 0..0)
}

/// Sum of squares of a run in four interleaved `f64` sums.
pub(super) fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (blocks, rest) = values.as_chunks::<8>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, v)| *sum += f64::from(*v) * f64::from(*v));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>()
}

/// As [`sum_of_squares`], of gradients with `factor` times the parameters added.
pub(super) fn sum_of_penalised_squares(gradients: &[f32], parameters: &[f32], factor: f32) -> f64 {
    if factor == 0.0 {
        return sum_of_squares(gradients);
    }
    let mut sum = 0.0;
    for (gradients, parameters) in gradients.chunks(256).zip(parameters.chunks(256)) {
        let mut values = [0.0; 256];
        let values = &mut values[..gradients.len()];
        penalise(gradients, parameters, factor, values);
        sum += sum_of_squares(values);
    }
    sum
}

/// Gradients with `factor` times the parameters added.
pub(super) fn penalise(gradients: &[f32], parameters: &[f32], factor: f32, to: &mut [f32]) {
    to.iter_mut().zip(gradients).zip(parameters).for_each(|((to, g), p)| *to = g + factor * p);
}

/// Calls `body(tensor, range, slots)` for every chunk, where `slots[k]` is that range of output `k * n + tensor`: all outputs of
/// one parameter side by side. `lengths` are those of the `n` tensors.
pub(super) fn for_each_chunk<const K: usize>(
    cpu: &Cpu,
    outputs: &mut [Output<'_>],
    n: usize,
    body: impl Fn(usize, std::ops::Range<usize>, [&mut [f32]; K]) + Sync,
) {
    let slots: Vec<(SendPtr<f32>, usize)> =
        outputs.iter_mut().map(|output| (SendPtr(output.f32().as_mut_ptr()), output.ty().len())).collect();
    let lengths = || slots.iter().take(n).map(|slot| slot.1);
    cpu.parallel(chunks(lengths()), |task, _| {
        let (tensor, range) = locate(task, lengths());
        let runs = std::array::from_fn(|k| {
            let (pointer, _) = &slots[k * n + tensor];
            // SAFETY: chunks are disjoint ranges of distinct tensors, all of the tensor's length by the op's type rule.
            unsafe { std::slice::from_raw_parts_mut(pointer.get().add(range.start), range.len()) }
        });
        body(tensor, range, runs);
    });
}

/// Lengths of inputs.
pub(super) fn lengths<'a>(inputs: &'a [Input<'_>]) -> impl Iterator<Item = usize> + Clone + 'a {
    inputs.iter().map(|input| input.ty().len())
}
