//! The simulator against its specification: distributions, shares, levels, addresses, errors.
//!
//! Statistical bounds are 4 to 5 standard errors wide, and the seeds are fixed.

use sarcomere::device::Cpu;
use sarcomere::device::cpu::Isa;
use sarcomere::muscle::{
    Background, Flip, Noise, Profile, Range, SimulatedRecording, Simulator, SimulatorConfig, SnrReference, Split,
    Territories, TestCell, Truth,
};
use sarcomere::ops::random::philox;

const SEED: u64 = 20_200_611;

fn simulator(config: SimulatorConfig) -> Simulator {
    Simulator::new(config).expect("a usable config")
}

/// Truths of `n` training recordings; one frame is rendered, so that thousands are cheap. Firings stay those of the warm-up.
fn truths(mut config: SimulatorConfig, n: u32) -> Vec<Truth> {
    config.grid.frames = 1;
    let simulator = simulator(config);
    (0..n).map(|index| simulator.simulate(Split::Train, index, SEED).truth).collect()
}

/// Kolmogorov and Smirnov: how far the samples are from a uniform distribution on [0, 1], times sqrt(n). Above 1.95 once in
/// a thousand times.
fn distance_from_uniform(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len() as f64;
    let gaps = samples.iter().enumerate().map(|(k, x)| (x - k as f64 / n).abs().max(((k + 1) as f64 / n - x).abs()));
    gaps.fold(0.0, f64::max) * n.sqrt()
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0usize);
    values.into_iter().for_each(|value| (sum, n) = (sum + value, n + 1));
    sum / n as f64
}

fn mean_square(values: &[f32]) -> f64 {
    mean(values.iter().map(|v| f64::from(*v).powi(2)))
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let (ma, mb) = (mean(a.iter().map(|v| f64::from(*v))), mean(b.iter().map(|v| f64::from(*v))));
    let centred = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - ma, f64::from(*y) - mb));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    centred.for_each(|(x, y)| (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y));
    xy / (xx * yy).sqrt()
}

/// The course of one pixel.
fn pixel(recording: &SimulatedRecording, y: usize, x: usize) -> Vec<f32> {
    recording.velocity.iter().skip(y * 64 + x).step_by(64 * 64).copied().collect()
}

fn all_firings(truth: &Truth, unit: usize) -> Vec<f32> {
    let unit = &truth.units[unit];
    unit.earlier_firings_s.iter().chain(&unit.firings_s).copied().collect()
}

#[test]
fn the_number_of_units_is_uniform_from_5_to_30() {
    let n = 5200;
    let mut counts = [0u32; 31];
    truths(SimulatorConfig::paper(), n).iter().for_each(|truth| counts[truth.units.len()] += 1);
    assert!(counts[..5].iter().all(|count| *count == 0));
    let expected = f64::from(n) / 26.0;
    let chi_square: f64 = counts[5..].iter().map(|c| (f64::from(*c) - expected).powi(2) / expected).sum();
    // 25 degrees of freedom: above 52.6 once in a thousand times.
    assert!(chi_square < 52.6, "{chi_square} {counts:?}");
    for count in TestCell::UNITS {
        let fixed = truths(SimulatorConfig::paper().with_units(count), 3);
        assert!(fixed.iter().all(|truth| truth.units.len() == count as usize));
    }
}

#[test]
fn parameters_of_units_have_the_distributions_of_the_specification() {
    let truths = truths(SimulatorConfig::paper(), 300);
    let units: Vec<_> = truths.iter().flat_map(|truth| &truth.units).collect();
    let check = |name: &str, min: f64, max: f64, value: &dyn Fn(usize) -> f64| {
        let distance = distance_from_uniform((0..units.len()).map(|k| (value(k) - min) / (max - min)).collect());
        assert!(distance < 1.95, "{name}: {distance}");
    };
    check("diameter", 2.5, 10.0, &|k| units[k].territory.diameter_mm.into());
    check("rate", 8.0, 13.0, &|k| units[k].firing_rate_hz.into());
    check("contraction time", 0.040, 0.075, &|k| units[k].waveform.contraction_s.into());
    check("half-relaxation", 1.6, 1.9, &|k| {
        f64::from(units[k].waveform.half_relaxation_s) / f64::from(units[k].waveform.contraction_s)
    });
    check("lead", 0.004, 0.006, &|k| units[k].waveform.lead_s.into());
    check("amplitude", 0.012f64.ln(), 0.060f64.ln(), &|k| f64::from(units[k].waveform.amplitude_mm).ln());
    for axis in 0..2 {
        check("centre", 0.0, 1.0, &|k| {
            let (territory, radius) = (&units[k].territory, 0.5 * f64::from(units[k].territory.diameter_mm));
            (f64::from(territory.centre_mm[axis]) - radius) / (40.0 - 2.0 * radius)
        });
    }
}

