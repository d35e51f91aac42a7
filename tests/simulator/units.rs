//! How many units there are, how large, where; their masks.

use sarcomere::muscle::{SimulatorConfig, TestCell};

use super::{distance_from_uniform, truths};

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
