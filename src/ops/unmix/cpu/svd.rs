//! Singular vectors: gather a mask's pixels, Gram matrix of the shorter side, its eigenvectors, projection, signs.

use super::covered;
use super::eigen::{lanczos_scratch, largest_eigenpairs};
use super::gram::{PAD, dot, gram};
use crate::device::Cpu;
use crate::device::cpu::Isa;
use crate::device::cpu::simd::LANES;
use crate::ops::disjoint::Disjoint;
use crate::ops::is_valid_row;
use crate::ops::per_isa::per_isa;
use crate::ops::unmix::Extents;

pub(in crate::ops::unmix) const MAX_COMPONENTS: usize = 8;
/// Singular values below this part of the first are taken for rounding: the Gram matrix squares them.
const NO_COMPONENT: f64 = 2e-3;

pub(in crate::ops::unmix) struct SvdJob<'a> {
    pub extents: Extents,
    pub components: usize,
    pub recordings: &'a [f32],
    pub masks: &'a [f32],
    pub reference: &'a [f32],
    pub counts: Option<&'a [i32]>,
}

/// Floats of scratch for one worker.
pub(in crate::ops::unmix) fn svd_scratch(extents: &Extents) -> usize {
    let [matrix, side] = largest_matrix(extents);
    matrix + side * side + lanczos_scratch(side) + MAX_COMPONENTS * side
}

/// Size of the largest matrix that a mask may ask for, and the padded length of the longest shorter side.
fn largest_matrix(extents: &Extents) -> [usize; 2] {
    let (frames, pixels) = (extents.frames, extents.pixels());
    let side = frames.min(pixels).next_multiple_of(PAD);
    [frames.max(pixels) * side, side]
}

/// Integers of scratch for one worker: the runs of the most scattered mask.
pub(in crate::ops::unmix) fn run_scratch(extents: &Extents) -> usize {
    extents.pixels().div_ceil(2) * 2
}

/// `[N*U,T,components]`. `runs [threads,run_scratch]` and `floats [threads,svd_scratch]` are scratch.
pub(in crate::ops::unmix) fn masked_svd(
    cpu: &Cpu,
    job: &SvdJob<'_>,
    output: &mut [f32],
    runs: &mut [i32],
    floats: &mut [f32],
) {
    let Extents { units, frames, .. } = job.extents;
    let (pixels, rows) = (job.extents.pixels(), job.extents.rows());
    let output = Disjoint::new(output, frames * job.components);
    let runs = Disjoint::new(runs, run_scratch(&job.extents));
    let floats = Disjoint::new(floats, svd_scratch(&job.extents));
    cpu.parallel(rows, |row, worker| {
        // SAFETY: each task has its own row of the output, each worker its own scratch.
        let (output, runs, scratch) = unsafe { (output.run(row), runs.run(worker), floats.run(worker)) };
        let runs: &mut [[i32; 2]] = bytemuck::cast_slice_mut(runs);
        output.fill(0.0);
        if !is_valid_row(row, rows, job.counts) {
            return;
        }
        let mask = &job.masks[row * pixels..][..pixels];
        let (found, size) = find_runs(mask, runs);
        if size > 0 {
            let recording = &job.recordings[row / units * frames * pixels..][..frames * pixels];
            let crop = Crop { recording, pixels, frames, size, runs: &runs[..found] };
            singular_vectors(cpu.isa(), &crop, job.components, output, scratch);
            align(output, &job.reference[row * frames..][..frames], job.components);
        }
    });
}

/// A mask's pixels of a recording.
struct Crop<'a> {
    recording: &'a [f32],
    pixels: usize,
    frames: usize,
    /// Number of pixels of the mask.
    size: usize,
    /// The mask as runs of neighbours: first pixel and length, one after the other.
    runs: &'a [[i32; 2]],
}

/// Writes the mask's runs; returns their number and that of the pixels.
fn find_runs(mask: &[f32], runs: &mut [[i32; 2]]) -> (usize, usize) {
    let (mut found, mut size, mut end) = (0, 0, usize::MAX);
    for (block, values) in mask.chunks(LANES).enumerate() {
        // Most of an image is not mask.
        if !values.iter().fold(false, |any, value| any | covered(*value)) {
            continue;
        }
        for (i, _) in values.iter().enumerate().filter(|(_, value)| covered(**value)) {
            let pixel = block * LANES + i;
            if pixel == end {
                runs[found - 1][1] += 1;
            } else {
                runs[found] = [pixel as i32, 1];
                found += 1;
            }
            (size, end) = (size + 1, pixel + 1);
        }
    }
    (found, size)
}

