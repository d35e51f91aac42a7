//! Intervals, firings, synchrony; twitch trains.

use sarcomere::muscle::{Range, SimulatorConfig, Split};

use super::{SEED, all_firings, mean, simulator, truths};

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
