//! What cannot be searched: each case is told in one line, with what was expected and what to do.

use std::io::{Cursor, Write};

use sarcomere::identify::npz::NpzWriter;

use super::program::{Folder, npy, recording};

#[test]
fn unusable_recordings() {
    let folder = Folder::new("recordings");
    let good = recording(400);
    let floats = |shape: &str, value: f32, n: usize| {
        npy("'<f4'", shape, &(0..n).flat_map(|_| value.to_le_bytes()).collect::<Vec<u8>>())
    };
    let mut nan = good.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut infinite = good.clone();
    infinite[end - 8..end - 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let cases: Vec<(&str, Vec<u8>, [&str; 3])> = vec![
        ("truncated.npy", good[..good.len() / 2].to_vec(), ["values: expected 102400", "truncated", "export it again"]),
        ("header.npy", good[..50].to_vec(), ["header", "truncated", "export it again"]),
        ("nothing.npy", vec![], ["header: expected a recording", "empty file", "export it again"]),
        (
            "text.npy",
            b"time,velocity\n0,1\n".to_vec(),
            ["header: expected NumPy's magic", "found others", "numpy.save"],
        ),
        (
            "flat.npy",
            floats("(400, 256)", 1.0, 102_400),
            ["velocity: expected 3 axes", "found 2 [400, 256]", "[T, H, W]"],
        ),
        ("deep.npy", floats("(1, 400, 16, 16)", 1.0, 102_400), ["velocity: expected 3 axes", "found 4", "[T, H, W]"]),
        ("empty.npy", floats("(0, 16, 16)", 1.0, 0), ["velocity: expected at least one frame", "[0, 16, 16]", "check"]),
        ("nan.npy", nan, ["velocity: expected finite values", "NaN at frame 399, row 15, column 15", "replace"]),
        ("infinite.npy", infinite, ["velocity: expected finite values", "inf at frame 399", "replace"]),
        (
            "constant.npy",
            floats("(400, 16, 16)", 2.5, 102_400),
            ["velocity: expected values that vary", "2.5 everywhere", "check"],
        ),
        ("text-type.npy", npy("'<U8'", "(400, 16, 16)", &[0; 64]), ["dtype: expected float", "'<U8'", "astype"]),
        ("complex.npy", npy("'<c16'", "(400, 16, 16)", &[0; 64]), ["dtype: expected float", "'<c16'", "astype"]),
        ("pickled.npy", npy("'|O'", "(3,)", &[0; 64]), ["dtype: expected float", "pickled Python objects", "astype"]),
        (
            "wide.npy",
            npy("'<f4'", "(400, 16, 1000000)", &[]),
            ["velocity: expected 8 to 4096 pixels a side", "1000000", "crop"],
        ),
        ("tiny.npy", floats("(400, 2, 2)", 1.0, 1600), ["velocity: expected 8 to 4096 pixels", "[400, 2, 2]", "crop"]),
        (
            "long.npy",
            npy("'<f4'", "(18446744073709551615, 64, 64)", &[]),
            ["velocity: expected at most", "values", "shorter"],
        ),
        (
            "overflow.npy",
            npy("'<f4'", "(99999999999999999999999, 64, 64)", &[]),
            ["shape: expected sizes", "found", "numpy.save"],
        ),
        ("short.npy", recording(60), ["velocity: expected at least 0.25 s", "0.150 s (60 frames)", "record longer"]),
        ("broken.npz", good.clone(), ["archive: expected a zip archive", "not a .npz", "numpy.savez"]),
        (
            "broken.safetensors",
            good.clone(),
            ["header: expected a whole safetensors file", "damaged", "export it again"],
        ),
        ("movie.avi", good.clone(), ["format: expected .npy, .npz or .safetensors", "found '.avi'", "export"]),
    ];
    for (name, bytes, words) in cases {
        folder.write(name, &bytes);
        let run = folder.run(&["identify", name, "--out", "results"]);
        run.refused(&[&format!("{name}: "), words[0], words[1], words[2]]);
        assert!(!folder.path().join("results").exists(), "{name}: nothing is left behind");
        // The demo reads the same files and says the same.
        folder.run(&["demo", "--input", name, "--out", "results"]).refused(&[name, words[0]]);
    }
    folder.run(&["identify", "missing.npy"]).refused(&["missing.npy: cannot read", "No such file", "check the path"]);
    std::fs::create_dir(folder.path().join("folder.npy")).unwrap();
    folder.run(&["identify", "folder.npy"]).refused(&["folder.npy: format", "found a folder", "name the recordings"]);
}

#[test]
fn true_signals_that_are_no_numbers() {
    let folder = Folder::new("labels");
    folder.write("a.npy", &recording(400));
    let mut labels = NpzWriter::new(Cursor::new(Vec::new()));
    labels.add("masks", &[1, 16, 16], &[1u8; 256]).unwrap();
    labels.add("signals", &[1, 400], &[f32::NAN; 400]).unwrap();
    folder.write("a.labels.npz", &labels.finish().unwrap().into_inner());
    folder.run(&["identify", "a.npy"]).refused(&["a.labels.npz: signals: expected finite values", "NaN", "export"]);
}

/// A training configuration with a size from nowhere.
fn run_of_a_huge_network() -> Vec<u8> {
    let mut run = sarcomere::train::DetectorRun::lite(10);
    run.network.fpn_width = 1 << 40;
    serde_json::to_vec(&run).unwrap()
}

#[test]
fn unusable_arguments() {
    let folder = Folder::new("arguments");
    folder.write("a.npy", &recording(400));
    folder.write("b.npy", &recording(400));
    std::fs::create_dir(folder.path().join("other")).unwrap();
    folder.write("other/a.npy", &recording(400));
    folder.write("network.json", &run_of_a_huge_network());
    let cases: [(&[&str], &[&str]); 28] = [
        (&["identify", "a.npy", "--fs", "0"], &["a.npy: fs_hz: expected 50 to 100000", "got 0", "give the frame rate"]),
        (&["identify", "a.npy", "--fs", "nan"], &["a.npy: fs_hz", "got NaN"]),
        (&["identify", "a.npy", "--mm-per-pixel", "0"], &["a.npy: mm_per_pixel: expected a pixel size", "got 0"]),
        (&["identify", "a.npy", "--device", "cuda9"], &["--device", "'cuda9'", "use one of auto"]),
        (&["identify", "a.npy", "other/a.npy"], &["other/a.npy: name: expected another stem", "rename one"]),
        (&["demo", "--preset", "soft"], &["preset", "'soft'", "paper, hard"]),
        (&["demo", "--units", "100000"], &["units"]),
        (&["demo", "--snr", "nan"], &["noise"]),
        (&["demo", "--seconds", "0"], &["--seconds: expected 0.25 to 600", "got 0"]),
        (&["simulate", "--count", "0"], &["--count: expected 1 to 100000", "got 0"]),
        (&["simulate", "--split", "all"], &["split", "'all'", "train, validation or test"]),
        (&["simulate", "--index", "4294967295", "--count", "2"], &["--index", "choose smaller"]),
        (&["dump", "detector", "--preset", "huge"], &["preset", "'huge'", "lite"]),
        (&["dump", "twitch", "--training", "--batch", "0"], &["--batch: expected 1 to 1024", "got 0"]),
        (&["evaluate", "--recordings", "0"], &["--recordings: expected 1 to 10000", "got 0"]),
        (&["evaluate", "--snr", "loud"], &["--snr: expected dB", "'loud'"]),
        (&["train", "detector", "--out", "a.npy/below"], &["a.npy/below", "move what is in the way"]),
        (&["convert", "a.npy", "b.safetensors"], &["a.npy", "use a whole copy"]),
        (&["convert", "missing.safetensors", "b.safetensors"], &["missing.safetensors: cannot read", "check the path"]),
        (&["demo", "--fs", "500"], &["--fs: is about a file", "--input"]),
        (&["evaluate", "--out", "none/figures.json"], &["none/figures.json: cannot write", "check the path"]),
        (&["evaluate", "--out", "other"], &["other: is a folder", "name a file"]),
        (&["train", "twitch", "--steps", "0"], &["--steps: expected 1 to", "got 0"]),
        (&["train", "twitch", "--batch", "0"], &["--batch: expected 1 to 1024", "got 0"]),
        (&["train", "twitch", "--minutes", "nan"], &["--minutes: expected 0 to", "got NaN"]),
        (&["train", "detector", "--config", "a.npy"], &["a.npy: not a training configuration", "first line of a log"]),
        (
            &["train", "detector", "--config", "network.json"],
            &["network.json: detector.fpn_width: expected 1 to 16384"],
        ),
        (&["train", "detector", "--resume", "--out", "new"], &["checkpoint.safetensors: does not exist"]),
    ];
    for (arguments, words) in cases {
        folder.run(arguments).refused(words);
    }
    assert_eq!(folder.list(""), ["a.npy", "b.npy", "network.json", "other"], "nothing is left behind");
    // What clap refuses has the same exit code.
    for arguments in
        [&["identify"][..], &["dance"], &["identify", "a.npy", "--fs", "fast"], &["simulate", "--format", "mat"]]
    {
        assert_eq!(folder.run(arguments).code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn one_bad_file_does_not_hinder_the_others() {
    let folder = Folder::new("others");
    folder.write("bad.npy", b"");
    folder.write("worse.npy", b"x");
    let run = folder.run(&["identify", "bad.npy", "worse.npy", "--json"]);
    assert_eq!(run.code(), Some(2));
    let json: serde_json::Value = serde_json::from_str(&run.out()).unwrap();
    assert_eq!(json["results"], serde_json::json!([]));
    let failed: Vec<_> = json["failed"].as_array().unwrap().iter().map(|f| f["file"].as_str().unwrap()).collect();
    assert_eq!(failed, ["bad.npy", "worse.npy"]);
}

/// On a machine without a GPU, asking for one says what is missing; leaving the choice to the program does not fail.
#[cfg(feature = "cuda")]
#[test]
fn a_gpu_that_is_not_there() {
    // SAFETY: only looks whether there is such a library.
    if unsafe { libloading::Library::new("libcuda.so.1") }.is_ok() {
        // Not through a macro: what those print, the test runner keeps to itself.
        let _ = std::io::stderr().write_all(b"SKIP: 1 test of the missing driver: this machine has one\n");
        return;
    }
    let folder = Folder::new("driver");
    for command in ["demo", "selftest", "bench"] {
        let run = folder.run(&[command, "--device", "cuda"]);
        run.refused(&["no NVIDIA driver was found", "libcuda.so.1", "--device cpu"]);
    }
    let run = folder.run(&["selftest", "--device", "auto", "--problems", "1", "--filter", "pool"]).good();
    assert!(run.out().contains("cpu"), "{}", run.out());
}
