//! Standardising of samples. Moments of blocks are joined in order, in double precision.

use super::{CHUNK, LANES, Sum, fold_run};
use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Sample size, blocks of a sample.
fn sample_blocks(shape: &Shape) -> (usize, usize) {
    let len: usize = shape.dims()[1..].iter().product();
    (len, len.div_ceil(CHUNK))
}

/// Two values a block and two a sample.
pub(in crate::ops::reduce) fn standardise_scratch(shape: &Shape) -> usize {
    shape[0] * (2 * sample_blocks(shape).1 + 2)
}

per_isa! {
    /// Mean and sum of squared deviations of a block, in two passes while it is in the cache.
    fn block_moments[](x: &[f32]) -> [f32; 2] {
        let mean = fold_run::<Sum>(x) / x.len() as f32;
        let mut lanes = [0.0f32; LANES];
        for chunk in x.chunks(LANES) {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += (*x - mean) * (*x - mean);
            }
        }
        [mean, fold_run::<Sum>(&lanes)]
    }
}

/// Mean and 1 / std of every sample into `moments`; 1 / std is 0 for a constant one.
fn moments(cpu: &Cpu, x: &[f32], len: usize, blocks: usize, parts: &mut [f32], moments: &mut [f32]) {
    cpu.parallel_chunks(parts, 2, |task, part| {
        let (sample, start) = (task / blocks, task % blocks * CHUNK);
        let block = &x[sample * len + start..][..CHUNK.min(len - start)];
        part.copy_from_slice(&block_moments(cpu.isa(), block));
    });
    for (parts, to) in parts.chunks_exact(2 * blocks).zip(moments.chunks_exact_mut(2)) {
        // Chan's rule for joining moments of parts.
        let (mut n, mut mean, mut m2) = (0.0f64, 0.0f64, 0.0f64);
        for (block, part) in parts.chunks_exact(2).enumerate() {
            let count = CHUNK.min(len - block * CHUNK) as f64;
            let delta = part[0] as f64 - mean;
            mean += delta * count / (n + count);
            m2 += part[1] as f64 + delta * delta * n * count / (n + count);
            n += count;
        }
        let std = (m2 / n).sqrt();
        let inverse = if std > 1e-6 * mean.abs() || std.is_nan() { 1.0 / std } else { 0.0 };
        to.copy_from_slice(&[mean as f32, inverse as f32]);
    }
}

per_isa! {
    fn shift_and_scale[](x: &[f32], y: &mut [f32], mean: f32, inverse: f32) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = (*x - mean) * inverse;
        }
    }
}

/// Calls `body(sample, range in the tensor, block of `to`)` for every block of every sample.
fn for_blocks(cpu: &Cpu, to: &mut [f32], len: usize, blocks: usize, body: impl Fn(usize, usize, &mut [f32]) + Sync) {
    let samples = to.len() / len;
    let out = Disjoint::new(to, 1);
    cpu.parallel(samples * blocks, |task, _| {
        let (sample, start) = (task / blocks, task % blocks * CHUNK);
        let at = sample * len + start;
        // SAFETY: blocks are disjoint.
        let to = unsafe { out.runs(at, CHUNK.min(len - start)) };
        body(sample, at, to);
    });
}

pub(in crate::ops::reduce) fn standardise(cpu: &Cpu, x: &[f32], shape: &Shape, y: &mut [f32], scratch: &mut [f32]) {
    let (len, blocks) = sample_blocks(shape);
    if x.is_empty() {
        return;
    }
    let (parts, stats) = scratch.split_at_mut(shape[0] * blocks * 2);
    moments(cpu, x, len, blocks, parts, stats);
    let stats = &*stats;
    for_blocks(cpu, y, len, blocks, |sample, at, y| {
        shift_and_scale(cpu.isa(), &x[at..][..y.len()], y, stats[2 * sample], stats[2 * sample + 1]);
    });
}

per_isa! {
    /// Sums of dy and of dy y over a block.
    fn block_products[](x: &[f32], dy: &[f32], mean: f32, inverse: f32) -> [f32; 2] {
        let mut sum = [0.0f32; LANES];
        let mut dot = [0.0f32; LANES];
        for (x, dy) in x.chunks(LANES).zip(dy.chunks(LANES)) {
            for (((sum, dot), x), dy) in sum.iter_mut().zip(&mut dot).zip(x).zip(dy) {
                *sum += *dy;
                *dot += *dy * ((*x - mean) * inverse);
            }
        }
        [fold_run::<Sum>(&sum), fold_run::<Sum>(&dot)]
    }
}

per_isa! {
    fn standardise_grad_block[](x: &[f32], dy: &[f32], dx: &mut [f32], mean: f32, inverse: f32, sum: f32, dot: f32) {
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = inverse * (*dy - sum - (*x - mean) * inverse * dot);
        }
    }
}

pub(in crate::ops::reduce) fn standardise_grad(
    cpu: &Cpu,
    x: &[f32],
    shape: &Shape,
    dy: &[f32],
    dx: &mut [f32],
    scratch: &mut [f32],
) {
    let (len, blocks) = sample_blocks(shape);
    if x.is_empty() {
        return;
    }
    let (parts, stats) = scratch.split_at_mut(shape[0] * blocks * 2);
    moments(cpu, x, len, blocks, parts, stats);
    let stats = &*stats;
    cpu.parallel_chunks(parts, 2, |task, part| {
        let (sample, start) = (task / blocks, task % blocks * CHUNK);
        let range = sample * len + start..sample * len + len.min(start + CHUNK);
        let (mean, inverse) = (stats[2 * sample], stats[2 * sample + 1]);
        part.copy_from_slice(&block_products(cpu.isa(), &x[range.clone()], &dy[range], mean, inverse));
    });
    let parts = &*parts;
    for_blocks(cpu, dx, len, blocks, |sample, at, dx| {
        let parts = parts[sample * blocks * 2..][..blocks * 2].chunks_exact(2);
        let total = |i: usize| (parts.clone().map(|part| part[i] as f64).sum::<f64>() / len as f64) as f32;
        let (x, dy) = (&x[at..][..dx.len()], &dy[at..][..dx.len()]);
        standardise_grad_block(cpu.isa(), x, dy, dx, stats[2 * sample], stats[2 * sample + 1], total(0), total(1));
    });
}
