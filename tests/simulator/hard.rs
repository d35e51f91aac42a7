//! What the preset `hard` adds: ellipses, profiles, lags, halos, variation, drift, pulse.

use sarcomere::muscle::{Background, Profile, Range, SimulatedRecording, SimulatorConfig, Split, Territories};

use super::{SEED, all_firings, distance_from_uniform, mean, mean_square, pixel, simulator, truths};

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
