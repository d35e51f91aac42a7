//! Instances of the op, with a plain reference.

use super::{LOG_ENERGY_FLOOR, NeighbourCorrelationAttrs};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// One [`Graph::neighbour_correlation`].
#[derive(Clone, Debug)]
pub struct NeighbourCorrelationProblem {
    /// Recordings, frames, height, width.
    pub shape: [usize; 4],
    /// The op's attributes.
    pub attrs: NeighbourCorrelationAttrs,
    /// Part of the pixels that are silent.
    pub silent: f32,
}

impl NeighbourCorrelationProblem {
    /// A small one with offsets inside and outside the field, doubled, and opposite to one another.
    pub fn random(numbers: &mut Numbers) -> Self {
        let smooth_frames = 2 * numbers.integer(0, 4) + 1;
        // More frames than the window: less and nothing but rounding is left of the signals.
        let frames = smooth_frames + numbers.integer(1, 30);
        let shape = [numbers.integer(1, 3), frames, numbers.integer(1, 18), numbers.integer(1, 18)];
        let mut coordinate = || numbers.integer(0, 12) as i32 - 6;
        let mut offsets: Vec<(i32, i32)> = (0..9).map(|_| (coordinate(), coordinate())).collect();
        let opposites: Vec<(i32, i32)> = offsets.iter().step_by(2).map(|(dy, dx)| (-dy, -dx)).collect();
        offsets.extend(opposites);
        offsets.truncate(numbers.integer(0, offsets.len()));
        let floor = if numbers.integer(0, 1) == 0 { 0.0 } else { 0.02 };
        // A silent pixel has no gradient without a floor.
        let silent = if floor == 0.0 { 0.0 } else { numbers.uniform(0.0, 0.5) };
        Self { shape, attrs: NeighbourCorrelationAttrs { offsets, smooth_frames, floor }, silent }
    }
}

impl Problem for NeighbourCorrelationProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, frames, height, width] = self.shape;
        let mut x = numbers.tensor(&[images, frames, height, width, 1]);
        let silent: Vec<bool> = (0..height * width).map(|_| numbers.uniform(0.0, 1.0) < self.silent).collect();
        for frame in bytemuck::cast_slice_mut::<u8, f32>(x.bytes_mut()).chunks_exact_mut(height * width) {
            frame.iter_mut().zip(&silent).filter(|pixel| *pixel.1).for_each(|pixel| *pixel.0 = 0.0);
        }
        vec![x]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.neighbour_correlation(inputs[0], self.attrs.clone())?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [_, frames, height, width] = self.shape;
        let (pixels, zero) = (height * width, R::of(0.0));
        let mut out = Vec::new();
        for x in inputs[0].real().chunks_exact(frames * pixels) {
            let signals: Vec<Vec<R>> = (0..pixels).map(|p| self.signal(|t| x[t * pixels + p])).collect();
            let product = |p: usize, q: usize| -> R {
                let sum: R = signals[p].iter().zip(&signals[q]).map(|(a, b)| *a * *b).sum();
                sum / R::of(frames as f64)
            };
            let energies: Vec<R> = (0..pixels).map(|p| product(p, p)).collect();
            let mean = energies.iter().copied().sum::<R>() / R::of(pixels as f64);
            let floor = R::of(self.attrs.floor as f64) * mean;
            let deviations: Vec<R> = energies.iter().map(|e| (*e + floor).map(f64::sqrt)).collect();
            for p in 0..pixels {
                for (dy, dx) in &self.attrs.offsets {
                    let (y, x) = ((p / width) as i32 + dy, (p % width) as i32 + dx);
                    let inside = (0..height as i32).contains(&y) && (0..width as i32).contains(&x);
                    let q = if inside { y as usize * width + x as usize } else { p };
                    let scale = deviations[p] * deviations[q];
                    out.push(if inside && scale > zero { product(p, q) / scale } else { zero });
                }
                let relative = if mean > zero { energies[p] / mean } else { zero };
                out.push((relative + R::of(LOG_ENERGY_FLOOR as f64)).map(f64::ln));
            }
        }
        vec![out]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}

impl NeighbourCorrelationProblem {
    /// A pixel's signal, smoothed and centred.
    fn signal<R: Real>(&self, x: impl Fn(usize) -> R) -> Vec<R> {
        let (frames, half) = (self.shape[1], self.attrs.smooth_frames / 2);
        let smooth = |t: usize| -> R {
            let window = t.saturating_sub(half)..=(t + half).min(frames - 1);
            let count = window.clone().count();
            window.map(&x).sum::<R>() / R::of(count as f64)
        };
        let y: Vec<R> = (0..frames).map(smooth).collect();
        let mean = y.iter().copied().sum::<R>() / R::of(frames as f64);
        y.into_iter().map(|y| y - mean).collect()
    }
}
