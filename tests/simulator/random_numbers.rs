//! Recordings are functions of preset, split, index and seed, and of nothing else.

use sarcomere::device::Cpu;
use sarcomere::device::cpu::Isa;
use sarcomere::muscle::{Noise, Range, Simulator, SimulatorConfig, Split};
use sarcomere::ops::random::philox;

use super::{SEED, correlation, simulator};

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