#[test]
fn masks_are_whole_circles_of_the_pixels_whose_centre_is_inside() {
    for truth in truths(SimulatorConfig::paper(), 40) {
        for unit in &truth.units {
            let radius = 0.5 * unit.territory.diameter_mm;
            let [cy, cx] = unit.territory.centre_mm;
            assert!(cy - radius > -1e-4 && cx - radius > -1e-4 && cy + radius < 40.0001 && cx + radius < 40.0001);
            for (k, inside) in unit.mask.iter().enumerate() {
                let (y, x) = ((k / 64) as f32 + 0.5, (k % 64) as f32 + 0.5);
                let distance = (0.625 * y - cy).hypot(0.625 * x - cx);
                let clear = (distance - radius).abs() > 1e-4;
                assert!(!clear || (*inside == 1) == (distance < radius));
            }
        }
    }
}

#[test]
fn intervals_have_their_mean_variation_and_floor() {
    let mut config = SimulatorConfig::paper();
    config.firing.synchrony = Range::fixed(0.0);
    config.firing.warm_up_s = 3.0;
    let mut relative = Vec::new();
    for truth in truths(config.clone(), 200) {
        for (k, unit) in truth.units.iter().enumerate() {
            let firings = all_firings(&truth, k);
            assert!(firings[0] <= -3.0 && firings[0] >= -3.0 - 1.0 / unit.firing_rate_hz - 1e-4);
            // The first so many: a window in time would prefer short intervals.
            relative.extend(firings.windows(2).take(15).map(|w| f64::from((w[1] - w[0]) * unit.firing_rate_hz)));
        }
    }
    let n = relative.len() as f64;
    let average = mean(relative.iter().copied());
    let deviation = mean(relative.iter().map(|r| (r - average).powi(2))).sqrt();
    assert!((average - 1.0).abs() < 5.0 * 0.2 / n.sqrt(), "{average}");
    assert!((deviation - 0.2).abs() < 5.0 * 0.2 / (2.0 * n).sqrt(), "{deviation}");
    assert!(relative.iter().all(|r| *r > 0.2499));
    // With wild intervals the floor is reached.
    config.firing.interval_variation = 1.0;
    let wild = truths(config, 5);
    let shortest = wild
        .iter()
        .flat_map(|truth| (0..truth.units.len()).map(|k| (all_firings(truth, k), truth.units[k].firing_rate_hz)));
    let shortest = shortest.flat_map(|(f, rate)| f.windows(2).map(|w| (w[1] - w[0]) * rate).collect::<Vec<_>>());
    let shortest = shortest.fold(f32::INFINITY, f32::min);
    assert!((shortest - 0.25).abs() < 1e-3, "{shortest}");
}

#[test]
fn a_second_holds_as_many_firings_as_the_rate_says_and_the_first_frames_carry_tails() {
    let simulator = simulator(SimulatorConfig::paper());
    let (mut surplus, mut n) = (0.0, 0.0);
    for index in 0..100 {
        for unit in simulator.simulate(Split::Validation, index, SEED).truth.units {
            surplus += f64::from(unit.firings_s.len() as f32 - unit.firing_rate_hz);
            n += 1.0;
            assert!(unit.firings_s.iter().all(|t| (0.0..1.0).contains(t)));
            assert!(unit.earlier_firings_s.iter().all(|t| *t < 0.0) && unit.earlier_firings_s[0] <= -0.5);
            assert!(unit.twitch_train[0] != 0.0);
        }
    }
    // A count in a window varies by under one firing.
    assert!((surplus / n).abs() < 5.0 / f64::sqrt(n), "{}", surplus / n);
}

/// Firings without and with synchrony: which were moved, and whether each landed on a firing of another MU.
fn share_moved(synchrony: Range, recordings: u32) -> f64 {
    let mut config = SimulatorConfig::paper();
    config.firing.warm_up_s = 3.0;
    config.firing.synchrony = Range::fixed(0.0);
    let before = truths(config.clone(), recordings);
    config.firing.synchrony = synchrony;
    let after = truths(config, recordings);
    let (mut moved, mut total) = (0, 0);
    for (before, after) in before.iter().zip(&after) {
        let own: Vec<Vec<f32>> = (0..before.units.len()).map(|k| all_firings(before, k)).collect();
        for (k, own_firings) in own.iter().enumerate() {
            let firings = all_firings(after, k);
            let reach = 0.5 / before.units[k].firing_rate_hz;
            assert!(firings.windows(2).all(|w| (w[1] - w[0]) * before.units[k].firing_rate_hz > 0.2499));
            // The end of the train may lose or win one by a move across it.
            for (old, new) in own_firings.iter().zip(&firings).filter(|(old, _)| **old < -0.2) {
                total += 1;
                if old != new {
                    moved += 1;
                    assert!((old - new).abs() <= reach * 1.0001);
                    let landed = own.iter().enumerate().any(|(j, other)| j != k && other.contains(new));
                    assert!(landed, "{new} is no other MU's firing");
                }
            }
        }
    }
    f64::from(moved) / f64::from(total)
}

