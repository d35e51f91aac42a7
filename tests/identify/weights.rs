//! Weights that ship, and weights that say otherwise.

use sarcomere::Device;
use sarcomere::identify::{built_in_detector, built_in_twitch};
use sarcomere::muscle::{Noise, SimulatorConfig, Split, simulate, standardise};
use sarcomere::nn::Weights;
use sarcomere::tensor::TensorFile;
use sarcomere::twitch::{KIND, TwitchConfig, TwitchEstimator};

/// Numbers of the signals that files from before they were fields lack.
const NEWER: [&str; 4] = ["ridge", "components", "noise", "profiles"];

/// The shipped twitch estimator, its configuration changed.
fn twitch(change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> Weights {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/twitch-lite.safetensors");
    let mut file = TensorFile::read(path).unwrap();
    let text = file.metadata.get_mut("sarcomere.config").unwrap();
    let mut config: serde_json::Value = serde_json::from_str(text).unwrap();
    change(config["front"]["unmixed"].as_object_mut().unwrap());
    *text = config.to_string();
    Weights::from_bytes(&file.to_bytes().unwrap(), "changed", KIND).unwrap()
}

/// Signals of the first units of a noisy recording.
fn signals(weights: &Weights) -> Vec<Vec<f32>> {
    let config = SimulatorConfig::hard().with_units(6).with_noise(Noise::Snr { db: 10.0 });
    let mut recording = simulate(&config, Split::Test, 0, 1).unwrap();
    standardise(&mut recording.velocity);
    let masks: Vec<&[u8]> = recording.truth.units.iter().map(|unit| &unit.mask[..]).collect();
    let mut estimator = TwitchEstimator::from_weights(&Device::cpu(), weights).unwrap();
    estimator.estimate(&recording.velocity, [64, 64], &masks).unwrap()
}

#[test]
fn shipped_weights_are_of_the_preset() {
    assert_eq!(built_in_twitch().unwrap().config::<TwitchConfig>().unwrap(), TwitchConfig::lite());
    built_in_detector().unwrap().config::<sarcomere::detector::DetectorConfig>().unwrap();
    // What their signals are made with is told by the file, not by the program.
    twitch(|front| assert!(NEWER.iter().all(|field| front.contains_key(*field)), "{front:?}"));
}

#[test]
fn weights_from_before_a_field_mean_what_was_then_the_constant() {
    let old = twitch(|front| front.retain(|field, _| !NEWER.contains(&field.as_str())));
    assert_eq!(old.config::<TwitchConfig>().unwrap(), TwitchConfig::lite());
    assert_eq!(signals(&old), signals(&built_in_twitch().unwrap()), "bit by bit");
}

#[test]
fn weights_say_how_their_signals_are_made() {
    let shipped = signals(&built_in_twitch().unwrap());
    let changes = [
        ("ridge", "0.1"),
        ("cosines", "60"),
        ("noise", r#"{"radius":0,"floor":1.0}"#),
        ("profiles", r#"{"profile_variance":0.3,"lag_variance":0.01,"mismatch":0.0015,"ridge":0.001}"#),
    ];
    for (field, value) in changes {
        let changed = twitch(|front| drop(front.insert(field.to_owned(), serde_json::from_str(value).unwrap())));
        let difference =
            |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = shipped.iter().zip(&signals(&changed)).map(difference).fold(0.0, f32::max);
        assert!(largest > 1e-3, "{field} changes nothing: {largest}");
    }
}
