//! Singular vectors: gather a mask's pixels, Gram matrix of the shorter side, its eigenvectors, projection, signs.

use super::covered;
use super::eigen::{lanczos_scratch, largest_eigenpairs};
use super::gram::{PAD, dot, gram};
use crate::device::Cpu;
use crate::device::cpu::{Isa, SendPtr};
use crate::ops::is_valid_row;
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

/// `[N*U,T,components]`. `indices [threads,HW]` and `floats [threads,svd_scratch]` are scratch.
pub(in crate::ops::unmix) fn masked_svd(
    cpu: &Cpu,
    job: &SvdJob<'_>,
    output: &mut [f32],
    indices: &mut [i32],
    floats: &mut [f32],
) {
    let Extents { units, frames, .. } = job.extents;
    let (pixels, rows, row_len) = (job.extents.pixels(), job.extents.rows(), frames * job.components);
    let per_worker = svd_scratch(&job.extents);
    let [indices, floats] = [SendPtr(indices.as_mut_ptr().cast::<f32>()), SendPtr(floats.as_mut_ptr())];
    let output = SendPtr(output.as_mut_ptr());
    cpu.parallel(rows, |row, worker| {
        // SAFETY: each task has its own row of the output, each worker its own scratch.
        let (output, indices, scratch) = unsafe {
            let output = std::slice::from_raw_parts_mut(output.get().add(row * row_len), row_len);
            let indices = indices.get().cast::<i32>().add(worker * pixels);
            let scratch = std::slice::from_raw_parts_mut(floats.get().add(worker * per_worker), per_worker);
            (output, std::slice::from_raw_parts_mut(indices, pixels), scratch)
        };
        output.fill(0.0);
        if !is_valid_row(row, rows, job.counts) {
            return;
        }
        let mask = &job.masks[row * pixels..][..pixels];
        let members = mask.iter().enumerate().filter(|(_, value)| covered(**value));
        let size = members.zip(indices.iter_mut()).map(|((i, _), index)| *index = i as i32).count();
        if size > 0 {
            let recording = &job.recordings[row / units * frames * pixels..][..frames * pixels];
            let crop = Crop { recording, pixels, frames, indices: &indices[..size] };
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
    indices: &'a [i32],
}

impl Crop<'_> {
    fn frame(&self, frame: usize) -> impl Iterator<Item = f32> + '_ {
        let image = &self.recording[frame * self.pixels..][..self.pixels];
        self.indices.iter().map(|index| image[*index as usize])
    }
}

fn singular_vectors(isa: Isa, crop: &Crop<'_>, components: usize, output: &mut [f32], scratch: &mut [f32]) {
    let (frames, size) = (crop.frames, crop.indices.len());
    let (side, long) = (size.min(frames), size.max(frames));
    let n = side.next_multiple_of(PAD);
    let (matrix, scratch) = scratch.split_at_mut(long * n);
    let (g, scratch) = scratch.split_at_mut(n * n);
    let (vectors, scratch) = scratch.split_at_mut(MAX_COMPONENTS * n);
    let by_frame = size <= frames;
    if by_frame {
        for (frame, row) in matrix.chunks_exact_mut(n).enumerate() {
            row.iter_mut().zip(crop.frame(frame)).for_each(|(x, value)| *x = value);
            row[side..].fill(0.0);
        }
    } else {
        matrix.chunks_exact_mut(n).for_each(|row| row[side..].fill(0.0));
        for frame in 0..frames {
            matrix[frame..].iter_mut().step_by(n).zip(crop.frame(frame)).for_each(|(x, value)| *x = value);
        }
    }
    gram(isa, matrix, n, g);
    let mut values = [0.0f64; MAX_COMPONENTS];
    let found = largest_eigenpairs(isa, g, n, side, scratch, &mut values[..components], vectors);
    let floor = values[0] * NO_COMPONENT * NO_COMPONENT;
    for (k, vector) in vectors.chunks_exact(n).enumerate().take(found) {
        if !(values[k] > floor) {
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