#[test]
fn synchrony_is_the_share_of_firings_moved_onto_others() {
    assert_eq!(share_moved(Range::fixed(0.0), 3), 0.0);
    // Nearly every move can be made: the others fire as often. The rest would be too far or break the floor.
    let fixed = share_moved(Range::fixed(0.1), 60);
    assert!((0.085..0.1005).contains(&fixed), "{fixed}");
    // Uniform in 0..0.1 a recording.
    let paper = share_moved(Range::new(0.0, 0.1), 150);
    assert!((0.04..0.055).contains(&paper), "{paper}");
}

#[test]
fn twitch_trains_are_sums_of_twitches_without_net_displacement() {
    let recording = simulator(SimulatorConfig::paper()).simulate(Split::Test, 3, SEED);
    for (k, unit) in recording.truth.units.iter().enumerate() {
        let firings = all_firings(&recording.truth, k);
        let peak = unit.twitch_train.iter().fold(0f32, |a, b| a.max(b.abs()));
        for (t, found) in unit.twitch_train.iter().enumerate() {
            let expected: f32 = firings.iter().map(|f| unit.waveform.velocity_mm_s(t as f32 / 400.0 - f)).sum();
            assert!((found - expected).abs() < 1e-4 * peak, "unit {k}, frame {t}: {found} {expected}");
        }
        // One twitch from rest to rest, in steps as fine as 1/16 frame.
        let velocities: Vec<f64> = (0..6400).map(|t| unit.waveform.velocity_mm_s(t as f32 / 6400.0).into()).collect();
        let (mut displacement, mut highest) = (0.0, 0.0f64);
        for velocity in &velocities {
            displacement += velocity / 6400.0;
            highest = highest.max(displacement);
        }
        let amplitude = f64::from(unit.waveform.amplitude_mm);
        assert!((highest / amplitude - 1.0).abs() < 5e-3, "{highest} {amplitude}");
        assert!(displacement.abs() < 1e-3 * amplitude, "{displacement}");
        let (up, down) = velocities.iter().fold((0.0f64, 0.0f64), |(up, down), v| (up.max(*v), down.min(*v)));
        assert!((0.35..0.6).contains(&(-down / up)), "a biphasic lobe: {up} {down}");
    }
}

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

#[test]
fn a_recording_is_a_pure_function_of_its_arguments() {
    for preset in SimulatorConfig::PRESETS {
        let config = SimulatorConfig::from_name(preset).expect("a preset").with_noise(Noise::Snr { db: 15.0 });
        let simulator = simulator(config.clone());
        let reference = simulator.simulate(Split::Train, 5, SEED);
        for isa in Isa::available() {
            let other = simulator.clone().with_isa(isa).simulate(Split::Train, 5, SEED);
            assert!(other.velocity == reference.velocity, "{preset} {isa}");
        }
        let many = simulator.simulate_many(&Cpu::with(3, Isa::detect()), Split::Train, &[4, 5, 6], SEED);
        assert!(many[1].velocity == reference.velocity && many[0].velocity != many[1].velocity);
        assert_eq!(many.iter().map(|r| r.truth.index).collect::<Vec<_>>(), [4, 5, 6]);
        let direct = sarcomere::muscle::simulate(&config, Split::Train, 5, SEED).expect("a usable config");
        assert!(direct.velocity == reference.velocity);
        let mut poisoned = vec![f32::NAN; simulator.samples()];
        simulator.simulate_into(Split::Train, 5, SEED, &mut poisoned).expect("the right length");
        assert!(poisoned == reference.velocity);
        assert!(simulator.simulate_into(Split::Train, 5, SEED, &mut poisoned[1..]).is_err());
    }
}

