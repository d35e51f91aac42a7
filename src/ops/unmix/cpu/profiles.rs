//! One round of alternating least squares, a task for each recording, in `f64`.

use super::cholesky::{factorise, substitute};
use super::covered;
use super::regions::Window;
use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;
use crate::ops::unmix::ProfileUnmix;
use crate::tensor::Shape;

/// A profile whose mean over its mask is smaller is not scaled.
const NO_MEAN: f64 = 0.05;
/// How often the signals are solved for, the late parts taken from the signals before.
pub(in crate::ops::unmix) const SOLUTIONS: usize = 2;

pub(in crate::ops::unmix) struct ProfileJob<'a> {
    pub op: ProfileUnmix,
    /// `[N,U,H,W]`
    pub masks_shape: &'a Shape,
    pub coefficients: usize,
    /// Side of the filters.
    pub side: usize,
    pub recordings: &'a [f32],
    pub masks: &'a [f32],
    pub signals: &'a [f32],
    pub filters: &'a [f32],
    pub variances: &'a [f32],
    pub slopes: &'a [f32],
    pub counts: Option<&'a [i32]>,
}

/// `f64`s of scratch for one recording.
pub(in crate::ops::unmix) fn profile_scratch(masks: &Shape, coefficients: usize) -> usize {
    let (units, pixels) = (masks[1], masks[2] * masks[3]);
    // In the order of `Parts`.
    2 * units * coefficients * 2
        + 4 * units * units * 2
        + 2 * units
        + 2 * units * units
        + 2 * units * pixels
        + 2 * pixels
}

/// A recording's scratch.
struct Parts<'a> {
    /// Signals, then their derivatives, `[2U,K]`.
    courses: &'a mut [f64],
    /// Projections `A^T y` of the recording, then the right-hand sides of the signals, `[2U,K]`.
    projected: &'a mut [f64],
    /// Inner products of the courses, `[2U,2U]`.
    inner: &'a mut [f64],
    /// A pixel's normal equations, `[2U,2U]`, and their right-hand side.
    system: &'a mut [f64],
    right: &'a mut [f64],
    /// `A^T P`, then its factor; and `A^T Q`: `[U,U]` each.
    normal: &'a mut [f64],
    late: &'a mut [f64],
    /// `P` and `Q`, `[U,H*W]` each.
    profiles: &'a mut [f64],
    lags: &'a mut [f64],
    /// A profile filtered once and twice, `[H*W]` each; only round it.
    once: &'a mut [f64],
    twice: &'a mut [f64],
}

impl<'a> Parts<'a> {
    fn new(mut scratch: &'a mut [f64], units: usize, coefficients: usize, pixels: usize) -> Self {
        let mut take = |len: usize| {
            let (part, rest) = std::mem::take(&mut scratch).split_at_mut(len);
            scratch = rest;
            part
        };
        Self {
            courses: take(2 * units * coefficients),
            projected: take(2 * units * coefficients),
            inner: take(4 * units * units),
            system: take(4 * units * units),
            right: take(2 * units),
            normal: take(units * units),
            late: take(units * units),
            profiles: take(units * pixels),
            lags: take(units * pixels),
            once: take(pixels),
            twice: take(pixels),
        }
    }
}

/// What the steps read of one recording.
struct Scene<'a> {
    op: ProfileUnmix,
    /// Valid units.
    count: usize,
    coefficients: usize,
    height: usize,
    width: usize,
    /// `[H*W,K]`
    recording: &'a [f32],
    /// `[count,H*W]`
    masks: &'a [f32],
    /// `[side,side]`
    filter: &'a [f32],
    side: usize,
    slopes: &'a [f32],
    /// Variance of what the regression of a pixel leaves.
    error: f64,
}

impl Scene<'_> {
    fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// `[N*U,K]`; `scratch [N,profile_scratch]`.
