//! Searching recordings with the built-in networks: what is written, what is said.

use std::path::{Path, PathBuf};

use sarcomere::tensor::TensorFile;

use super::program::{Folder, recording};

const FILES: [&str; 5] = ["figure.png", "firings.csv", "report.html", "units.json", "units.npz"];

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A file of built-in weights.
fn built_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("weights").join(name)
}

#[test]
fn the_demo_finds_units_and_says_what_it_wrote() {
    let folder = Folder::new("demo");
    let run = folder.run(&["demo"]).good();
    let mut files = FILES.to_vec();
    files.push("recording.npz");
    files.sort();
    assert_eq!(folder.list("sarcomere-demo"), files);
    for file in &files {
        assert!(run.out().contains(&format!("wrote sarcomere-demo/{file}")), "{file}: {}", run.out());
    }
    let found = json(&folder.path().join("sarcomere-demo/units.json"));
    let units = found["units"].as_array().unwrap().len();
    // Well below what the networks reach, well above what chance does.
    assert!(found["truth"]["recall"].as_f64().unwrap() >= 0.7, "{}", found["truth"]);
    assert!(found["truth"]["precision"].as_f64().unwrap() >= 0.7, "{}", found["truth"]);
    assert!(found["truth"]["mean_rate_of_agreement"].as_f64().unwrap() >= 0.7, "{}", found["truth"]);
    let table = run.out().lines().skip_while(|l| !l.starts_with("unit ")).skip(1).take_while(|l| !l.is_empty()).count();
    assert_eq!(table, units, "a line for each unit: {}", run.out());
    assert!(run.out().contains("of 10 true motor units found"), "{}", run.out());
    assert!(!run.out().contains('\x1b') && !run.err().contains('\x1b'), "no colours where nobody watches");
    assert!(run.err().contains("device: cpu"), "auto says what it took: {}", run.err());

    // The recording that it wrote can be searched like any other, with the same units.
    let again = folder.run(&["identify", "sarcomere-demo/recording.npz", "--out", "again", "--json"]).good();
    let again: serde_json::Value = serde_json::from_str(&again.out()).unwrap();
    let scores = |units: &serde_json::Value| -> Vec<serde_json::Value> {
        units
            .as_array()
            .unwrap()
            .iter()
            .map(|u| serde_json::json!([u["score"], u["bbox_px"], u["firings_s"]]))
            .collect()
    };
    assert_eq!(scores(&again["results"][0]["units"]), scores(&found["units"]));
    assert!(again["results"][0]["truth"]["recall"].is_number(), "labels in the file are used");
}

