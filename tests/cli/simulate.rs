//! Simulated recordings as files, in every format, and what reads them.

use sarcomere::Recording;
use sarcomere::identify::ReadOptions;
use sarcomere::identify::report::KnownUnit;

use super::program::Folder;

#[test]
fn every_format_holds_the_same_recording_and_truth() {
    let folder = Folder::new("formats");
    let mut seen = Vec::new();
    for format in ["npy", "npz", "safetensors"] {
        let arguments =
            ["simulate", "--units", "4", "--format", format, "--out", format, "--index", "3", "--count", "2"];
        let run = folder.run(&arguments).good();
        assert_eq!(run.out().lines().count(), 2, "a line for each recording: {}", run.out());
        assert_eq!(run.err(), "", "quiet where nobody watches");
        let path = folder.path().join(format).join(format!("paper-0003.{format}"));
        let recording = Recording::read(&path, &ReadOptions::default()).unwrap();
        assert_eq!((recording.shape(), recording.fs_hz()), ([400, 64, 64], 400.0));
        if format != "npy" {
            assert_eq!(recording.mm_per_pixel(), Some(0.625));
        }
        let known = KnownUnit::read(&path, &recording).unwrap().unwrap();
        assert_eq!(known.len(), 4);
        let masks: Vec<Vec<u8>> = known.iter().map(|u| u.mask.clone()).collect();
        let signals: Vec<Vec<f32>> = known.iter().map(|u| u.signal.clone()).collect();
        seen.push((recording.velocity(0..400).unwrap().into_owned(), masks, signals));

        let truth = std::fs::read(folder.path().join(format).join("paper-0003.truth.json")).unwrap();
        let truth: serde_json::Value = serde_json::from_slice(&truth).unwrap();
        let firings = std::fs::read_to_string(folder.path().join(format).join("paper-0003.firings.csv")).unwrap();
        let units = truth["units"].as_array().unwrap();
        let told: usize = units.iter().map(|u| u["firings_s"].as_array().unwrap().len()).sum();
        assert_eq!(firings.lines().next(), Some("onset_s,unit_id"));
        assert_eq!(firings.lines().count(), told + 1);
    }
    assert!(seen[0] == seen[1] && seen[1] == seen[2], "three formats, one recording");
}

#[test]
fn a_seed_names_a_recording_and_length_is_free() {
    let folder = Folder::new("seeds");
    for (out, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
        let arguments =
            ["simulate", "--seed", seed, "--out", out, "--seconds", "0.5", "--preset", "hard", "--snr", "inf"];
        folder.run(&arguments).good();
    }
    let read = |name: &str| std::fs::read(folder.path().join(name).join("hard-0000.truth.json")).unwrap();
    assert_eq!(read("a"), read("b"));
    assert_ne!(read("a"), read("c"));
    let path = folder.path().join("a/hard-0000.npz");
    assert_eq!(Recording::read(path, &ReadOptions::default()).unwrap().frames(), 200);
}

#[test]
fn json_says_what_was_written() {
    let folder = Folder::new("json");
    let run = folder.run(&["simulate", "--json", "--count", "2", "--seconds", "0.25", "--out", "made"]).good();
    let json: serde_json::Value = serde_json::from_str(&run.out()).unwrap();
    let recordings = json["recordings"].as_array().unwrap();
    assert_eq!(recordings.len(), 2);
    for file in recordings.iter().flat_map(|r| r["files"].as_array().unwrap()) {
        assert!(folder.path().join(file.as_str().unwrap()).is_file(), "{file}");
    }
}
