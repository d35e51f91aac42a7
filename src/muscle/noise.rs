//! Gaussian noise, white or smoothed in space.

use super::draw::{Draw, Quantity};
use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;
use crate::ops::random::approx::exp;
use crate::ops::random::philox::normals;

/// Frames that one Philox block serves.
const GROUP: usize = 4;
/// Pixels that are drawn together: four rows of normals stay in the nearest cache.
const BLOCK: usize = 512;

/// Adds `sigma` times white noise to `velocity`, frames of `pixels`.
pub(super) fn add_white(isa: Isa, draw: &Draw, sigma: f32, pixels: usize, velocity: &mut [f32]) {
    let mut block = Block::new();
    for (group, frames) in velocity.chunks_mut(GROUP * pixels).enumerate() {
        for first in (0..pixels).step_by(BLOCK) {
            let count = BLOCK.min(pixels - first);
            fill(isa, draw, first as u32, group as u32, &mut block);
            for (frame, normals) in frames.chunks_exact_mut(pixels).zip(block.0.iter()) {
                add_scaled(isa, sigma, &normals[..count], &mut frame[first..first + count]);
            }
        }
    }
}

/// Adds noise smoothed in space by `smoothing`, of standard deviation `sigma`.
pub(super) fn add_smoothed(isa: Isa, draw: &Draw, sigma: f32, smoothing: &Smoothing, velocity: &mut [f32]) {
    let pixels = smoothing.height * smoothing.width;
    let mut block = Block::new();
    let mut white = vec![0f32; GROUP * pixels];
    let mut scratch = vec![0f32; smoothing.scratch_len()];
    let mut smooth = vec![0f32; pixels];
    for (group, frames) in velocity.chunks_mut(GROUP * pixels).enumerate() {
        for first in (0..pixels).step_by(BLOCK) {
            let count = BLOCK.min(pixels - first);
            fill(isa, draw, first as u32, group as u32, &mut block);
            for (frame, normals) in white.chunks_exact_mut(pixels).zip(block.0.iter()) {
                frame[first..first + count].copy_from_slice(&normals[..count]);
            }
        }
        for (frame, white) in frames.chunks_exact_mut(pixels).zip(white.chunks_exact(pixels)) {
            apply_smoothing(isa, smoothing, white, &mut scratch, &mut smooth);
            add_scaled(isa, sigma, &smooth, frame);
        }
    }
}

/// Normals of one group of frames at [`BLOCK`] pixels.
struct Block(Box<[[f32; BLOCK]; GROUP]>);

impl Block {
    fn new() -> Self {
        Self(Box::new([[0.0; BLOCK]; GROUP]))
    }
}

per_isa! {
    fn fill[](draw: &Draw, first: u32, group: u32, block: &mut Block) {
        let (key, [c2, c3]) = (draw.key, draw.tail(Quantity::Noise));
        let [row0, row1, row2, row3] = &mut *block.0;
        for i in 0..BLOCK {
            [row0[i], row1[i], row2[i], row3[i]] = normals(key, [first + i as u32, group, c2, c3]);
        }
    }
}

per_isa! {
    fn add_scaled[](scale: f32, values: &[f32], target: &mut [f32]) {
        target.iter_mut().zip(values).for_each(|(target, value)| *target += scale * value);
    }
}

/// A separable Gaussian filter that keeps the variance of white noise, also at the edges.
#[derive(Clone, Debug)]
pub(super) struct Smoothing {
    height: usize,
    width: usize,
    /// `taps[k]` belongs to the offset `k - radius`.
    pub taps: Vec<f32>,
    /// Factor that restores the variance at every row and column, where taps beyond the edge are missing.
    row_gain: Vec<f32>,
    column_gain: Vec<f32>,
}

impl Smoothing {
    pub fn new(sigma_pixels: f32, height: usize, width: usize) -> Self {
        let radius = (3.0 * sigma_pixels).ceil() as i32;
        let taps: Vec<f32> = (-radius..=radius).map(|k| k as f32 / sigma_pixels).map(|x| exp(-0.5 * (x * x))).collect();
        let gains = |size: usize| -> Vec<f32> {
            let inside = |at: i32, k: usize| (0..size as i32).contains(&(at + k as i32 - radius));
            (0..size as i32)
                .map(|at| taps.iter().enumerate().filter(|(k, _)| inside(at, *k)).map(|(_, tap)| tap * tap).sum())
                .map(|sum: f32| 1.0 / sum.sqrt())
                .collect()
        };
        Self { height, width, row_gain: gains(height), column_gain: gains(width), taps }
    }

    fn radius(&self) -> usize {
        self.taps.len() / 2
    }

    /// Two images with a margin of zeros: left and right, above and below.
    fn scratch_len(&self) -> usize {
        let radius = self.radius();
        (self.width + 2 * radius) + (self.height + 2 * radius) * self.width
    }
}

per_isa! {
    fn apply_smoothing[](smoothing: &Smoothing, white: &[f32], scratch: &mut [f32], smooth: &mut [f32]) {
        let (radius, width) = (smoothing.radius(), smoothing.width);
        // Margins are zero from the start and never written.
        let (row, image) = scratch.split_at_mut(width + 2 * radius);
        for (y, source) in white.chunks_exact(width).enumerate() {
            row[radius..radius + width].copy_from_slice(source);
            let target = &mut image[(y + radius) * width..(y + radius + 1) * width];
            target.fill(0.0);
            for (k, tap) in smoothing.taps.iter().enumerate() {
                target.iter_mut().zip(&row[k..]).for_each(|(target, value)| *target += tap * value);
            }
            target.iter_mut().zip(&smoothing.column_gain).for_each(|(target, gain)| *target *= gain);
        }
        for (y, target) in smooth.chunks_exact_mut(width).enumerate() {
            target.fill(0.0);
            for (k, tap) in smoothing.taps.iter().enumerate() {
                let source = &image[(y + k) * width..(y + k + 1) * width];
                target.iter_mut().zip(source).for_each(|(target, value)| *target += tap * value);
            }
            let gain = smoothing.row_gain[y];
            target.iter_mut().for_each(|target| *target *= gain);
        }
    }
}
