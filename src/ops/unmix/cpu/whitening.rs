//! Noise covariance of neighbouring pixels from differences in time, and the filter that undoes it.

use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;
use crate::ops::unmix::whitening::{FREQUENCIES, MAX_RADIUS};
use crate::tensor::Shape;

/// Frames of one third difference.
const GROUP: usize = 4;
/// Sum of the squares of its weights 1, -3, 3, -1.
const GAIN: f64 = 20.0;

pub(in crate::ops::unmix) struct WhiteningJob<'a> {
    /// `[N,T,H,W,1]`
    pub shape: &'a Shape,
    pub recordings: &'a [f32],
    pub radius: usize,
    pub floor: f64,
}

/// The lags `(dy, dx)` that are measured: one of each pair of opposite ones.
pub(in crate::ops::unmix) fn lags(radius: usize) -> impl Iterator<Item = (usize, isize)> {
    let reach = radius as isize + 1;
    (0..=reach).flat_map(move |dy| (-reach..=reach).map(move |dx| (dy as usize, dx)).filter(|lag| *lag >= (0, 0)))
}

/// Lengths: differences `[N,T/4,H*W]` (f32); covariances `[N,lags]` and a line for each thread (f64).
pub(in crate::ops::unmix) fn whitening_scratch(cpu: &Cpu, shape: &Shape, radius: usize) -> [usize; 2] {
    let groups = shape[1] / GROUP;
    [shape[0] * groups * shape[2] * shape[3], shape[0] * lags(radius).count() + cpu.threads() * shape[3]]
}

/// `filters [N,side,side]`, `variances [N]`; the rest is scratch.
pub(in crate::ops::unmix) fn noise_whitening(
    cpu: &Cpu,
    job: &WhiteningJob<'_>,
    filters: &mut [f32],
    variances: &mut [f32],
    differences: &mut [f32],
    sums: &mut [f64],
) {
    let (frames, height, width) = (job.shape[1], job.shape[2], job.shape[3]);
    let (pixels, groups) = (height * width, frames / GROUP);
    let count = lags(job.radius).count();
    cpu.parallel_chunks(differences, pixels, |task, difference| {
        let (n, group) = (task / groups, task % groups);
        let first = (n * frames + group * GROUP) * pixels;
        third_difference(cpu.isa(), &job.recordings[first..][..GROUP * pixels], difference);
    });
    let differences = &*differences;
    let (covariances, lines) = sums.split_at_mut(job.shape[0] * count);
    let lines = Disjoint::new(lines, width);
    let parts = Disjoint::new(covariances, 1);
    cpu.parallel(job.shape[0] * count, |task, worker| {
        // SAFETY: each worker has its own line, each task its own covariance.
        let (line, covariance) = unsafe { (lines.run(worker), parts.run(task)) };
        let differences = &differences[task / count * groups * pixels..][..groups * pixels];
        for lag in lags(job.radius).skip(task % count).take(1) {
            covariance[0] = lagged_product(cpu.isa(), differences, height, width, lag, line);
        }
    });
    let side = 2 * job.radius + 1;
    let outputs = filters.chunks_exact_mut(side * side).zip(variances);
    for ((filter, variance), covariances) in outputs.zip(covariances.chunks_exact(count)) {
        whiten(job.radius, job.floor, covariances, filter, variance);
    }
}

per_isa! {
    fn third_difference[](frames: &[f32], difference: &mut [f32]) {
        let (a, rest) = frames.split_at(difference.len());
        let (b, rest) = rest.split_at(difference.len());
        let (c, d) = rest.split_at(difference.len());
        for ((((to, a), b), c), d) in difference.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *to = (a - d) + 3.0 * (c - b);
        }
    }
}

per_isa! {
    /// Mean of `e[y,x] e[y+dy,x+dx]` over all images and all pairs of pixels inside, over [`GAIN`]; 0 if there are none.
    fn lagged_product[](images: &[f32], height: usize, width: usize, lag: (usize, isize), line: &mut [f64]) -> f64 {
        let (dy, dx) = lag;
        let shift = dx.unsigned_abs();
        if dy >= height || shift >= width || images.is_empty() {
            return 0.0;
        }
        let (left, right) = if dx < 0 { (shift, 0) } else { (0, shift) };
        let len = width - shift;
        let line = &mut line[..len];
        line.fill(0.0);
        for image in images.chunks_exact(height * width) {
            for y in 0..height - dy {
                let a = &image[y * width + left..][..len];
                let b = &image[(y + dy) * width + right..][..len];
                line.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += (a * b) as f64);
            }
        }
        let pairs = images.len() / (height * width) * (height - dy) * len;
        line.iter().sum::<f64>() / (GAIN * pairs as f64)
    }
}

/// The filter and the variance from the covariances at [`lags`].
fn whiten(radius: usize, floor: f64, covariances: &[f64], filter: &mut [f32], variance: &mut f32) {
    let side = 2 * radius + 1;
    let known = covariances[0];
    *variance = known as f32;
    filter.fill(0.0);
    if !(known > 0.0 && known.is_finite()) {
        *variance = 0.0;
        filter[radius * side + radius] = 1.0;
        return;
    }
    let cosines: [f64; FREQUENCIES] =
        std::array::from_fn(|k| (std::f64::consts::TAU * k as f64 / FREQUENCIES as f64).cos());
    let cosine = |ky: usize, kx: usize, (dy, dx): (usize, isize)| {
        cosines[((ky * dy) as isize + kx as isize * dx).rem_euclid(FREQUENCIES as isize) as usize]
    };
    let hann = |lag: usize| 0.5 * (1.0 + (std::f64::consts::PI * lag as f64 / (radius + 2) as f64).cos());
    let mut sums = [0.0f64; (2 * MAX_RADIUS + 1) * (2 * MAX_RADIUS + 1)];
    for (ky, kx) in (0..FREQUENCIES).flat_map(|ky| (0..FREQUENCIES).map(move |kx| (ky, kx))) {
        let power: f64 = lags(radius)
            .zip(covariances)
            .map(|(lag, covariance)| {
                // A lag other than 0 stands for its opposite, too.
                let times = if lag == (0, 0) { 1.0 } else { 2.0 };
                times * covariance / known * hann(lag.0) * hann(lag.1.unsigned_abs()) * cosine(ky, kx, lag)
            })
            .sum();
        let amplitude = 1.0 / power.max(floor).sqrt();
        // The lower half and the middle row; the upper half is its mirror image.
        for (at, sum) in sums[..side * side].iter_mut().enumerate().skip(radius * side) {
            *sum += amplitude * cosine(ky, kx, (at / side - radius, at as isize % side as isize - radius as isize));
        }
    }
    for at in radius * side..side * side {
        let value = (sums[at] / (FREQUENCIES * FREQUENCIES) as f64) as f32;
        (filter[at], filter[side * side - 1 - at]) = (value, value);
    }
}
