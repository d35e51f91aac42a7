//! Flips, rasters, test cells, files, configurations that cannot be used.

use sarcomere::muscle::{
    Background, Flip, Noise, Profile, Range, Simulator, SimulatorConfig, SnrReference, Split, TestCell, Truth,
};

use super::{SEED, simulator};

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
