//! CPU bodies of folding: weights are rows of channels, cut into runs of rows.

use crate::device::Cpu;
use crate::ops::Scratch;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Elements of one task.
const CHUNK: usize = 16 * 1024;

/// Rows of one task.
fn rows_of_task(channels: usize) -> usize {
    (CHUNK / channels.max(1)).max(1)
}

per_isa! {
    fn scale_rows[](weight: &[f32], scales: &[f32], to: &mut [f32]) {
        for (to, weight) in to.chunks_exact_mut(scales.len()).zip(weight.chunks_exact(scales.len())) {
            for ((to, weight), scale) in to.iter_mut().zip(weight).zip(scales) {
                *to = weight * scale;
            }
        }
    }
}

per_isa! {
    fn scale_and_sum_rows[](weight: &[f32], scales: &[f32], d: &mut [f32], sums: &mut [f32]) {
        for (d, weight) in d.chunks_exact_mut(scales.len()).zip(weight.chunks_exact(scales.len())) {
            for (((d, weight), scale), sum) in d.iter_mut().zip(weight).zip(scales).zip(&mut *sums) {
                *sum += *d * weight;
                *d *= scale;
            }
        }
    }
}

/// `to = weight * scales`, unless nobody wants it.
pub(super) fn scale(cpu: &Cpu, weight: &[f32], scales: &[f32], to: &mut [f32]) {
    let run = rows_of_task(scales.len()) * scales.len();
    cpu.parallel_chunks(to, run, |task, to| scale_rows(cpu.isa(), &weight[task * run..][..to.len()], scales, to));
}

/// Scratch of [`scale_and_sum`].
pub(super) fn sums_bytes(shape: &Shape) -> usize {
    let channels = shape.last();
    Scratch::bytes::<f32>(shape.rows().div_ceil(rows_of_task(channels)) * channels)
}

/// `to = d * scales`; returns the sums of `d * weight` over the rows. An empty `d` is in `to`.
pub(super) fn scale_and_sum(
    cpu: &Cpu,
    weight: &[f32],
    scales: &[f32],
    d: &[f32],
    to: &mut [f32],
    scratch: &mut [u8],
) -> Vec<f32> {
    let channels = scales.len();
    let run = rows_of_task(channels) * channels;
    let tasks = to.len().div_ceil(run.max(1));
    let sums: &mut [f32] = Scratch::new(scratch).take(tasks * channels);
    let parts = Disjoint::new(&mut *sums, channels);
    cpu.parallel_chunks(to, run, |task, to| {
        let part = task * run..task * run + to.len();
        if !d.is_empty() {
            to.copy_from_slice(&d[part.clone()]);
        }
        // SAFETY: each task has its own sums.
        let sums = unsafe { parts.run(task) };
        sums.fill(0.0);
        scale_and_sum_rows(cpu.isa(), &weight[part], scales, to, sums);
    });
    let total = |channel: usize| (0..tasks).map(|task| f64::from(sums[task * channels + channel])).sum::<f64>() as f32;
    (0..channels).map(total).collect()
}
