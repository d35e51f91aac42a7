//! Recordings as sums of what their units do, and the noise on top.

use sarcomere::muscle::{Background, Noise, SimulatedRecording, SimulatorConfig, Split};

use super::{SEED, correlation, distance_from_uniform, mean, mean_square, simulator, truths};

#[test]
fn a_clean_paper_recording_is_the_sum_of_masks_times_trains() {
    let recording = simulator(SimulatorConfig::paper()).simulate(Split::Train, 11, SEED);
    assert_eq!(recording.truth.snr_db, None);
    let mut expected = vec![0f32; recording.velocity.len()];
    for unit in &recording.truth.units {
        for (frame, value) in expected.chunks_exact_mut(4096).zip(&unit.twitch_train) {
            frame.iter_mut().zip(&unit.mask).for_each(|(sum, mask)| *sum += f32::from(*mask) * value);
        }
    }
    let worst = recording.velocity.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
    let masks = recording.truth.masks();
    assert_eq!(masks.len(), recording.truth.units.len() * 4096);
    assert_eq!(recording.truth.twitch_trains().len(), recording.truth.units.len() * 400);
}

/// Noise alone, as the difference of the same recording with and without it.
fn noise_of(config: &SimulatorConfig, noise: Noise, index: u32) -> (SimulatedRecording, SimulatedRecording, Vec<f32>) {
    let clean = simulator(config.clone().with_noise(Noise::Clean)).simulate(Split::Test, index, SEED);
    let noisy = simulator(config.clone().with_noise(noise)).simulate(Split::Test, index, SEED);
    let difference = noisy.velocity.iter().zip(&clean.velocity).map(|(a, b)| a - b).collect();
    (clean, noisy, difference)
}

#[test]
fn noise_is_white_gaussian_of_the_level_asked_for() {
    for (index, db) in [(0, 20.0f32), (1, 10.0), (2, 0.0)] {
        let (clean, noisy, noise) = noise_of(&SimulatorConfig::paper(), Noise::Snr { db }, index);
        assert_eq!(noisy.truth.snr_db, Some(db));
        let measured = 10.0 * (mean_square(&clean.velocity) / mean_square(&noise)).log10();
        // 1.6 million samples: a standard error of 0.005 dB.
        assert!((measured - f64::from(db)).abs() < 0.025, "{measured} for {db}");
        let sigma = f64::from(noisy.truth.noise_mm_s);
        assert!((mean_square(&noise).sqrt() / sigma - 1.0).abs() < 3e-3);
        let n = noise.len() as f64;
        let fourth = mean(noise.iter().map(|v| (f64::from(*v) / sigma).powi(4)));
        assert!((fourth - 3.0).abs() < 5.0 * (96.0 / n).sqrt(), "{fourth}");
        for lag in [1, 2, 3, 63, 64, 65, 4096, 2 * 4096, 4 * 4096] {
            let found = correlation(&noise[lag..], &noise[..noise.len() - lag]);
            assert!(found.abs() < 5.0 / n.sqrt(), "lag {lag}: {found}");
        }
    }
}

#[test]
fn training_noise_is_uniform_in_its_range_after_the_clean_share() {
    let truths = truths(SimulatorConfig::paper().with_noise(Noise::training(0.3)), 2000);
    let ratios: Vec<f64> = truths.iter().filter_map(|truth| truth.snr_db).map(f64::from).collect();
    let clean = 1.0 - ratios.len() as f64 / 2000.0;
    assert!((clean - 0.3).abs() < 5.0 * f64::sqrt(0.21 / 2000.0), "{clean}");
    assert!(truths.iter().all(|truth| truth.snr_db.is_some() == (truth.noise_mm_s > 0.0)));
    assert!(distance_from_uniform(ratios.iter().map(|db| (db - 10.0) / 20.0).collect()) < 1.95);
    assert_eq!(Noise::from_snr_db(f32::INFINITY), Noise::Clean);
    assert_eq!(Noise::from_snr_db(10.0), Noise::Snr { db: 10.0 });
}

#[test]
fn hard_noise_is_smooth_even_at_the_edges_and_measured_inside_territories() {
    let mut config = SimulatorConfig::hard();
    let levels = Background { drift_level: 0.0, pulse_level: 0.0, ..config.background };
    config.background = levels;
    let (clean, _, noise) = noise_of(&config, Noise::Snr { db: 10.0 }, 7);
    let union: Vec<bool> = (0..4096).map(|p| clean.truth.units.iter().any(|unit| unit.mask[p] == 1)).collect();
    let inside = clean.velocity.iter().enumerate().filter(|(k, _)| union[k % 4096]).map(|(_, v)| f64::from(*v).powi(2));
    let measured = 10.0 * (mean(inside) / mean_square(&noise)).log10();
    assert!((measured - 10.0).abs() < 0.1, "{measured}");
    // White noise through a Gaussian of 1 pixel: exp(-d^2 / 4) at distance d, as far as the sampled filter keeps to it.
    let neighbours = |dy: usize, dx: usize| {
        let pairs = (0..400 * 56).map(|k| ((k / 56) * 4096 + (4 + k % 56) * 64 + 20, dy * 64 + dx));
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.map(|(at, step)| (noise[at], noise[at + step])).unzip();
        correlation(&a, &b)
    };
    assert!((neighbours(0, 1) - (-0.25f64).exp()).abs() < 0.03, "{}", neighbours(0, 1));
    assert!((neighbours(1, 0) - (-0.25f64).exp()).abs() < 0.03, "{}", neighbours(1, 0));
    assert!((neighbours(1, 1) - (-0.5f64).exp()).abs() < 0.03, "{}", neighbours(1, 1));
    assert!(neighbours(0, 6).abs() < 0.05, "{}", neighbours(0, 6));
    let variance = |pixels: &[usize]| {
        mean(noise.chunks_exact(4096).flat_map(|frame| pixels.iter().map(|p| f64::from(frame[*p]).powi(2))))
    };
    let row = |y: usize| (0..64).map(|x| y * 64 + x).collect::<Vec<_>>();
    let column = |x: usize| (0..64).map(|y| y * 64 + x).collect::<Vec<_>>();
    let centre = variance(&row(32));
    for edge in [row(0), row(63), column(0), column(63)] {
        assert!((variance(&edge) / centre - 1.0).abs() < 0.08, "{} {centre}", variance(&edge));
    }
}
