//! The program itself on an emulated GPU: what a user types on a machine that has one.

use std::path::Path;
use std::process::Command;

use crate::emulator::Emulator;
use crate::support::{emulator, folder};

/// The program where driver and compiler are the stand-ins.
fn program(emulator: &Emulator, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sarcomere"));
    command.args(arguments).current_dir(folder);
    command.env("LD_LIBRARY_PATH", emulator.folder()).env("SARCOMERE_KERNEL_CACHE", "off");
    command
}

/// What it prints; fails if it does not succeed.
fn printed(mut command: Command) -> String {
    let output = command.output().expect("the program can be started");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[test]
fn every_op_passes_the_selftest() {
    let Some(emulator) = emulator() else { return };
    for precision in ["f32", "tf32", "bf16"] {
        let arguments =
            ["selftest", "--device", "cuda", "--no-networks", "--problems", "2", "--json", "--precision", precision];
        let printed = printed(program(emulator, &folder("selftest"), &arguments));
        let told: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
        assert!(told["device"].as_str().is_some_and(|device| device.contains("Emulated GPU")), "{printed}");
        assert!(told["parts"].as_array().is_some_and(|parts| parts.len() > 30), "{printed}");
    }
}

#[test]
fn what_the_selftest_finds_fails_it() {
    let Some(emulator) = emulator() else { return };
    let folder = folder("selftest");
    let text = sarcomere::device::cuda::Sources::embedded().text("pool.cu").expect("embedded");
    let broken = text.replace("value > largest ||", "value < largest ||");
    assert_ne!(broken, text, "the change has no effect");
    std::fs::write(folder.join("pool.cu"), broken).expect("written");
    let mut command =
        program(emulator, &folder, &["selftest", "--device", "cuda", "--problems", "6", "--filter", "pool"]);
    let output = command.env("SARCOMERE_KERNELS", &folder).output().expect("the program can be started");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{out}");
    assert!(out.contains("max_pool") && err.contains("problems failed"), "{out}\n{err}");
}

#[test]
fn the_demo_finds_the_same_units() {
    let Some(emulator) = emulator() else { return };
    let folder = folder("demo");
    let units = |device: &str| -> usize {
        let arguments = ["demo", "--device", device, "--units", "6", "--out", device];
        printed(program(emulator, &folder, &arguments));
        let text = std::fs::read_to_string(folder.join(device).join("units.json")).expect("written");
        let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        told["units"].as_array().expect("units").len()
    };
    assert_eq!(units("cuda"), units("cpu"));
}

#[test]
fn the_bench_times_a_network() {
    let Some(emulator) = emulator() else { return };
    let arguments =
        ["bench", "--device", "cuda", "--filter", "twitch_lite_b1", "--runs", "1", "--seconds", "0.001", "--json"];
    let printed = printed(program(emulator, &folder("bench"), &arguments));
    let told: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
    assert!(told["cases"][0]["median_ms"].as_f64().is_some_and(|time| time > 0.0), "{printed}");
}