#[test]
fn every_format_gives_the_same_units_in_a_folder_of_its_own() {
    let folder = Folder::new("identify");
    for (format, name) in [("npy", "a"), ("npz", "b"), ("safetensors", "c")] {
        folder.run(&["simulate", "--units", "5", "--format", format]).good();
        let (from, to) = (format!("sarcomere-simulated/paper-0000.{format}"), format!("{name}.{format}"));
        std::fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    let run =
        folder.run(&["identify", "a.npy", "b.npz", "c.safetensors", "--mm-per-pixel", "0.625", "--out", "r"]).good();
    assert_eq!(folder.list("r"), ["a", "b", "c"]);
    let units: Vec<_> = ["a", "b", "c"].map(|n| json(&folder.path().join("r").join(n).join("units.json"))).into();
    for (name, found) in ["a", "b", "c"].iter().zip(&units) {
        assert_eq!(folder.list(&format!("r/{name}")), FILES);
        assert!(run.out().contains(&format!("wrote r/{name}/report.html")));
        assert_eq!(found["units"].as_array().unwrap().len(), units[0]["units"].as_array().unwrap().len());
        assert_eq!(found["units"][0]["firings_s"], units[0]["units"][0]["firings_s"]);
    }
    // Results that are there are replaced, other files stay.
    folder.write("r/a/notes.txt", b"mine");
    folder.run(&["identify", "a.npy", "--out", "r", "--fs", "500"]).good();
    assert_eq!(json(&folder.path().join("r/a/units.json"))["recording"]["fs_hz"], 500.0);
    assert_eq!(std::fs::read(folder.path().join("r/a/notes.txt")).unwrap(), b"mine");
}

#[test]
fn long_recordings_are_searched_in_windows() {
    let folder = Folder::new("windows");
    folder.run(&["simulate", "--units", "5", "--seconds", "2.3", "--format", "npy"]).good();
    let run = folder.run(&["identify", "sarcomere-simulated/paper-0000.npy", "--json"]).good();
    let found = &serde_json::from_str::<serde_json::Value>(&run.out()).unwrap()["results"][0];
    assert_eq!(found["windows"], 4);
    assert!(found["truth"]["recall"].as_f64().unwrap() >= 0.6, "{}", found["truth"]);
    for unit in found["units"].as_array().unwrap() {
        let firings: Vec<f64> = unit["firings_s"].as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect();
        assert!(firings.windows(2).all(|w| w[0] < w[1]) && firings.iter().all(|t| *t < 2.3), "{firings:?}");
    }
}

#[test]
fn good_files_are_searched_beside_bad_ones() {
    let folder = Folder::new("mixed");
    folder.write("bad.npy", b"no array");
    folder.write("good.npy", &recording(400));
    let run = folder.run(&["identify", "bad.npy", "good.npy", "--out", "r"]);
    assert_eq!(run.code(), Some(2));
    assert!(run.err().contains("error: bad.npy: header"), "{}", run.err());
    assert_eq!(folder.list("r"), ["good"]);
    assert_eq!(folder.list("r/good"), FILES);
}

#[cfg(unix)]
#[test]
fn results_that_cannot_be_written_leave_the_old_ones() {
    let folder = Folder::new("results");
    folder.write("a.npy", &recording(400));
    folder.run(&["identify", "a.npy", "--out", "r"]).good();
    let before: Vec<Vec<u8>> = FILES.map(|f| std::fs::read(folder.path().join("r/a").join(f)).unwrap()).into();
    let run = folder.shell("trap '' XFSZ; ulimit -f 20; exec \"$0\" identify a.npy --out r --fs 800");
    run.refused(&["r/a/", "cannot write", "free some space", "unchanged"]);
    let after: Vec<Vec<u8>> = FILES.map(|f| std::fs::read(folder.path().join("r/a").join(f)).unwrap()).into();
    assert!(before == after, "the results of the first run are whole");
    assert_eq!(folder.list("r/a"), FILES);
}

#[test]
fn weights_that_are_not_what_they_should_be() {
    let folder = Folder::new("weights");
    folder.write("a.npy", &recording(400));
    let (detector, twitch) = (built_in("detector-lite.safetensors"), built_in("twitch-lite.safetensors"));
    let run =
        |option: &str, file: &Path| folder.run(&["identify", "a.npy", option, file.to_str().unwrap(), "--out", "r"]);
    run("--detector", &detector).good();
    std::fs::remove_dir_all(folder.path().join("r")).unwrap();

    run("--detector", &twitch).refused(&["twitch-lite.safetensors", "'twitch'", "expected 'detector'"]);
    run("--twitch", &detector).refused(&["detector-lite.safetensors", "'detector'", "expected 'twitch'"]);
    run("--twitch", Path::new("missing.safetensors")).refused(&["missing.safetensors: cannot read", "check the path"]);
    let whole = std::fs::read(&detector).unwrap();
    run("--detector", &folder.write("cut.safetensors", &whole[..whole.len() / 2])).refused(&["cut.safetensors"]);
    run("--detector", &folder.write("text.safetensors", b"these are no weights")).refused(&["text.safetensors"]);
    run("--detector", &folder.write("empty.safetensors", b"")).refused(&["empty.safetensors"]);
    // The last value of the last tensor: not a number, whether in half or single precision.
    let mut nan = whole.clone();
    let end = nan.len();
    nan[end - 2..].copy_from_slice(&[0xff, 0x7f]);
    run("--detector", &folder.write("nan.safetensors", &nan)).refused(&["nan.safetensors", "not finite", "use one"]);
    // Sizes that no memory holds.
    for (network, field, sizes) in [
        ("detector", "image", "[1000000000,64]"),
        ("detector", "frames", "18446744073709551615"),
        ("detector", "max_detections", "1000000000000"),
        ("twitch", "gru", "4611686018427387904"),
        ("twitch", "frames", "0"),
    ] {
        let mut file = TensorFile::read(built_in(&format!("{network}-lite.safetensors"))).unwrap();
        let text = file.metadata.get_mut("sarcomere.config").unwrap();
        let mut config: serde_json::Value = serde_json::from_str(text).unwrap();
        config[field] = serde_json::from_str(sizes).unwrap();
        *text = config.to_string();
        let path = folder.path().join("huge.safetensors");
        file.write(&path).unwrap();
        run(&format!("--{network}"), &path).refused(&["huge.safetensors", field, "expected 1 to", "use one"]);
    }
    // Sizes that windows do not have, and numbers of the signals that no op takes: whose fault it is must be clear.
    for (network, path, value, words) in [
        ("detector", "/frames", "200", ["detector.frames", "expected 400, the frames of the recordings", "got 200"]),
        ("detector", "/image", "[64,32]", ["detector.image", "expected [64, 64]", "got [64, 32]"]),
        ("twitch", "/frames", "800", ["twitch.frames", "expected 400", "got 800"]),
        ("twitch", "/front/unmixed/grid", "[32,64]", ["twitch.front.unmixed.grid", "[64, 64]", "got [32, 64]"]),
        ("twitch", "/front/unmixed/ridge", "-1.0", ["twitch.front.unmixed.ridge", "not negative", "got -1"]),
        ("twitch", "/front/unmixed/components", "9", ["front.unmixed.components", "expected 1 to 8", "got 9"]),
        ("twitch", "/front/unmixed/noise/floor", "0", ["unmixed.noise.floor", "more than 0", "got 0"]),
        ("twitch", "/front/unmixed/noise/radius", "15", ["unmixed.noise.radius", "0 to 14", "got 15"]),
        ("twitch", "/front/unmixed/profiles/mismatch", "0", ["profiles.mismatch", "above 0", "got 0"]),
        ("twitch", "/front/unmixed/profiles", "{\"lag\":1}", ["unknown field `lag`", "expected", "profile_variance"]),
    ] {
        let mut file = TensorFile::read(built_in(&format!("{network}-lite.safetensors"))).unwrap();
        let text = file.metadata.get_mut("sarcomere.config").unwrap();
        let mut config: serde_json::Value = serde_json::from_str(text).unwrap();
        *config.pointer_mut(path).unwrap() = serde_json::from_str(value).unwrap();
        *text = config.to_string();
        let path = folder.path().join("misfit.safetensors");
        file.write(&path).unwrap();
        let [a, b, c] = words;
        run(&format!("--{network}"), &path).refused(&["misfit.safetensors: configuration", a, b, c, "use one that"]);
    }
    // A recording is no set of weights.
    folder.run(&["simulate", "--seconds", "0.25", "--format", "safetensors", "--out", "s"]).good();
    run("--detector", &folder.path().join("s/paper-0000.safetensors")).refused(&["paper-0000.safetensors"]);
    assert!(!folder.path().join("r").exists(), "nothing is left behind");
}

#[test]
fn figures_of_the_networks_stand_beside_all_rivals() {
    let folder = Folder::new("evaluate");
    let cell = ["evaluate", "--presets", "paper", "--units", "5", "--snr", "20", "--recordings", "2"];
    let run = folder.run(&[&cell[..], &["--out", "figures.json"]].concat()).good();
    let lines: Vec<String> = run.out().lines().filter(|l| l.starts_with("paper")).map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "two lines for each cell: {}", run.out());
    assert!(lines.iter().all(|line| !line.contains(" - ")), "every figure is there: {}", run.out());
    let figures = json(&folder.path().join("figures.json"));
    let cell_of = |figures: &serde_json::Value| figures["cells"][0].clone();
    let figures = cell_of(&figures);
    for rival in ["network", "least squares", "mask mean", "chance"] {
        assert!(figures["given_territories"][rival]["rate_of_agreement"]["mean"].is_number(), "{rival}: {figures}");
    }
    // Independent components find most of five units in little noise, by themselves: far from chance (0.2).
    assert!(figures["rival_detection"]["stICA"]["recall"]["mean"].as_f64().unwrap() >= 0.5, "{figures}");
    assert!(figures["rival_detection"]["stICA"]["dice"]["mean"].as_f64().unwrap() > 0.66, "IoU 0.5 is Dice 0.67");
    let blind = &figures["end_to_end"]["stICA"];
    assert!(blind["detected"]["rate_of_agreement"]["mean"].as_f64().unwrap() >= 0.7, "{blind}");
    assert!(blind["yield"]["mean"].is_number() && figures["end_to_end"]["network"]["yield"]["mean"].is_number());

    let run = folder.run(&[&cell[..], &["--no-stica", "--json"]].concat()).good();
    let quick = cell_of(&serde_json::from_str(&run.out()).unwrap());
    assert_eq!(quick["rival_detection"], serde_json::json!({}));
    assert!(quick["end_to_end"]["stICA"].is_null());
    assert_eq!(quick["detection"], figures["detection"], "the other figures are the same");
}
