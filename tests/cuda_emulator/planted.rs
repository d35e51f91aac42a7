//! The checks checked: kernels with one bug each are reported, with the right kind and line, whatever the schedule; their mended
//! twins are not.

use std::fs;
use std::path::Path;

use cudarc::driver::sys::CUresult;

use crate::gpu::{Arg, Gpu};

const SEEDS: u32 = 8;

/// A file's first line says what is to be found; the lines marked `// found` are where.
struct Planted {
    name: String,
    text: String,
    kind: String,
    lines: Vec<usize>,
}

fn planted() -> Vec<Planted> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator/planted");
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder exists").flatten() {
        let text = fs::read_to_string(entry.path()).expect("a text");
        let kind = text.split_once(':').expect("the first line names the kind").0.trim_start_matches("// ").to_owned();
        let lines =
            text.lines().enumerate().filter(|(_, line)| line.ends_with("// found")).map(|(i, _)| i + 1).collect();
        all.push(Planted { name: entry.file_name().to_string_lossy().into_owned(), text, kind, lines });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Runs under the checks with one seed after the other: outcomes and reports.
fn run(gpu: &Gpu, planted: &Planted, defines: &[&str]) -> Vec<(Result<(), CUresult>, String)> {
    let values: Vec<f32> = (0..256).map(|i| i as f32).collect();
    let module = gpu.module(&planted.name, &planted.text, defines);
    let kernel = gpu.function(module, "planted");
    let one = |seed| {
        let (x, y, flags) = (gpu.upload(&values), gpu.empty(1024), gpu.upload(&[0i32; 128]));
        gpu.emulator.seed(seed);
        let args = [Arg::Pointer(x), Arg::Pointer(y), Arg::Pointer(flags), Arg::Int(128)];
        let outcome = gpu.launch(kernel, 2, 64, 1024, &args);
        let report = gpu.emulator.report();
        gpu.emulator.clear();
        for address in [x, y, flags] {
            gpu.free(address);
        }
        (outcome, report)
    };
    (0..SEEDS).map(one).collect()
}

#[test]
fn planted_bugs_are_found_and_their_twins_are_clean() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.emulator.checks(true);
    let mut wrong = Vec::new();
    let all = planted();
    assert!(all.len() > 25, "{} planted bugs", all.len());
    for planted in &all {
        for (seed, (outcome, report)) in run(&gpu, planted, &[]).iter().enumerate() {
            let found = report.lines().any(|line| {
                line.starts_with(&format!("{}: kernel planted", planted.kind))
                    && planted.lines.iter().any(|number| line.contains(&format!("{}:{number}:", planted.name)))
            });
            // Who reads too early may also read what nobody has written yet.
            let too_early = |line: &str| planted.kind.starts_with("race-") && line.starts_with("uninitialised-");
            let only = report.lines().all(|line| line.starts_with(&format!("{}: ", planted.kind)) || too_early(line));
            if *outcome != Err(CUresult::CUDA_ERROR_LAUNCH_FAILED) || !found || !only {
                wrong.push(format!("{} seed {seed}: {outcome:?}\n{report}", planted.name));
            }
        }
        for (seed, (outcome, report)) in run(&gpu, planted, &["-DMENDED=1"]).iter().enumerate() {
            if outcome.is_err() || !report.is_empty() {
                wrong.push(format!("{}, mended, seed {seed}: {outcome:?}\n{report}", planted.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every kind that the sources name has a planted bug, but for those with tests of their own below.
#[test]
fn every_kind_is_planted() {
    let header = include_str!("../emulator/runtime/reports.h");
    let kinds = header
        .lines()
        .filter(|line| line.starts_with("constexpr const char*"))
        .filter_map(|line| line.split('"').nth(1));
    let planted = planted();
    let mut count = 0;
    for kind in kinds.filter(|kind| !["stack-overflow", "illegal-address"].contains(kind)) {
        assert!(planted.iter().any(|planted| planted.kind == kind), "no planted bug of kind {kind}");
        count += 1;
    }
    assert!(count >= 12);
}

#[test]
fn too_large_local_variables_are_found() {
    let Some(gpu) = Gpu::new() else { return };
    const TEXT: &str = r#"
#include "device/prelude.cuh"
KERNEL(1) planted(float* y) {
    volatile float local[SIZE];
    for (int i = 0; i < SIZE; ++i) local[i] = 1.0f;
    y[0] = local[SIZE - 1];
}
"#;
    let y = gpu.empty(4);
    for (size, expected) in [(1000, true), (16_500, false)] {
        let module = gpu.module("stack.cu", TEXT, &[&format!("-DSIZE={size}")]);
        let outcome = gpu.launch(gpu.function(module, "planted"), 1, 1, 0, &[Arg::Pointer(y)]);
        assert_eq!(outcome.is_ok(), expected, "{size}: {outcome:?}");
        assert_eq!(gpu.emulator.report().starts_with("stack-overflow"), !expected);
        gpu.emulator.clear();
    }
}

/// Without checks nothing looks at addresses; the test must survive a wild one all the same.
#[test]
fn a_wild_address_in_a_plain_build_ends_the_launch_only() {
    let Some(gpu) = Gpu::new() else { return };
    const TEXT: &str = "#include \"device/prelude.cuh\"\nKERNEL(32) planted(float* y) { y[threadIdx.x] = 1.0f; }";
    let module = gpu.module("wild.cu", TEXT, &[]);
    let kernel = gpu.function(module, "planted");
    for address in [0, 64, 1 << 50] {
        let outcome = gpu.launch(kernel, 1, 32, 0, &[Arg::Pointer(address)]);
        assert_eq!(outcome, Err(CUresult::CUDA_ERROR_LAUNCH_FAILED));
        assert!(gpu.emulator.report().starts_with("illegal-address: kernel planted"), "{}", gpu.emulator.report());
        gpu.emulator.clear();
    }
    let y = gpu.empty(128);
    gpu.launch(kernel, 1, 32, 0, &[Arg::Pointer(y)]).expect("runs");
    assert_eq!(gpu.download::<f32>(y, 32), [1.0; 32]);
}
