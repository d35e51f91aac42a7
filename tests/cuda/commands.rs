//! The program itself on an emulated GPU: what a user types on a machine that has one.

use std::path::Path;
use std::process::Command;

use sarcomere::device::cuda::{Architecture, Bundle, Compiler, KernelCache, Module, Sources};

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

/// Exit code, results and messages of a selftest where no kernel compiler is.
fn without_a_compiler(emulator: &Emulator, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["selftest", "--no-networks", "--problems", "2"], arguments].concat();
    let mut command = program(emulator, &folder("selftest"), &arguments);
    let output = command.env("SARCOMERE_NVRTC", "/nowhere/libnvrtc.so").output().expect("the program can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_selftest_ends_where_nothing_can_be_compiled() {
    let Some(emulator) = emulator() else { return };
    let (code, out, err) = without_a_compiler(emulator, &["--device", "cuda"]);
    assert_eq!(code, Some(2), "{out}\n{err}");
    assert!(err.contains("NVRTC was not found") && !err.contains("problems failed"), "{err}");
    assert!(!out.contains("primitives"), "no part was finished: {out}");
}

#[test]
fn without_a_compiler_the_processor_is_taken() {
    let Some(emulator) = emulator() else { return };
    let (code, out, err) = without_a_compiler(emulator, &["--device", "auto", "--filter", "max_pool"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(err.contains("device: cpu (") && err.contains("NVRTC was not found"), "{err}");
}

#[test]
fn kernels_of_another_architecture_are_told_at_once() {
    let Some(emulator) = emulator() else { return };
    let module = Module { source: "elementwise", constants: Vec::new() };
    let compiler =
        Compiler::new(Architecture { number: 80 }, Sources::embedded(), KernelCache::disabled(), Bundle::empty());
    let mut bundle = Bundle::default();
    bundle.add(&compiler, &[module]).expect("compiled");
    let path = folder("ahead").join("sm_80.cubins");
    bundle.write(&path).expect("written");
    let run = |device: &str| {
        let arguments = ["selftest", "--no-networks", "--problems", "1", "--filter", "max_pool", "--device", device];
        let mut command = program(emulator, &folder("selftest"), &arguments);
        command.env("SARCOMERE_CUBINS", &path).env("SARCOMERE_NVRTC", "/nowhere/libnvrtc.so");
        let output = command.output().expect("the program can be started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, err) = run("cuda");
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("not for sm_90") && err.contains("--arch 90") && err.contains("NVRTC was not found"), "{err}");
    let (code, err) = run("auto");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("device: cpu (") && err.contains("not for sm_90"), "{err}");
}

#[test]
fn a_kernel_that_does_not_compile_is_told_once() {
    let Some(emulator) = emulator() else { return };
    let folder = folder("selftest");
    std::fs::write(folder.join("pool.cu"), "float broken( {\n").expect("written");
    let arguments = ["selftest", "--device", "cuda", "--problems", "3", "--filter", "max_pool", "--json"];
    let mut command = program(emulator, &folder, &arguments);
    let output = command.env("SARCOMERE_KERNELS", &folder).output().expect("the program can be started");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    let failures = told["parts"][0]["failures"].as_array().expect("failures");
    let first = failures[0].as_str().unwrap_or_default();
    assert!(first.contains("does not compile") && first.contains("error:"), "{out}");
    let again = failures.iter().filter(|failure| failure.as_str().is_some_and(|text| text.ends_with("(as above)")));
    assert!(failures.len() == 3 && again.count() > 0, "{out}");
}

#[test]
fn settings_that_say_nothing_usable_are_refused() {
    let Some(emulator) = emulator() else { return };
    let empty = folder("kernels");
    let refused = |variable: &str, value: &Path| {
        let mut command = program(emulator, &empty, &["selftest", "--device", "cuda", "--filter", "max_pool"]);
        let output = command.env(variable, value).output().expect("the program can be started");
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(variable), "{err}");
        err
    };
    assert!(refused("SARCOMERE_KERNELS", &empty).contains("holds no kernel"));
    assert!(refused("SARCOMERE_KERNEL_CACHE_MB", Path::new("2GB")).contains("'2GB'"));
    assert!(refused("SARCOMERE_KERNEL_CACHE_MB", Path::new("-1")).contains("number of MB"));
    // More than can be counted is no limit.
    let mut command =
        program(emulator, &empty, &["selftest", "--device", "cuda", "--problems", "1", "--filter", "max_pool"]);
    command.env("SARCOMERE_KERNEL_CACHE_MB", u64::MAX.to_string()).env("SARCOMERE_KERNEL_CACHE", folder("cache"));
    printed(command);
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
    let arguments = "bench --device cuda --filter twitch_lite_b1 --runs 1 --seconds 0.001 --kernels 3 --json";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let printed = printed(program(emulator, &folder("bench"), &arguments));
    let told: serde_json::Value = serde_json::from_str(&printed).expect("one JSON object");
    assert!(told["cases"][0]["median_ms"].as_f64().is_some_and(|time| time > 0.0), "{printed}");
    let kernels = told["cases"][0]["kernels"].as_array().expect("kernels");
    let times: Vec<f64> = kernels.iter().filter_map(|kernel| kernel["ms"].as_f64()).collect();
    assert!(times.len() == 3 && times.is_sorted_by(|a, b| a >= b) && times[0] > 0.0, "{printed}");
    assert!(
        kernels.iter().all(|kernel| kernel["kernels"].as_str().is_some_and(|name| name.contains("_f"))),
        "{printed}"
    );
}