/// Draws at the addresses that the documentation gives, computed here with the generator alone.
#[test]
fn random_numbers_lie_at_their_documented_addresses() {
    let (index, seed) = (6, 0x0123_4567_89ab_cdef_u64);
    let key = [0x89ab_cdef, 0x0123_4567];
    let address = |c0: u32, c1: u32, quantity: u32| [c0, c1, index, 0x4d00_0000 + 0x1_0000 + quantity];
    let words = |c0, c1, quantity| philox::philox(key, address(c0, c1, quantity));
    let config = SimulatorConfig::paper();
    let clean = simulator(config.clone()).simulate(Split::Validation, index, seed);
    let noisy = simulator(config.with_noise(Noise::Snr { db: 0.0 })).simulate(Split::Validation, index, seed);
    let units = &noisy.truth.units;
    assert_eq!(units.len() as u32, 5 + philox::below(words(0, 0, 0)[0], 26));
    for (k, unit) in units.iter().enumerate() {
        assert_eq!(unit.territory.diameter_mm, 2.5 + 7.5 * philox::uniform(words(0, k as u32, 2)[0]));
        assert_eq!(unit.firing_rate_hz, 8.0 + 5.0 * philox::uniform(words(0, k as u32, 7)[0]));
    }
    let sigma = noisy.truth.noise_mm_s;
    for (t, pixel) in [(0, 0), (1, 1), (2, 4095), (399, 77), (201, 512), (7, 2048)] {
        let found = (noisy.velocity[t * 4096 + pixel] - clean.velocity[t * 4096 + pixel]) / sigma;
        let expected = philox::normals(key, address(pixel as u32, t as u32 / 4, 15))[t % 4];
        assert!((found - expected).abs() < 1e-4, "{t} {pixel}: {found} {expected}");
    }
}

#[test]
fn splits_seeds_and_indices_share_nothing() {
    let simulator = simulator(SimulatorConfig::paper().with_noise(Noise::Snr { db: -60.0 }));
    let others = [(Split::Validation, 0, 1), (Split::Test, 0, 1), (Split::Train, 1, 1), (Split::Train, 0, 2)];
    let reference = simulator.simulate(Split::Train, 0, 1);
    for (split, index, seed) in others {
        let other = simulator.simulate(split, index, seed);
        let found = correlation(&reference.velocity, &other.velocity);
        assert!(found.abs() < 5.0 / f64::sqrt(reference.velocity.len() as f64), "{split:?} {index} {seed}: {found}");
        let (a, b) = (&reference.truth.units[0], &other.truth.units[0]);
        assert_ne!(a.territory.diameter_mm, b.territory.diameter_mm);
        assert_ne!(a.firings_s, b.firings_s);
    }
    // Among many recordings, parameters of the same MU are uncorrelated between splits.
    let rates = |split: Split| -> Vec<f32> {
        let mut config = SimulatorConfig::paper();
        config.grid.frames = 1;
        let simulator = Simulator::new(config).expect("a usable config");
        (0..400)
            .flat_map(|k| simulator.simulate(split, k, SEED).truth.units.into_iter().take(5))
            .map(|u| u.firing_rate_hz)
            .collect()
    };
    let found = correlation(&rates(Split::Train), &rates(Split::Test));
    assert!(found.abs() < 5.0 / f64::sqrt(2000.0), "{found}");
}

#[test]
fn one_option_alone_leaves_everything_else_as_it_is() {
    let base = SimulatorConfig::paper().with_units(8);
    let reference = simulator(base.clone()).simulate(Split::Train, 9, SEED).truth;
    let change = |edit: &dyn Fn(&mut SimulatorConfig)| {
        let mut config = base.clone();
        edit(&mut config);
        simulator(config).simulate(Split::Train, 9, SEED).truth
    };
    let other = change(&|c| c.territories.diameter_mm = Range::new(5.0, 6.0));
    for (a, b) in reference.units.iter().zip(&other.units) {
        assert!(a.territory.diameter_mm != b.territory.diameter_mm);
        assert!(a.firings_s == b.firings_s && a.waveform == b.waveform && a.twitch_train == b.twitch_train);
    }
    let other = change(&|c| c.firing.rate_hz = Range::new(20.0, 21.0));
    for (a, b) in reference.units.iter().zip(&other.units) {
        assert!(a.firings_s != b.firings_s && a.territory == b.territory && a.waveform == b.waveform);
    }
    // More MUs: the first ones stay (but for whom they are synchronised with).
    let other = change(&|c| {
        c.units.max = 20;
        c.units.min = 20;
    });
    for (a, b) in reference.units.iter().zip(&other.units) {
        assert!(a.territory == b.territory && a.waveform == b.waveform && a.firing_rate_hz == b.firing_rate_hz);
    }
    let other = change(&|c| c.territories.axis_ratio = Range::new(1.5, 2.0));
    assert!(reference.units.iter().zip(&other.units).all(|(a, b)| a.firings_s == b.firings_s));
}

fn with_territories(edit: impl Fn(&mut Territories)) -> SimulatedRecording {
    let mut config = SimulatorConfig::paper().with_units(1);
    config.territories.diameter_mm = Range::fixed(10.0);
    edit(&mut config.territories);
    simulator(config).simulate(Split::Train, 21, SEED)
}

