//! The normal equations of unmixing: Gram matrix of the masks, its factor, substitution for blocks of frames.

use super::cholesky::{factorise, substitute};
use super::covered;
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Frames solved together.
const BLOCK: usize = 64;

pub(in crate::ops::unmix) struct UnmixJob<'a> {
    pub ridge: f64,
    /// `[N,U,H,W]`
    pub shape: &'a Shape,
    pub means: &'a [f32],
    pub channels: usize,
    pub frames: usize,
    pub masks: &'a [f32],
    pub counts: Option<&'a [i32]>,
}

pub(in crate::ops::unmix) struct UnmixScratch<'a> {
    /// Masks as bits, `[N,U,ceil(HW/64)]`.
    pub bits: &'a mut [u64],
    /// Factors and sizes, `[N,U,U + 1]`.
    pub factors: &'a mut [f64],
    /// `[threads,U,BLOCK]`
    pub solutions: &'a mut [f64],
}

/// Lengths of the parts of [`UnmixScratch`].
pub(in crate::ops::unmix) fn unmix_scratch(cpu: &Cpu, masks: &Shape) -> [usize; 3] {
    let (rows, units) = (masks[0] * masks[1], masks[1]);
    [rows * words(masks), rows * (units + 1), cpu.threads() * units * BLOCK]
}

fn words(masks: &Shape) -> usize {
    (masks[2] * masks[3]).div_ceil(64)
}

pub(in crate::ops::unmix) fn least_squares_unmix(
    cpu: &Cpu,
    job: &UnmixJob<'_>,
    output: &mut [f32],
    scratch: UnmixScratch<'_>,
) {
    let (recordings, units, pixels) = (job.shape[0], job.shape[1], job.shape[2] * job.shape[3]);
    let (words, frames) = (words(job.shape), job.frames);
    let valid = |n: usize| job.counts.map_or(units, |counts| (counts[n].max(0) as usize).min(units));
    cpu.parallel_chunks(scratch.bits, words, |row, bits| {
        let mask = &job.masks[row * pixels..][..pixels];
        for (word, values) in bits.iter_mut().zip(mask.chunks(64)) {
            *word = values.iter().enumerate().fold(0, |word, (i, value)| word | (covered(*value) as u64) << i);
        }
    });
    let bits = &*scratch.bits;
    cpu.parallel_chunks(scratch.factors, units * (units + 1), |n, factors| {
        let bits = &bits[n * units * words..][..units * words];
        let (factors, sizes) = factors.split_at_mut(units * units);
        factorise_masks(cpu.isa(), bits, words, valid(n), units, job.ridge, factors, sizes);
    });
    let factors = &*scratch.factors;
    let solutions = Disjoint::new(scratch.solutions, units * BLOCK);
    // A task writes a part of every unit's row.
    let output = SendPtr(output.as_mut_ptr());
    let blocks = frames.div_ceil(BLOCK);
    cpu.parallel(recordings * blocks, |task, worker| {
        let (n, block) = (task / blocks, task % blocks);
        let (start, count) = (block * BLOCK, valid(n));
        let len = BLOCK.min(frames - start);
        let (factors, sizes) = factors[n * units * (units + 1)..][..units * (units + 1)].split_at(units * units);
        // SAFETY: each worker has its own part.
        let x = unsafe { solutions.run(worker) };
        for (unit, x) in x.chunks_exact_mut(BLOCK).enumerate().take(count) {
            let means = &job.means[((n * units + unit) * frames + start) * job.channels..];
            x.fill(0.0);
            for (x, mean) in x[..len].iter_mut().zip(means.iter().step_by(job.channels)) {
                *x = *mean as f64 * sizes[unit];
            }
        }
        substitute_block(cpu.isa(), factors, units, count, x);
        for unit in 0..units {
            // SAFETY: row `n * units + unit` and this block's frames are this task's alone.
            let to =
                unsafe { std::slice::from_raw_parts_mut(output.get().add((n * units + unit) * frames + start), len) };
            if unit < count {
                to.iter_mut().zip(&x[unit * BLOCK..]).for_each(|(to, x)| *to = *x as f32);
            } else {
                to.fill(0.0);
            }
        }
    });
}

per_isa! {
    /// The lower triangle of the Gram matrix with its ridge, rows of `stride`, factorised. `sizes` gets the masks' numbers of
    /// pixels.
    fn factorise_masks[](
        bits: &[u64],
        words: usize,
        count: usize,
        stride: usize,
        ridge: f64,
        factors: &mut [f64],
        sizes: &mut [f64],
    ) {
        for i in 0..count {
            let mask = &bits[i * words..][..words];
            for j in 0..=i {
                let other = &bits[j * words..][..words];
                let common: u32 = mask.iter().zip(other).map(|(a, b)| (a & b).count_ones()).sum();
                factors[i * stride + j] = common as f64;
            }
            sizes[i] = factors[i * stride + i];
            factors[i * stride + i] += ridge * sizes[i];
        }
        factorise(factors, count, stride);
    }
}

per_isa! {
    /// Solves in place for `BLOCK` right-hand sides, one a column of `x [count,BLOCK]`.
    fn substitute_block[](factors: &[f64], stride: usize, count: usize, x: &mut [f64]) {
        substitute(factors, stride, count, BLOCK, x);
    }
}
