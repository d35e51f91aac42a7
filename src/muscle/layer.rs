//! What one MU adds to the recording, as sparse layers of pixel weights times delayed twitch trains.

use super::config::{Grid, Profile, SimulatorConfig};
use super::draw::{Draw, Quantity};
use super::territory::Territory;
use crate::ops::random::approx::exp;
use crate::ops::random::philox::{philox, uniform};
use crate::ops::random::wide;

/// Pixels that are rendered together.
pub(super) const CHUNK: usize = 8;
/// The halo ends where it has fallen this many times by a factor e.
const HALO_REACH: f32 = 4.0;

/// At frame `t`, pixel `starts[c] + i` gets the sum over taps `j` of
/// `weights[c * taps + j][i] * signal[t + taps - 1 - j]`.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub taps: usize,
    pub signal: Vec<f32>,
    pub starts: Vec<u32>,
    pub weights: Vec<[f32; CHUNK]>,
}

impl Layer {
    fn new(taps: usize, signal: Vec<f32>) -> Self {
        Self { taps, signal, starts: Vec::new(), weights: Vec::new() }
    }

    /// Sets a pixel's weights. Pixels come in rising order, so that its chunk is the last one or a new one.
    fn set(&mut self, pixel: usize, weights: &[f32]) {
        let start = (pixel - pixel % CHUNK) as u32;
        if self.starts.last() != Some(&start) {
            self.starts.push(start);
            self.weights.resize(self.weights.len() + self.taps, [0.0; CHUNK]);
        }
        let first = self.weights.len() - self.taps;
        for (chunk, weight) in self.weights[first..].iter_mut().zip(weights) {
            chunk[pixel % CHUNK] = *weight;
        }
    }
}

/// How many frames before the first and after the last a train must reach for lags up to `lag_frames`.
pub(super) fn margins(lag_frames: f32) -> (usize, usize) {
    if lag_frames > 0.0 { (lag_frames as usize + 2, 1) } else { (0, 0) }
}

/// The MU's layers: inside its territory the profile times the twitch train, delayed in proportion to the distance from the
/// centre; outside, the halo. `train` covers the frames and the [`margins`] of `rim_lag_frames`.
pub(super) fn layers(
    config: &SimulatorConfig,
    draw: &Draw,
    (unit, territory, profile): (usize, &Territory, Profile),
    rim_lag_frames: f32,
    train: Vec<f32>,
) -> Vec<Layer> {
    let grid = &config.grid;
    let (before, after) = margins(rim_lag_frames);
    let taps = before + after + 1;
    let mut inside = Layer::new(taps, train);
    let mut weights = vec![0.0; taps];
    for (pixel, rho, _) in territory.pixels_within(grid, 0.0).filter(|(_, rho, _)| *rho <= 1.0) {
        let strength = match profile {
            Profile::Flat => 1.0,
            Profile::Gaussian => exp(-rho * rho),
            Profile::Fibres { per_mm2 } => fibres(grid, draw, unit, pixel, per_mm2),
        };
        delay(rim_lag_frames * rho, &mut weights);
        weights.iter_mut().for_each(|weight| *weight *= strength);
        inside.set(pixel, &weights);
    }
    let (share, decay) = (config.territories.halo_share, config.territories.halo_decay_mm);
    if share <= 0.0 {
        return vec![inside];
    }
    delay(rim_lag_frames, &mut weights);
    let rim: Vec<f32> = inside
        .signal
        .windows(taps)
        .map(|window| window.iter().rev().zip(&weights).map(|(value, weight)| value * weight).sum())
        .collect();
    let mut halo = Layer::new(1, rim);
    for (pixel, rho, distance) in territory.pixels_within(grid, HALO_REACH * decay).filter(|(_, rho, _)| *rho > 1.0) {
        let outside = distance * (1.0 - 1.0 / rho);
        if outside <= HALO_REACH * decay {
            halo.set(pixel, &[share * exp(-outside / decay)]);
        }
    }
    vec![inside, halo]
}

/// Weights that delay a signal by `lag` frames, by cubic interpolation (Lagrange) between four frames: tap `j` is the signal
/// `j - 1` frames ago. A lone tap is the signal now.
fn delay(lag: f32, weights: &mut [f32]) {
    weights.fill(0.0);
    if weights.len() == 1 {
        weights[0] = 1.0;
        return;
    }
    let whole = (lag as usize).min(weights.len() - 4);
    let f = lag - whole as f32;
    weights[whole] = -f * (f - 1.0) * (f - 2.0) / 6.0;
    weights[whole + 1] = (f + 1.0) * (f - 1.0) * (f - 2.0) / 2.0;
    weights[whole + 2] = -f * (f + 1.0) * (f - 2.0) / 2.0;
    weights[whole + 3] = f * (f + 1.0) * (f - 1.0) / 6.0;
}

/// Mean number of fibres in a pixel.
pub(super) fn mean_fibres(grid: &Grid, per_mm2: f32) -> f32 {
    per_mm2 * grid.mm_per_pixel * grid.mm_per_pixel
}

/// A pixel's number of fibres over its mean.
fn fibres(grid: &Grid, draw: &Draw, unit: usize, pixel: usize, per_mm2: f32) -> f32 {
    let mean = mean_fibres(grid, per_mm2);
    let [c2, c3] = draw.tail(Quantity::Fibres);
    let [word, ..] = philox(draw.key, [pixel as u32, unit as u32, c2, c3]);
    poisson(uniform(word), mean) / mean
}

/// The Poisson-distributed number at `u` in [0, 1), by inverting the distribution function.
fn poisson(u: f32, mean: f32) -> f32 {
    let mut probability = wide::exp(-f64::from(mean));
    let mut left = f64::from(u) - probability;
    let mut count = 0.0f32;
    // The bound ends the loop where the tail is lost in rounding.
    while left >= 0.0 && count < 10.0 + 20.0 * mean {
        count += 1.0;
        probability *= f64::from(mean) / f64::from(count);
        left -= probability;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_shifts_a_smooth_signal() {
        let signal = |t: f32| (0.3 * t).sin();
        for lag in [0.0, 0.25, 1.0, 2.6, 3.999, 4.0] {
            let mut weights = [0.0; 7];
            delay(lag, &mut weights);
            for t in 0..20 {
                let found: f32 = weights.iter().enumerate().map(|(j, w)| w * signal((t + 1 - j as i32) as f32)).sum();
                assert!((found - signal(t as f32 - lag)).abs() < 4e-4, "{lag} {t}");
            }
        }
    }

    #[test]
    fn poisson_numbers_have_their_mean_and_variance() {
        for mean in [0.3f32, 2.3, 40.0] {
            let n = 20_000;
            let counts: Vec<f64> = (0..n).map(|k| f64::from(poisson((k as f32 + 0.5) / n as f32, mean))).collect();
            let average = counts.iter().sum::<f64>() / f64::from(n);
            let variance = counts.iter().map(|c| (c - average).powi(2)).sum::<f64>() / f64::from(n);
            assert!((average - f64::from(mean)).abs() < 0.01 * f64::from(mean).sqrt(), "{mean}: {average}");
            assert!((variance / f64::from(mean) - 1.0).abs() < 0.02, "{mean}: {variance}");
        }
    }
}