fn centre_pixel(recording: &SimulatedRecording) -> (usize, usize) {
    let [y, x] = recording.truth.units[0].territory.centre_mm;
    ((y / 0.625) as usize, (x / 0.625) as usize)
}

/// Root mean square of a pixel over that of the true signal.
fn strength(recording: &SimulatedRecording, y: usize, x: usize) -> f64 {
    (mean_square(&pixel(recording, y, x)) / mean_square(&recording.truth.units[0].twitch_train)).sqrt()
}

#[test]
fn ellipses_keep_their_area_and_cross_the_edge_only_when_allowed() {
    let mut config = SimulatorConfig::paper();
    config.territories.axis_ratio = Range::fixed(2.0);
    let (mut pixels, mut area) = (0.0, 0.0);
    for truth in truths(config.clone(), 30) {
        for unit in &truth.units {
            pixels += unit.mask.iter().map(|m| f64::from(*m)).sum::<f64>();
            area += std::f64::consts::PI / 4.0 * (f64::from(unit.territory.diameter_mm) / 0.625).powi(2);
            let [long, short] = unit.territory.semi_axes_mm();
            assert!((long / short - 2.0).abs() < 1e-4);
            let [ey, ex] = unit.territory.half_extents_mm();
            let [cy, cx] = unit.territory.centre_mm;
            assert!(cy - ey > -1e-4 && cy + ey < 40.0001 && cx - ex > -1e-4 && cx + ex < 40.0001);
        }
    }
    assert!((pixels / area - 1.0).abs() < 5e-3, "{pixels} {area}");
    config.territories.may_cross_edge = true;
    let truths = truths(config, 100);
    let units = || truths.iter().flat_map(|truth| &truth.units);
    assert!(units().all(|unit| unit.mask.contains(&1)));
    let crossing = units().filter(|unit| (0..64).any(|k| unit.mask[k] == 1 || unit.mask[k * 64] == 1)).count();
    assert!(crossing * 20 > units().count());
    let centres = units().map(|unit| f64::from(unit.territory.centre_mm[0]) / 40.0).collect();
    assert!(distance_from_uniform(centres) < 1.95);
}

#[test]
fn profiles_have_their_shapes() {
    let flat = with_territories(|_| {});
    let (y, x) = centre_pixel(&flat);
    assert!((strength(&flat, y, x) - 1.0).abs() < 1e-3 && (strength(&flat, y + 5, x) - 1.0).abs() < 1e-3);
    let bell = with_territories(|t| t.profiles = vec![Profile::Gaussian]);
    for step in [0, 3, 6] {
        let [cy, cx] = bell.truth.units[0].territory.centre_mm;
        let (dy, dx) = (0.625 * ((y + step) as f32 + 0.5) - cy, 0.625 * (x as f32 + 0.5) - cx);
        let rho = dy.hypot(dx) / 5.0;
        assert!((strength(&bell, y + step, x) - f64::from((-rho * rho).exp())).abs() < 1e-3);
    }
    let fibres = with_territories(|t| t.profiles = vec![Profile::Fibres { per_mm2: 6.0 }]);
    let counts: Vec<f64> = (0..4096)
        .filter(|p| fibres.truth.units[0].mask[*p] == 1)
        .map(|p| strength(&fibres, p / 64, p % 64) * 6.0 * 0.625 * 0.625)
        .collect();
    assert!(counts.iter().all(|count| (count - count.round()).abs() < 1e-2), "whole numbers of fibres");
    let (average, n) = (mean(counts.iter().copied()), counts.len() as f64);
    assert!((average - 2.34).abs() < 4.0 * (2.34 / n).sqrt(), "{average}");
    let variance = mean(counts.iter().map(|c| (c - average).powi(2)));
    assert!((variance / 2.34 - 1.0).abs() < 5.0 * (2.5 / n).sqrt(), "{variance}");
}

