//! CPU bodies of batch norm. Channels are contiguous; where there are few, several rows are handled side by side
//! ("width"), with parameters repeated to match.

use super::blocks::Blocks;
use crate::device::Cpu;
use crate::ops::Scratch;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;

/// `[C]`-sized pieces that ops may take besides.
const CHANNEL_PIECES: usize = 3;

/// Scratch: two sums for every block, two accumulators for every thread, repeated parameters.
pub(super) struct Work<'a> {
    scratch: Scratch<'a>,
    channels: usize,
    parts: &'a mut [f32],
    accumulators: &'a mut [f32],
    repeated: &'a mut [f32],
}

pub(super) fn scratch_bytes(cpu: &Cpu, blocks: &Blocks) -> usize {
    let floats = Scratch::bytes::<f32>;
    floats(2 * blocks.len() * blocks.channels)
        + floats(2 * cpu.threads() * blocks.width())
        + floats(6 * blocks.width())
        + CHANNEL_PIECES * floats(blocks.channels)
}

impl<'a> Work<'a> {
    pub(super) fn new(cpu: &Cpu, blocks: &Blocks, scratch: &'a mut [u8]) -> Self {
        let mut scratch = Scratch::new(scratch);
        Self {
            channels: blocks.channels,
            parts: scratch.take(2 * blocks.len() * blocks.channels),
            accumulators: scratch.take(2 * cpu.threads() * blocks.width()),
            repeated: scratch.take(6 * blocks.width()),
            scratch,
        }
    }

    /// One of the `CHANNEL_PIECES`.
    pub(super) fn take_channels(&mut self) -> &'a mut [f32] {
        self.scratch.take(self.channels)
    }
}

/// `1 / std` from the variance and epsilon, or from itself.
pub(super) fn inverse_std(spread: &[f32], eps: Option<f32>, to: &mut [f32]) {
    match eps {
        None => to.copy_from_slice(spread),
        Some(eps) => to.iter_mut().zip(spread).for_each(|(to, v)| *to = 1.0 / (*v + eps).sqrt()),
    }
}

/// Repeats `[C]` tensors to the width, one after another in `to`.
fn repeat<const N: usize>(parameters: [&[f32]; N], to: &mut [f32], width: usize) {
    for (values, to) in parameters.iter().zip(to.chunks_exact_mut(width)) {
        to.chunks_exact_mut(values.len()).for_each(|to| to.copy_from_slice(values));
    }
}

/// Adds up the repetitions.
fn fold(wide: &[f32], to: &mut [f32]) {
    to.fill(0.0);
    for part in wide.chunks_exact(to.len()) {
        to.iter_mut().zip(part).for_each(|(to, part)| *to += *part);
    }
}

per_isa! {
    fn add_rows[](x: &[f32], sum: &mut [f32]) {
        for x in x.chunks(sum.len()) {
            for (sum, x) in sum.iter_mut().zip(x) {
                *sum += *x;
            }
        }
    }
}

per_isa! {
    fn add_squares[](x: &[f32], mean: &[f32], sum: &mut [f32]) {
        for x in x.chunks(sum.len()) {
            for ((sum, x), mean) in sum.iter_mut().zip(x).zip(mean) {
                *sum += (*x - *mean) * (*x - *mean);
            }
        }
    }
}

/// Calls `body(block, wide, part)` for every block: two accumulators of the width, and the block's two sums.
fn sum_blocks(
    cpu: &Cpu,
    blocks: &Blocks,
    accumulators: &mut [f32],
    parts: &mut [f32],
    body: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let accumulators = Disjoint::new(accumulators, 2 * blocks.width());
    let parts = Disjoint::new(parts, 2 * blocks.channels);
    cpu.parallel(blocks.len(), |block, worker| {
        // SAFETY: a worker has its own accumulators, a block its own parts.
        let (wide, part) = unsafe { (accumulators.run(worker), parts.run(block)) };
        body(block, wide, part);
    });
}

/// Mean and biased variance of every channel; returns the number of rows they are over. With no row both are 0.
pub(super) fn moments(
    cpu: &Cpu,
    blocks: &Blocks,
    counts: Option<&[i32]>,
    x: &[f32],
    mean: &mut [f32],
    var: &mut [f32],
    work: &mut Work<'_>,
) -> usize {
    let (c, width) = (blocks.channels, blocks.width());
    if c == 0 {
        return 0;
    }
    sum_blocks(cpu, blocks, work.accumulators, work.parts, |block, wide, part| {
        let rows = blocks.block_rows(block, counts);
        part.fill(0.0);
        if rows == 0 {
            return;
        }
        let x = &x[blocks.range(block).0 * c..];
        let (sum, repeated) = wide.split_at_mut(width);
        let (block_mean, block_squares) = part.split_at_mut(c);
        let valid = |body: &mut dyn FnMut(&[f32])| {
            blocks.runs(block, counts, |at, len, valid| {
                if valid {
                    body(&x[at..at + len])
                }
            });
        };
        sum.fill(0.0);
        valid(&mut |x| add_rows(cpu.isa(), x, sum));
        fold(sum, block_mean);
        block_mean.iter_mut().for_each(|mean| *mean /= rows as f32);
        repeat([block_mean], repeated, width);
        sum.fill(0.0);
        valid(&mut |x| add_squares(cpu.isa(), x, repeated, sum));
        fold(sum, block_squares);
    });
    join_moments(blocks, counts, work.parts, mean, var)
}