per_isa! {
    /// The mask's pixels frame by frame, `rows [frames,n]`, zeros behind them.
    fn gather_frames[](recording: &[f32], pixels: usize, runs: &[[i32; 2]], rows: &mut [f32], n: usize) {
        for (image, row) in recording.chunks_exact(pixels).zip(rows.chunks_exact_mut(n)) {
            let mut at = 0;
            for [start, len] in runs {
                let (start, len) = (*start as usize, *len as usize);
                // Runs are short: a call to copy memory would take longer than its work.
                let mut left = &image[start..start + len];
                while let Some((chunk, rest)) = left.split_first_chunk::<8>() {
                    row[at..at + 8].copy_from_slice(chunk);
                    (left, at) = (rest, at + 8);
                }
                for value in left {
                    row[at] = *value;
                    at += 1;
                }
            }
            row[at..].fill(0.0);
        }
    }
}

/// The mask's pixels one after the other, `rows [pixels of the mask,n]`, frames along the rows, zeros behind them.
fn gather_pixels(crop: &Crop<'_>, rows: &mut [f32], n: usize) {
    let mut to = rows.chunks_exact_mut(n);
    for pixel in crop.runs.iter().flat_map(|[start, len]| *start..start + len) {
        if let Some(row) = to.next() {
            let course = crop.recording[pixel as usize..].iter().step_by(crop.pixels);
            row.iter_mut().zip(course).for_each(|(x, value)| *x = *value);
            row[crop.frames..].fill(0.0);
        }
    }
}

fn singular_vectors(isa: Isa, crop: &Crop<'_>, components: usize, output: &mut [f32], scratch: &mut [f32]) {
    let (frames, size) = (crop.frames, crop.size);
    let (side, long) = (size.min(frames), size.max(frames));
    let n = side.next_multiple_of(PAD);
    let (matrix, scratch) = scratch.split_at_mut(long * n);
    let (g, scratch) = scratch.split_at_mut(n * n);
    let (vectors, scratch) = scratch.split_at_mut(MAX_COMPONENTS * n);
    let by_frame = size <= frames;
    if by_frame {
        gather_frames(isa, crop.recording, crop.pixels, crop.runs, matrix, n);
    } else {
        gather_pixels(crop, matrix, n);
    }
    gram(isa, matrix, n, g);
    let mut values = [0.0f64; MAX_COMPONENTS];
    let found = largest_eigenpairs(isa, g, n, side, scratch, &mut values[..components], vectors);
    let floor = values[0] * NO_COMPONENT * NO_COMPONENT;
    for (k, vector) in vectors.chunks_exact(n).enumerate().take(found) {
        if values[k] <= floor {
            break;
        }
        let to = output[k..].iter_mut().step_by(components);
        if by_frame {
            let scale = 1.0 / (size as f32).sqrt();
            to.zip(matrix.chunks_exact(n)).for_each(|(y, row)| *y = scale * dot(isa, row, vector));
        } else {
            let scale = (values[k] / size as f64).sqrt() as f32;
            to.zip(vector).for_each(|(y, v)| *y = scale * v);
        }
    }
}

/// Gives each channel the sign that makes its covariance with the reference positive.
fn align(signals: &mut [f32], reference: &[f32], components: usize) {
    let mean = reference.iter().map(|x| *x as f64).sum::<f64>() / reference.len() as f64;
    let mut covariance = [0.0f64; MAX_COMPONENTS];
    for (signals, reference) in signals.chunks_exact(components).zip(reference) {
        let reference = *reference as f64 - mean;
        covariance.iter_mut().zip(signals).for_each(|(sum, x)| *sum += *x as f64 * reference);
    }
    for signals in signals.chunks_exact_mut(components) {
        signals.iter_mut().zip(&covariance).filter(|(_, sum)| **sum < 0.0).for_each(|(x, _)| *x = -*x);
    }
}