#[test]
fn the_lag_grows_from_centre_to_rim_and_the_halo_decays_outside() {
    let lagging = with_territories(|t| t.rim_lag_ms = Range::fixed(10.0));
    let (y, x) = centre_pixel(&lagging);
    let unit = &lagging.truth.units[0];
    let waveform = unit.waveform;
    let firings = all_firings(&lagging.truth, 0);
    for step in [0usize, 2, 5, 7] {
        let [cy, cx] = unit.territory.centre_mm;
        let (dy, dx) = (0.625 * ((y + step) as f32 + 0.5) - cy, 0.625 * (x as f32 + 0.5) - cx);
        let lag = 0.010 * dy.hypot(dx) / 5.0;
        let expected: Vec<f32> = (0..400)
            .map(|t| firings.iter().map(|f| waveform.velocity_mm_s(t as f32 / 400.0 - f - lag)).sum())
            .collect();
        let found = pixel(&lagging, y + step, x);
        let peak = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.01 * peak, "{step}: {worst} of {peak}");
    }
    let halo = with_territories(|t| t.halo_share = 0.1);
    let [cy, cx] = halo.truth.units[0].territory.centre_mm;
    let mut outside = 0;
    for p in 0..4096 {
        let (dy, dx) = (0.625 * ((p / 64) as f32 + 0.5) - cy, 0.625 * ((p % 64) as f32 + 0.5) - cx);
        let distance = f64::from(dy.hypot(dx)) - 5.0;
        let expected = match distance {
            d if d.abs() < 1e-3 || (d - 8.0).abs() < 1e-3 => continue,
            d if d < 0.0 => 1.0,
            d if d < 8.0 => 0.1 * (-d / 2.0).exp(),
            _ => 0.0,
        };
        outside += usize::from(distance > 0.0 && distance < 8.0);
        assert!((strength(&halo, p / 64, p % 64) - expected).abs() < 1e-3, "{distance}");
    }
    assert!(outside > 300);
}

#[test]
fn single_firings_vary_in_amplitude_and_duration() {
    let mut config = SimulatorConfig::paper().with_units(1);
    config.firing.rate_hz = Range::fixed(1.0);
    config.firing.interval_variation = 0.0;
    config.twitch.contraction_ms = Range::fixed(50.0);
    config.grid.frames = 2000;
    config.twitch.amplitude_variation = 0.1;
    let (mut relative, mut widths) = (Vec::new(), Vec::new());
    let lone_twitches = |config: &SimulatorConfig, visit: &mut dyn FnMut(&[f32], f32)| {
        let simulator = simulator(config.clone());
        for index in 0..60 {
            let unit = simulator.simulate(Split::Train, index, SEED).truth.units.remove(0);
            // At one firing a second twitches do not touch.
            for firing in &unit.firings_s {
                let first = (firing * 400.0) as usize;
                if first + 200 < 2000 {
                    visit(&unit.twitch_train[first..first + 200], unit.waveform.amplitude_mm);
                }
            }
        }
    };
    lone_twitches(&config, &mut |twitch, amplitude| {
        let mut displacement = 0.0;
        let highest = twitch.iter().fold(0f32, |highest, v| {
            displacement += v / 400.0;
            highest.max(displacement)
        });
        relative.push(f64::from(highest / amplitude));
    });
    config.twitch.amplitude_variation = 0.0;
    config.twitch.duration_variation = 0.1;
    lone_twitches(&config, &mut |twitch, _| {
        // The velocity changes its sign when the contraction ends.
        let start = twitch.iter().position(|v| *v > 0.0).unwrap_or(0);
        let end = start + twitch[start..].iter().position(|v| *v < 0.0).unwrap_or(0);
        let (a, b) = (f64::from(twitch[end - 1]), f64::from(twitch[end]));
        widths.push((end as f64 - 1.0 + a / (a - b) - start as f64 + 0.5) * 2.5 / 50.0);
    });
    for (name, values) in [("amplitude", relative), ("duration", widths)] {
        let (average, n) = (mean(values.iter().copied()), values.len() as f64);
        let deviation = mean(values.iter().map(|v| (v - average).powi(2))).sqrt();
        assert!(n > 200.0 && (average - 1.0).abs() < 5.0 * 0.1 / n.sqrt() + 5e-3, "{name}: {average}");
        assert!((deviation - 0.1).abs() < 5.0 * 0.1 / (2.0 * n).sqrt() + 2e-3, "{name}: {deviation}");
    }
}