/// Joins the moments of blocks by Chan's rule, in double precision and in order.
fn join_moments(blocks: &Blocks, counts: Option<&[i32]>, parts: &[f32], mean: &mut [f32], var: &mut [f32]) -> usize {
    const LANES: usize = 16;
    let c = blocks.channels;
    let mut rows = 0;
    for (lane, (mean, var)) in mean.chunks_mut(LANES).zip(var.chunks_mut(LANES)).enumerate() {
        let (mut means, mut squares) = ([0.0f64; LANES], [0.0f64; LANES]);
        rows = 0;
        for block in 0..blocks.len() {
            let n = blocks.block_rows(block, counts);
            if n == 0 {
                continue;
            }
            let share = n as f64 / (rows + n) as f64;
            let cross = rows as f64 * share;
            rows += n;
            let part = &parts[2 * block * c..][..2 * c];
            let (part_mean, part_squares) = (&part[lane * LANES..c], &part[c + lane * LANES..]);
            for i in 0..mean.len() {
                let delta = part_mean[i] as f64 - means[i];
                means[i] += delta * share;
                squares[i] += part_squares[i] as f64 + delta * delta * cross;
            }
        }
        for i in 0..mean.len() {
            mean[i] = means[i] as f32;
            var[i] = (squares[i] / rows.max(1) as f64) as f32;
        }
    }
    rows
}

/// Parameters repeated to the width: mean, 1 / std, gamma / std, beta.
fn repeat_parameters<'a>(parameters: [&[f32]; 4], width: usize, to: &'a mut [f32]) -> [&'a [f32]; 4] {
    let [mean, inverse_std, gamma, beta] = parameters;
    repeat([mean, inverse_std, gamma, beta], to, width);
    let (mean, rest) = to.split_at_mut(width);
    let (inverse_std, rest) = rest.split_at_mut(width);
    let (scale, rest) = rest.split_at_mut(width);
    scale.iter_mut().zip(&*inverse_std).for_each(|(scale, inverse)| *scale *= *inverse);
    [mean, inverse_std, scale, &rest[..width]]
}

per_isa! {
    fn normalise_rows[](x: &[f32], parameters: [&[f32]; 4], relu: bool, y: &mut [f32]) {
        let [mean, _, scale, beta] = parameters;
        let lowest = if relu { 0.0 } else { f32::NEG_INFINITY };
        let width = mean.len();
        let (scale, beta) = (&scale[..width], &beta[..width]);
        for (x, y) in x.chunks(width).zip(y.chunks_mut(width)) {
            for ((((y, x), mean), scale), beta) in y.iter_mut().zip(x).zip(mean).zip(scale).zip(beta) {
                let value = (*x - *mean) * *scale + *beta;
                // Written so that NaN passes through.
                *y = if value < lowest { lowest } else { value };
            }
        }
    }
}

/// `y = (x - mean) * gamma / std + beta`, then ReLU if asked; `parameters` are mean, 1 / std, gamma, beta.
#[allow(clippy::too_many_arguments, reason = "the terms of the formula")]
pub(super) fn normalise(
    cpu: &Cpu,
    blocks: &Blocks,
    counts: Option<&[i32]>,
    x: &[f32],
    parameters: [&[f32]; 4],
    relu: bool,
    y: &mut [f32],
    work: &mut Work<'_>,
) {
    if blocks.channels == 0 {
        return;
    }
    let repeated = repeat_parameters(parameters, blocks.width(), work.repeated);
    for_blocks(cpu, blocks, y, |block, at, y| {
        let x = &x[at..][..y.len()];
        blocks.runs(block, counts, |at, len, valid| {
            let y = &mut y[at..at + len];
            if valid { normalise_rows(cpu.isa(), &x[at..at + len], repeated, relu, y) } else { y.fill(0.0) }
        });
    });
}

/// Calls `body(block, first element, elements of `to`)` for every block.
fn for_blocks(cpu: &Cpu, blocks: &Blocks, to: &mut [f32], body: impl Fn(usize, usize, &mut [f32]) + Sync) {
    let out = Disjoint::new(to, blocks.channels);
    cpu.parallel(blocks.len(), |block, _| {
        let (start, rows) = blocks.range(block);
        // SAFETY: blocks are disjoint ranges of rows.
        body(block, start * blocks.channels, unsafe { out.runs(start, rows) });
    });
}