pub(in crate::ops::unmix) fn profile_unmix(cpu: &Cpu, job: &ProfileJob<'_>, output: &mut [f32], scratch: &mut [f64]) {
    let (units, height, width) = (job.masks_shape[1], job.masks_shape[2], job.masks_shape[3]);
    let (pixels, coefficients) = (height * width, job.coefficients);
    let parts = Disjoint::new(scratch, profile_scratch(job.masks_shape, coefficients));
    cpu.parallel_chunks(output, units * coefficients, |n, output| {
        // SAFETY: each task has its own part.
        let mut parts = Parts::new(unsafe { parts.run(n) }, units, coefficients, pixels);
        let count = job.counts.map_or(units, |counts| (counts[n].max(0) as usize).min(units));
        let recording = &job.recordings[n * pixels * coefficients..][..pixels * coefficients];
        output.fill(0.0);
        let power = recording.iter().map(|x| (*x as f64) * (*x as f64)).sum::<f64>() / recording.len() as f64;
        if count == 0 || power <= 0.0 {
            return;
        }
        let scene = Scene {
            op: job.op,
            count,
            coefficients,
            height,
            width,
            recording,
            masks: &job.masks[n * units * pixels..][..count * pixels],
            filter: &job.filters[n * job.side * job.side..][..job.side * job.side],
            side: job.side,
            slopes: job.slopes,
            error: job.variances[n] as f64 + job.op.mismatch as f64 * power,
        };
        let signals = &job.signals[n * units * coefficients..][..count * coefficients];
        parts.courses.iter_mut().zip(signals).for_each(|(to, from)| *to = *from as f64);
        find_profiles(cpu.isa(), &scene, &mut parts);
        project(cpu.isa(), &scene, &mut parts);
        solve(cpu.isa(), &scene, &mut parts);
        output.iter_mut().zip(&parts.courses[..count * coefficients]).for_each(|(to, from)| *to = *from as f32);
    });
}

#[inline(always)]
fn dot<T: Copy + Into<f64>>(x: &[f64], y: &[T]) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0.0f64; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane].into();
        }
    }
    x_rest.iter().zip(y_rest).zip(&mut lanes).for_each(|((x, y), lane)| *lane += x * (*y).into());
    lanes.iter().sum()
}

/// Writes the derivatives behind the signals.
#[inline(always)]
fn differentiate(scene: &Scene<'_>, courses: &mut [f64]) {
    let k = scene.coefficients;
    let (signals, derivatives) = courses.split_at_mut(scene.count * k);
    for (signal, derivative) in signals.chunks_exact(k).zip(derivatives.chunks_exact_mut(k)) {
        derivative.fill(0.0);
        for (value, slopes) in signal.iter().zip(scene.slopes.chunks_exact(k)) {
            derivative.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += value * *slope as f64);
        }
    }
}

per_isa! {
    /// Step 1: `P` and `Q` of every unit, and its signal scaled as its profile asks.
    fn find_profiles[](scene: &Scene<'_>, parts: &mut Parts<'_>) {
        let (count, k, pixels) = (scene.count, scene.coefficients, scene.pixels());
        differentiate(scene, parts.courses);
        for i in 0..2 * count {
            for j in 0..=i {
                let value = dot(&parts.courses[i * k..][..k], &parts.courses[j * k..][..k]);
                (parts.inner[i * 2 * count + j], parts.inner[j * 2 * count + i]) = (value, value);
            }
        }
        parts.profiles[..count * pixels].fill(0.0);
        parts.lags[..count * pixels].fill(0.0);
        let penalty = scene.error / scene.op.profile_variance as f64;
        let lag_penalty = scene.error / scene.op.lag_variance as f64;
        for pixel in 0..pixels {
            let covering = || (0..count).filter(|unit| covered(scene.masks[unit * pixels + pixel]));
            let size = 2 * covering().count();
            if size == 0 {
                continue;
            }
            // The units' signals, then their derivatives.
            let members = || covering().chain(covering().map(|unit| count + unit));
            let values = &scene.recording[pixel * k..][..k];
            for (i, a) in members().enumerate() {
                let own = if i < size / 2 { penalty } else { lag_penalty };
                for (j, b) in members().take(i + 1).enumerate() {
                    parts.system[i * size + j] = parts.inner[a * 2 * count + b];
                }
                parts.system[i * size + i] += own;
                parts.right[i] = dot(&parts.courses[a * k..][..k], values);
                if i < size / 2 {
                    parts.right[i] += penalty;
                }
            }
            factorise(parts.system, size, size);
            substitute(parts.system, size, size, 1, parts.right);
            for (i, unit) in covering().enumerate() {
                parts.profiles[unit * pixels + pixel] = parts.right[i];
                parts.lags[unit * pixels + pixel] = parts.right[size / 2 + i];
            }
        }
        for unit in 0..count {
            let inside = || (0..pixels).filter(|pixel| covered(scene.masks[unit * pixels + pixel]));
            let size = inside().count().max(1);
            let mean = inside().map(|pixel| parts.profiles[unit * pixels + pixel]).sum::<f64>() / size as f64;
            if mean.abs() >= NO_MEAN {
                let factor = 1.0 / mean;
                for pixel in inside() {
                    parts.profiles[unit * pixels + pixel] *= factor;
                    parts.lags[unit * pixels + pixel] *= factor;
                }
                parts.courses[unit * k..][..k].iter_mut().for_each(|x| *x *= mean);
            }
        }
    }
}