#[test]
fn drift_is_slow_and_the_pulse_beats_round_its_artery() {
    let paper = SimulatorConfig::paper();
    let clean = simulator(paper.clone()).simulate(Split::Train, 2, SEED);
    let union: Vec<bool> = (0..4096).map(|p| clean.truth.units.iter().any(|unit| unit.mask[p] == 1)).collect();
    let inside = clean.velocity.iter().enumerate().filter(|(k, _)| union[k % 4096]).map(|(_, v)| f64::from(*v).powi(2));
    let reference = mean(inside).sqrt();
    let added = |edit: &dyn Fn(&mut Background)| -> SimulatedRecording {
        let mut config = paper.clone();
        edit(&mut config.background);
        let mut recording = simulator(config).simulate(Split::Train, 2, SEED);
        recording.velocity.iter_mut().zip(&clean.velocity).for_each(|(a, b)| *a -= b);
        recording
    };
    /// Share of a course's energy (mean included) at whole frequencies up to `hz`.
    fn share_below(course: &[f32], hz: usize) -> f64 {
        let n = course.len() as f64;
        let power = |k: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for (t, v) in course.iter().enumerate() {
                let angle = std::f64::consts::TAU * k as f64 * t as f64 / n;
                (re, im) = (re + f64::from(*v) * angle.cos(), im + f64::from(*v) * angle.sin());
            }
            (re * re + im * im) * if k == 0 { 1.0 } else { 2.0 }
        };
        (0..=hz).map(power).sum::<f64>() / (n * course.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>())
    }
    let drift = added(&|b| b.drift_level = 0.3);
    let level = mean_square(&drift.velocity).sqrt() / reference;
    // Three modes of equal power: together 0.3 when they are uncorrelated.
    assert!((0.15..0.52).contains(&level), "{level}");
    // A second is too short to end a tone sharply at 5 Hz: allow for the leak.
    assert!(share_below(&pixel(&drift, 20, 20), 7) > 0.95);
    let pulse = added(&|b| b.pulse_level = 0.3);
    let strengths: Vec<f64> =
        (0..4096).map(|p| mean_square(&pixel(&pulse, p / 64, p % 64)).sqrt() / reference).collect();
    let strongest = strengths.iter().copied().fold(0.0, f64::max);
    assert!((strongest - 0.3).abs() < 0.01, "{strongest}");
    assert!(strengths.iter().copied().fold(1.0, f64::min) < 0.1 * strongest, "it is local");
    let (first, _) = strengths.iter().enumerate().fold((0, 0.0), |a, (k, v)| if *v > a.1 { (k, *v) } else { a });
    assert!(share_below(&pixel(&pulse, first / 64, first % 64), 7) > 0.95);
}

