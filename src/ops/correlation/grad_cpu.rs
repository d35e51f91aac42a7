//! Gradient to the recordings, one recording a task: a map's products are differentiated to both of their pixels, the
//! deviations to the energies, then the running mean is transposed. (The signals have mean 0 over time, so the gradient
//! of what they are centred from has it too: centring need not be transposed.)

use super::LOG_ENERGY_FLOOR;
use super::plan::{Plan, Rows, add_scaled};
use crate::device::Cpu;
use crate::ops::Scratch;
use crate::ops::disjoint::Disjoint;

fn worker_bytes(plan: &Plan) -> usize {
    let (pixels, maps) = (plan.pixels(), plan.maps.len());
    2 * Scratch::bytes::<f32>(plan.recording())
        + Scratch::bytes::<f32>(maps * pixels)
        + 5 * Scratch::bytes::<f32>(pixels)
}

pub(super) fn scratch_bytes(plan: &Plan, cpu: &Cpu) -> usize {
    Scratch::bytes::<f32>(plan.frames) + cpu.threads() * worker_bytes(plan)
}

pub(super) fn run(
    cpu: &Cpu,
    plan: &Plan,
    x: &[f32],
    maps: &[f32],
    gradient: &[f32],
    dx: &mut [f32],
    scratch: &mut [u8],
) {
    let mut scratch = Scratch::new(scratch);
    let weights = scratch.take::<f32>(plan.frames);
    let workers = Disjoint::new(scratch.take::<u8>(cpu.threads() * worker_bytes(plan)), worker_bytes(plan));
    plan.mean_weights(weights);
    let weights = &*weights;
    let maps_len = plan.pixels() * (plan.maps.len() + 1);
    let images = Disjoint::new(dx, plan.recording());
    cpu.parallel(plan.images, |image, worker| {
        // SAFETY: recordings are disjoint, workers have scratch of their own.
        let (dx, own) = unsafe { (images.run(image), workers.run(worker)) };
        let x = &x[image * plan.recording()..][..plan.recording()];
        let (maps, gradient) = (&maps[image * maps_len..][..maps_len], &gradient[image * maps_len..][..maps_len]);
        one(cpu, plan, x, maps, gradient, dx, weights, Scratch::new(own));
    });
}

/// Pairs of runs of pixels that a map ties together: (start at p, start at p + o, length).
fn runs(plan: &Plan, dy: isize, dx: isize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    let (height, width) = (plan.height as isize, plan.width as isize);
    let from = (-dx).max(0);
    let len = width - dx.abs();
    ((-dy).max(0)..(height - dy).min(height))
        .map(move |y| ((y * width + from) as usize, ((y + dy) * width + from + dx) as usize, len as usize))
}

#[allow(clippy::too_many_arguments, reason = "the parts of one recording")]
fn one(
    cpu: &Cpu,
    plan: &Plan,
    x: &[f32],
    maps: &[f32],
    gradient: &[f32],
    dx: &mut [f32],
    weights: &[f32],
    mut scratch: Scratch<'_>,
) {
    let isa = cpu.isa();
    let (pixels, channels) = (plan.pixels(), plan.maps.len() + 1);
    let y = scratch.take::<f32>(plan.recording());
    let dy = scratch.take::<f32>(plan.recording());
    let factors = scratch.take::<f32>(plan.maps.len() * pixels);
    let [mean, energies, inverse, log, own] = [(); 5].map(|()| scratch.take::<f32>(pixels));
    plan.mean(isa, x, 0, weights, mean);
    energies.fill(0.0);
    for (t, y) in y.chunks_exact_mut(pixels).enumerate() {
        plan.smooth(isa, x, t, 0, mean, y, Rows { width: pixels, pitch: pixels });
        for (energy, y) in energies.iter_mut().zip(y) {
            *energy += *y * *y;
        }
    }
    let frames = plan.frames as f64;
    let mean_energy = plan.levels(|p| energies[p] as f64 / frames, inverse, log);
    if mean_energy <= 0.0 {
        // A silent recording: every map is constant there by definition.
        dx.fill(0.0);
        return;
    }

    // `own`: gradient to each pixel's sd^2, first times -2 sd^2.
    own.fill(0.0);
    for (channel, (map, factors)) in plan.maps.iter().zip(factors.chunks_exact_mut(pixels)).enumerate() {
        let Some(map) = map else { continue };
        for (here, there, len) in runs(plan, map.dy, map.dx) {
            for i in 0..len {
                let (p, q) = (here + i, there + i);
                let g = gradient[p * channels + channel];
                factors[p] = (g * inverse[p] * inverse[q]) / plan.frames as f32;
                let part = g * maps[p * channels + channel];
                own[p] += part;
                own[q] += part;
            }
        }
    }
    let mut to_mean = 0.0f64;
    for p in 0..pixels {
        let to_variance = -0.5 * own[p] as f64 * (inverse[p] as f64).powi(2);
        let relative = energies[p] as f64 / frames / mean_energy;
        let to_log = gradient[p * channels + channels - 1] as f64 / (relative + LOG_ENERGY_FLOOR as f64);
        own[p] = (to_variance + to_log / mean_energy) as f32;
        to_mean += plan.floor as f64 * to_variance - to_log * relative / mean_energy;
    }
    // From here on `own` is what a pixel's own signal is multiplied with: 2 / frames times the gradient to its energy.
    for own in own.iter_mut() {
        *own = ((*own as f64 + to_mean / pixels as f64) * 2.0 / frames) as f32;
    }

    for (y, dy) in y.chunks_exact(pixels).zip(dy.chunks_exact_mut(pixels)) {
        for ((dy, y), own) in dy.iter_mut().zip(y).zip(&*own) {
            *dy = *own * *y;
        }
        for (map, factors) in plan.maps.iter().zip(factors.chunks_exact(pixels)) {
            let Some(map) = map else { continue };
            for (here, there, len) in runs(plan, map.dy, map.dx) {
                for i in 0..len {
                    let (p, q) = (here + i, there + i);
                    dy[p] += factors[p] * y[q];
                    dy[q] += factors[p] * y[p];
                }
            }
        }
    }
    dx.fill(0.0);
    for (t, dy) in dy.chunks_exact(pixels).enumerate() {
        let window = plan.window(t);
        for s in window.clone() {
            add_scaled(isa, 1.0 / window.len() as f32, dy, &mut dx[s * pixels..][..pixels]);
        }
    }
}
