//! From layers to frames: the noise-free recording, and its mean squares.

use super::layer::{CHUNK, Layer};
use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;

/// Partial sums that are kept apart, in a fixed order, so that every instruction set adds alike.
const LANES: usize = 16;

/// Mean squares of the noise-free recording.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Power {
    /// Over all pixels.
    pub recording: f64,
    /// Over the pixels that belong to a territory.
    pub territories: f64,
}

/// Writes the sum of all layers into `velocity`, frames of `inside.len()` pixels; `inside` is 1 where a territory is, else 0.
pub(super) fn render(isa: Isa, layers: &[Layer], inside: &[f32], velocity: &mut [f32]) -> Power {
    let pixels = inside.len();
    let (mut all, mut within) = (0.0, 0.0);
    for (t, frame) in velocity.chunks_exact_mut(pixels).enumerate() {
        let [recording, territories] = render_frame(isa, layers, inside, t, frame);
        all += recording;
        within += territories;
    }
    let frames = (velocity.len() / pixels) as f64;
    let covered: f64 = inside.iter().map(|v| f64::from(*v)).sum();
    Power { recording: all / (frames * pixels as f64), territories: within / (frames * covered).max(1.0) }
}

per_isa! {
    /// One frame; returns its sums of squares over all pixels and over territories.
    fn render_frame[](layers: &[Layer], inside: &[f32], t: usize, frame: &mut [f32]) -> [f64; 2] {
        frame.fill(0.0);
        for layer in layers {
            let signal = &layer.signal[t..t + layer.taps];
            for (start, weights) in layer.starts.iter().zip(layer.weights.chunks_exact(layer.taps)) {
                let mut sum = [0f32; CHUNK];
                for (weight, value) in weights.iter().zip(signal.iter().rev()) {
                    for i in 0..CHUNK {
                        sum[i] += weight[i] * value;
                    }
                }
                let start = *start as usize;
                // The last chunk of a frame may be cut.
                let end = (start + CHUNK).min(frame.len());
                let target = &mut frame[start..end];
                if let Ok(target) = <&mut [f32; CHUNK]>::try_from(&mut *target) {
                    for i in 0..CHUNK {
                        target[i] += sum[i];
                    }
                } else {
                    target.iter_mut().zip(sum).for_each(|(value, sum)| *value += sum);
                }
            }
        }
        let (mut all, mut within) = ([0f32; LANES], [0f32; LANES]);
        let (values, masks) = (frame.chunks_exact(LANES), inside.chunks_exact(LANES));
        for (k, (value, mask)) in values.remainder().iter().zip(masks.remainder()).enumerate() {
            all[k] += value * value;
            within[k] += value * value * mask;
        }
        for (values, masks) in values.zip(masks) {
            for k in 0..LANES {
                let square = values[k] * values[k];
                all[k] += square;
                within[k] += square * masks[k];
            }
        }
        [all.iter().map(|v| f64::from(*v)).sum(), within.iter().map(|v| f64::from(*v)).sum()]
    }
}