per_isa! {
    /// Step 2, what does not change: `A^T P` (its lower triangle), `A^T Q`, `A^T y`.
    fn project[](scene: &Scene<'_>, parts: &mut Parts<'_>) {
        let (count, k, pixels, width) = (scene.count, scene.coefficients, scene.pixels(), scene.width);
        let reach = scene.side / 2;
        for unit in 0..count {
            let projected = &mut parts.projected[unit * k..][..k];
            projected.fill(0.0);
            let (normal, late) = (&mut parts.normal[unit * count..][..count], &mut parts.late[unit * count..][..count]);
            normal.fill(0.0);
            late.fill(0.0);
            let Some(own) = Window::of_mask(&scene.masks[unit * pixels..][..pixels], width) else { continue };
            let (middle, whole) = (own.grown(reach, scene.height, width), own.grown(2 * reach, scene.height, width));
            filter(scene, &parts.profiles[unit * pixels..][..pixels], own, middle, parts.once);
            filter(scene, parts.once, middle, whole, parts.twice);
            for y in whole.rows[0]..whole.rows[1] {
                let line = y * width + whole.columns[0]..y * width + whole.columns[1];
                let weights = &parts.twice[line.clone()];
                for (weight, values) in weights.iter().zip(scene.recording[line.start * k..].chunks_exact(k)) {
                    projected.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * *value as f64);
                }
                for other in 0..count {
                    let line = other * pixels + line.start..other * pixels + line.end;
                    if other <= unit {
                        normal[other] += dot(weights, &parts.profiles[line.clone()]);
                    }
                    late[other] += dot(weights, &parts.lags[line]);
                }
            }
        }
    }
}

/// `to = filter * from` over `to_window`; `from` is taken to be 0 outside `from_window`.
#[inline(always)]
fn filter(scene: &Scene<'_>, from: &[f64], from_window: Window, to_window: Window, to: &mut [f64]) {
    let (side, width) = (scene.side, scene.width);
    let reach = side / 2;
    let [first, end] = from_window.columns;
    for y in to_window.rows[0]..to_window.rows[1] {
        let to = &mut to[y * width..][..width];
        to[to_window.columns[0]..to_window.columns[1]].fill(0.0);
        for (ky, taps) in scene.filter.chunks_exact(side).enumerate() {
            let row = (y + ky).wrapping_sub(reach);
            if !(from_window.rows[0]..from_window.rows[1]).contains(&row) {
                continue;
            }
            for (kx, tap) in taps.iter().enumerate() {
                // Column x takes column x + kx - reach.
                let low = (first + reach).saturating_sub(kx).max(to_window.columns[0]);
                let high = (end + reach).saturating_sub(kx).min(to_window.columns[1]);
                if low < high {
                    let from = &from[row * width + low + kx - reach..][..high - low];
                    to[low..high].iter_mut().zip(from).for_each(|(sum, value)| *sum += *tap as f64 * value);
                }
            }
        }
    }
}

per_isa! {
    /// Step 2, the signals.
    fn solve[](scene: &Scene<'_>, parts: &mut Parts<'_>) {
        let (count, k) = (scene.count, scene.coefficients);
        for unit in 0..count {
            parts.normal[unit * count + unit] *= 1.0 + scene.op.ridge as f64;
        }
        factorise(parts.normal, count, count);
        let (projected, right) = parts.projected.split_at_mut(count * k);
        let right = &mut right[..count * k];
        for _ in 0..SOLUTIONS {
            differentiate(scene, parts.courses);
            let (signals, derivatives) = parts.courses.split_at_mut(count * k);
            right.copy_from_slice(projected);
            for (right, late) in right.chunks_exact_mut(k).zip(parts.late.chunks_exact(count)) {
                for (derivative, late) in derivatives.chunks_exact(k).zip(late) {
                    right.iter_mut().zip(derivative).for_each(|(sum, value)| *sum -= late * value);
                }
            }
            substitute(parts.normal, count, count, k, right);
            signals.copy_from_slice(right);
        }
    }
}