#[test]
fn flips_mirror_recording_masks_and_territories_alike() {
    let mut config = SimulatorConfig::hard().with_units(6);
    config.background = Background { noise: Noise::Clean, drift_level: 0.0, pulse_level: 0.0, ..config.background };
    let original = simulator(config.clone()).simulate(Split::Train, 1, SEED);
    for flip in Flip::ALL {
        let mut flipped = original.clone();
        flip.recording(&mut flipped);
        let from = |y: usize, x: usize| (if flip.y { 63 - y } else { y }) * 64 + if flip.x { 63 - x } else { x };
        for (k, v) in flipped.velocity.iter().enumerate().step_by(37) {
            let (t, p) = (k / 4096, k % 4096);
            assert_eq!(*v, original.velocity[t * 4096 + from(p / 64, p % 64)]);
        }
        for (a, b) in flipped.truth.units.iter().zip(&original.truth.units) {
            assert!((0..4096).all(|p| a.mask[p] == b.mask[from(p / 64, p % 64)]));
            // The mirrored territory gives the mirrored mask, but for pixels on the rim.
            let again = a.territory.mask(&config.grid);
            let differing = again.iter().zip(&a.mask).filter(|(x, y)| x != y).count();
            assert!(differing <= 2, "{flip:?}: {differing}");
        }
        flip.recording(&mut flipped);
        assert!(flipped.velocity == original.velocity);
    }
    let mut odd = vec![1, 2, 3, 4, 5, 6, 7, 8, 9];
    Flip { y: true, x: false }.images(&mut odd, 3, 3);
    assert_eq!(odd, [7, 8, 9, 4, 5, 6, 1, 2, 3]);
    Flip { y: false, x: true }.images(&mut odd, 3, 3);
    assert_eq!(odd, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn other_rasters_work_too() {
    let mut config = SimulatorConfig::hard().with_noise(Noise::Snr { db: 10.0 });
    config.grid.height = 37;
    config.grid.width = 29;
    config.grid.frames = 101;
    config.grid.fs_hz = 1000.0;
    let recording = simulator(config).simulate(Split::Train, 0, SEED);
    assert_eq!(recording.velocity.len(), 101 * 37 * 29);
    assert!(recording.velocity.iter().all(|v| v.is_finite()));
    assert!(recording.velocity.chunks_exact(37 * 29).all(|frame| frame[37 * 29 - 1] != 0.0));
}

#[test]
fn test_cells_are_the_papers_and_share_no_recording() {
    let cells = TestCell::all();
    assert_eq!(cells.len(), 18);
    let mut seen = std::collections::HashSet::new();
    for units in TestCell::UNITS {
        let cell = TestCell { units, noise: Noise::Clean };
        assert!((0..TestCell::RECORDINGS).all(|k| seen.insert(cell.index(k))));
    }
    let config = SimulatorConfig::paper();
    let of = |noise| {
        let cell = TestCell { units: 5, noise };
        cell.simulator(&config).expect("a usable config").simulate(Split::Test, cell.index(3), SEED)
    };
    let (clean, noisy) = (of(Noise::Clean), of(Noise::Snr { db: 10.0 }));
    assert_eq!(clean.truth.units.len(), 5);
    assert_eq!(clean.truth.masks(), noisy.truth.masks());
    assert_eq!([Split::Train, Split::Validation, Split::Test].map(Split::recordings), [10_000, 1_000, 600]);
}

#[test]
fn labels_and_configs_survive_json() {
    let truth = simulator(SimulatorConfig::hard()).simulate(Split::Test, 0, SEED).truth;
    let json = serde_json::to_string(&truth).expect("labels");
    let back: Truth = serde_json::from_str(&json).expect("labels again");
    assert_eq!(back.units.len(), truth.units.len());
    assert_eq!(back.units[2].firings_s, truth.units[2].firings_s);
    assert_eq!(back.units[2].territory, truth.units[2].territory);
    for preset in SimulatorConfig::PRESETS {
        let config = SimulatorConfig::from_name(preset).expect("a preset").with_noise(Noise::training(0.3));
        let json = serde_json::to_string(&config).expect("a config");
        assert_eq!(serde_json::from_str::<SimulatorConfig>(&json).expect("the config again"), config);
    }
    let partial: SimulatorConfig =
        serde_json::from_str(r#"{"units": {"min": 3, "max": 4}, "background": {"snr_reference": "territories"}}"#)
            .expect("a partial config");
    assert_eq!(partial.units.max, 4);
    assert_eq!(partial.background.snr_reference, SnrReference::Territories);
    assert_eq!(partial.twitch, SimulatorConfig::paper().twitch);
    let misspelt =
        serde_json::from_str::<SimulatorConfig>(r#"{"twitch": {"lead_msec": 3}}"#).expect_err("unknown field");
    assert!(misspelt.to_string().contains("lead_msec"), "{misspelt}");
}

#[test]
fn a_config_that_cannot_be_used_is_refused_by_the_name_of_its_field() {
    type Edit = fn(&mut SimulatorConfig);
    let cases: [(&str, Edit); 24] = [
        ("grid.frames", |c| c.grid.frames = 0),
        ("grid.height", |c| c.grid.height = 4),
        ("grid.width", |c| c.grid.width = 100_000),
        ("grid.fs_hz", |c| c.grid.fs_hz = f32::NAN),
        ("grid.mm_per_pixel", |c| c.grid.mm_per_pixel = -1.0),
        ("grid", |c| (c.grid.frames, c.grid.height, c.grid.width) = (1_000_000, 4096, 4096)),
        ("units.min", |c| c.units.min = 0),
        ("units.max", |c| c.units.max = 4),
        ("territories.diameter_mm.min", |c| c.territories.diameter_mm.min = 0.1),
        ("territories.diameter_mm.max", |c| c.territories.diameter_mm.max = 50.0),
        ("territories.axis_ratio.min", |c| c.territories.axis_ratio = Range::fixed(0.5)),
        ("territories.profiles", |c| c.territories.profiles.clear()),
        ("territories.profiles.fibres.per_mm2", |c| c.territories.profiles = vec![Profile::Fibres { per_mm2: 0.0 }]),
        ("territories.rim_lag_ms.max", |c| c.territories.rim_lag_ms.max = 1e6),
        ("territories.halo_decay_mm", |c| c.territories.halo_decay_mm = 0.0),
        ("firing.rate_hz.min", |c| c.firing.rate_hz.min = 0.0),
        ("firing.rate_hz.max", |c| c.firing.rate_hz.max = 7.0),
        ("firing.synchrony.max", |c| c.firing.synchrony.max = 1.5),
        ("twitch.contraction_ms.min", |c| c.twitch.contraction_ms.min = f32::NEG_INFINITY),
        ("twitch.half_relaxation_ratio.min", |c| c.twitch.half_relaxation_ratio.min = 1.0),
        ("twitch.amplitude_um.min", |c| c.twitch.amplitude_um.min = 0.0),
        ("background.noise.snr.db", |c| c.background.noise = Noise::Snr { db: f32::NAN }),
        ("background.noise.mixed.clean_share", |c| c.background.noise = Noise::training(2.0)),
        ("background.noise_correlation_pixels", |c| c.background.noise_correlation_pixels = -1.0),
    ];
    for (field, edit) in cases {
        let mut config = SimulatorConfig::paper();
        edit(&mut config);
        let error = Simulator::new(config).expect_err(field).to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{field}: {error}");
    }
    for preset in SimulatorConfig::PRESETS {
        SimulatorConfig::from_name(preset).and_then(|config| config.validate()).expect("presets are usable");
    }
    assert!(SimulatorConfig::from_name("easy").expect_err("no such preset").to_string().contains("paper, hard"));
    assert!(Split::from_name("dev").is_err() && Split::from_name("test").is_ok_and(|split| split == Split::Test));
}