per_isa! {
    /// Adds d and d h (see [`super::BatchNormGrad`]) of every row to the accumulators.
    fn add_products[](
        x: &[f32],
        dy: &[f32],
        parameters: [&[f32]; 4],
        relu: bool,
        sum: &mut [f32],
        dot: &mut [f32],
    ) {
        let [mean, inverse_std, scale, beta] = parameters;
        for (x, dy) in x.chunks(mean.len()).zip(dy.chunks(mean.len())) {
            // Cut to one length, so that the loop needs no bounds checks and vectorises.
            let n = x.len();
            let (dy, mean, inverse_std) = (&dy[..n], &mean[..n], &inverse_std[..n]);
            let (scale, beta, sum, dot) = (&scale[..n], &beta[..n], &mut sum[..n], &mut dot[..n]);
            for i in 0..n {
                let shifted = x[i] - mean[i];
                let d = if relu && shifted * scale[i] + beta[i] <= 0.0 { 0.0 } else { dy[i] };
                sum[i] += d;
                dot[i] += d * (shifted * inverse_std[i]);
            }
        }
    }
}

/// `sum = sum d`, `dot = sum d h` over valid rows.
#[allow(clippy::too_many_arguments, reason = "the terms of the formula")]
pub(super) fn products(
    cpu: &Cpu,
    blocks: &Blocks,
    counts: Option<&[i32]>,
    x: &[f32],
    dy: &[f32],
    parameters: [&[f32]; 4],
    relu: bool,
    sum: &mut [f32],
    dot: &mut [f32],
    work: &mut Work<'_>,
) {
    let (c, width) = (blocks.channels, blocks.width());
    if c == 0 {
        return;
    }
    let repeated = repeat_parameters(parameters, width, work.repeated);
    sum_blocks(cpu, blocks, work.accumulators, work.parts, |block, wide, part| {
        let (start, rows) = blocks.range(block);
        let (x, dy) = (&x[start * c..][..rows * c], &dy[start * c..][..rows * c]);
        wide.fill(0.0);
        let (wide_sum, wide_dot) = wide.split_at_mut(width);
        blocks.runs(block, counts, |at, len, valid| {
            if valid {
                let (x, dy) = (&x[at..at + len], &dy[at..at + len]);
                add_products(cpu.isa(), x, dy, repeated, relu, wide_sum, wide_dot);
            }
        });
        fold(wide_sum, &mut part[..c]);
        fold(wide_dot, &mut part[c..]);
    });
    for (channel, (sum, dot)) in sum.iter_mut().zip(dot).enumerate() {
        let parts = work.parts.chunks_exact(2 * c);
        *sum = parts.clone().map(|part| part[channel] as f64).sum::<f64>() as f32;
        *dot = parts.map(|part| part[c + channel] as f64).sum::<f64>() as f32;
    }
}

per_isa! {
    /// `dx` holds dy when it begins.
    fn input_gradient_rows[](
        x: &[f32],
        parameters: [&[f32]; 4],
        relu: bool,
        sum: &[f32],
        dot: &[f32],
        dx: &mut [f32],
    ) {
        let [mean, inverse_std, scale, beta] = parameters;
        let width = mean.len();
        for (x, dx) in x.chunks(width).zip(dx.chunks_mut(width)) {
            let n = x.len();
            let (dx, mean, inverse_std) = (&mut dx[..n], &mean[..n], &inverse_std[..n]);
            let (scale, beta, sum, dot) = (&scale[..n], &beta[..n], &sum[..n], &dot[..n]);
            for i in 0..n {
                let shifted = x[i] - mean[i];
                let d = if relu && shifted * scale[i] + beta[i] <= 0.0 { 0.0 } else { dx[i] };
                dx[i] = scale[i] * (d - sum[i] - shifted * inverse_std[i] * dot[i]);
            }
        }
    }
}

/// `dx = gamma / std (d - sum - h dot)` in valid rows, 0 in others. An empty `dy` is in `dx`.
#[allow(clippy::too_many_arguments, reason = "the terms of the formula")]
pub(super) fn input_gradient(
    cpu: &Cpu,
    blocks: &Blocks,
    counts: Option<&[i32]>,
    x: &[f32],
    dy: &[f32],
    parameters: [&[f32]; 4],
    relu: bool,
    sum: &[f32],
    dot: &[f32],
    dx: &mut [f32],
    work: &mut Work<'_>,
) {
    let width = blocks.width();
    if blocks.channels == 0 {
        return;
    }
    let (first, second) = work.repeated.split_at_mut(4 * width);
    let repeated = repeat_parameters(parameters, width, first);
    repeat([sum, dot], second, width);
    let (sum, dot) = second.split_at(width);
    for_blocks(cpu, blocks, dx, |block, at, dx| {
        let x = &x[at..][..dx.len()];
        if !dy.is_empty() {
            dx.copy_from_slice(&dy[at..][..dx.len()]);
        }
        blocks.runs(block, counts, |at, len, valid| {
            let dx = &mut dx[at..at + len];
            if valid {
                input_gradient_rows(cpu.isa(), &x[at..at + len], repeated, relu, sum, dot, dx);
            } else {
                dx.fill(0.0);
            }
        });
    });
}
