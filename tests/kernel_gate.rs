//! Every kernel compiled for every architecture, without a GPU: no warning, no spill, no local memory, and registers, shared
//! memory, occupancy and instructions as the table `tests/kernels.tsv` says.
//!
//! Needs the compiler and the disassembler from the wheels `nvidia-cuda-nvrtc` and `nvidia-cuda-nvdisasm` (see `.ci/run`):
//! `SARCOMERE_CUDA_WHEELS` names the folder `nvidia/cu13` that they are installed to. `SARCOMERE_UPDATE=1` writes the table anew:
//! look at what changed before you keep it.
#![cfg(feature = "cuda")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sarcomere::device::cuda::{Architecture, Bundle, Compiler, KernelCache, Module, Precision, Sources, Target};
use sarcomere::selftest::catalogue;

const TABLE: &str = "tests/kernels.tsv";
const HEADER: &str = "kernel\tmodule\tarch\tregisters\tshared\tblock\twarps\tinstructions";

/// Instructions whose presence or absence is part of the table, as the disassembler spells them.
const WATCHED: [&str; 7] = ["HMMA", "LDSM", "LDGSTS", "LDG.E.128", "STG.E.128", "RED", "ATOM"];

#[test]
fn kernels_are_what_the_table_says() {
    let Some(wheels) = wheels() else { return };
    let found = Mutex::new(Vec::new());
    let work: Vec<(Architecture, Module, BTreeMap<String, u32>)> =
        Architecture::CHECKED.into_iter().flat_map(modules).collect();
    assert!(!work.is_empty());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                while let Some((architecture, module, blocks)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let rows = examine(&wheels, *architecture, module, blocks);
                    found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(rows);
                }
            });
        }
    });
    let (mut rows, mut faults) = (BTreeSet::new(), String::new());
    for result in found.into_inner().expect("no worker panicked") {
        match result {
            Ok(found) => rows.extend(found),
            Err(fault) => faults += &fault,
        }
    }
    assert!(faults.is_empty(), "{faults}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    let kept = std::fs::read_to_string(&path).expect("the table is in the repository");
    let kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    let mut table: BTreeSet<String> = rows;
    table.insert(HEADER.to_owned());
    // Under load the assembler has been seen to take other registers (one kernel in 2500, twice): what differs is compiled again, one
    // module at a time, and that counts, for a new table too.
    let differing: Vec<String> = kept.symmetric_difference(&table).cloned().collect();
    for (architecture, module, blocks) in &work {
        let own = format!("\t{module}\t{architecture}\t");
        if differing.iter().any(|row| row.contains(&own)) {
            let rows = examine(&wheels, *architecture, module, blocks).unwrap_or_else(|fault| panic!("{fault}"));
            table.retain(|row| !row.contains(&own));
            table.extend(rows);
        }
    }
    if std::env::var_os("SARCOMERE_UPDATE").is_some() {
        let text =
            table.into_iter().filter(|row| row != HEADER).fold(HEADER.to_owned(), |text, row| text + "\n" + &row)
                + "\n";
        std::fs::write(&path, text).expect("the table can be written");
        return;
    }
    let gone: Vec<_> = kept.difference(&table).collect();
    let new: Vec<_> = table.difference(&kept).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "{TABLE} says otherwise (SARCOMERE_UPDATE=1 writes it anew)\nin the table:\n{gone:#?}\nfound:\n{new:#?}"
    );
}

/// The folder of compiler and disassembler; `None`, counted as a skip, where they are not installed.
fn wheels() -> Option<PathBuf> {
    let wheels = std::env::var_os("SARCOMERE_CUDA_WHEELS").map(PathBuf::from);
    let Some(wheels) = wheels.filter(|wheels| wheels.join("bin/nvdisasm").is_file()) else {
        // Not through a macro: what those print, the test runner keeps to itself.
        let _ = std::io::stderr().write_all(
            b"SKIP: 1 static gate: SARCOMERE_CUDA_WHEELS does not name a folder with bin/nvdisasm and lib/libnvrtc.so.13\n",
        );
        return None;
    };
    // SAFETY: no other thread of this test program runs yet.
    unsafe { std::env::set_var("SARCOMERE_NVRTC", wheels.join("lib/libnvrtc.so.13")) };
    Some(wheels)
}

/// Modules of an architecture in every precision, with the block size of each kernel that the networks and the selftest launch.
fn modules(architecture: Architecture) -> Vec<(Architecture, Module, BTreeMap<String, u32>)> {
    let mut modules: BTreeMap<Module, BTreeMap<String, u32>> = BTreeMap::new();
    for precision in Precision::ALL {
        let listed = catalogue(&Target::typical(architecture, precision)).expect("every op has a kernel");
        for (module, kernels) in listed {
            modules.entry(module).or_default().extend(kernels);
        }
    }
    modules.into_iter().map(|(module, kernels)| (architecture, module, kernels)).collect()
}

/// What the compiler says of a kernel.
#[derive(Default)]
struct Resources {
    registers: u32,
    shared: u32,
    /// Stack and spills together.
    local: u32,
}

/// Rows of the table for one module, or what is wrong with it.
fn examine(
    wheels: &Path,
    architecture: Architecture,
    module: &Module,
    blocks: &BTreeMap<String, u32>,
) -> Result<Vec<String>, String> {
    let told = |what: &str| format!("{module} for {architecture}: {what}\n");
    let compiler = Compiler::new(architecture, Sources::embedded(), KernelCache::disabled(), Bundle::empty());
    let cubin = compiler.compile(module).map_err(|error| told(&error.to_string()))?;
    if cubin.log.contains("warning") {
        return Err(told(&format!("warnings:\n{}", cubin.log)));
    }
    let resources = resources(&cubin.log);
    let name = format!("{:x}.cubin", cubin.made_from);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, &cubin.image).map_err(|error| told(&error.to_string()))?;
    let output = Command::new(wheels.join("bin/nvdisasm")).arg("-c").arg(&file).output();
    let _ = std::fs::remove_file(&file);
    let output = output.map_err(|error| told(&error.to_string()))?;
    if !output.status.success() {
        return Err(told(&String::from_utf8_lossy(&output.stderr)));
    }
    let instructions = instructions(&String::from_utf8_lossy(&output.stdout));
    if resources.is_empty() || resources.keys().any(|kernel| !instructions.contains_key(kernel)) {
        return Err(told(&format!("the compiler's log or the disassembly is not understood:\n{}", cubin.log)));
    }
    if let Some(missing) = blocks.keys().find(|kernel| !resources.contains_key(*kernel)) {
        return Err(told(&format!("has no kernel '{missing}'")));
    }
    let (mut rows, mut faults) = (Vec::new(), String::new());
    for (kernel, Resources { registers, shared, local }) in resources {
        let seen = &instructions[&kernel];
        if local > 0 || seen.contains("LDL") || seen.contains("STL") {
            let _ =
                write!(faults, "{}", told(&format!("{kernel} keeps {local} bytes in local memory (spills or arrays)")));
        }
        let block = blocks.get(&kernel).copied().unwrap_or(0);
        let warps = architecture.resident_warps(registers, shared, block);
        let list = WATCHED.iter().filter(|name| seen.contains(**name)).copied().collect::<Vec<_>>().join(",");
        rows.push(format!("{kernel}\t{module}\t{architecture}\t{registers}\t{shared}\t{block}\t{warps}\t{list}"));
    }
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

/// Registers, shared memory and local memory of each kernel, from the assembler's report.
fn resources(log: &str) -> BTreeMap<String, Resources> {
    let mut found: BTreeMap<String, Resources> = BTreeMap::new();
    let mut kernel = String::new();
    let before = |line: &str, word: &str| -> u32 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.windows(2).position(|pair| pair[1].trim_end_matches(',') == word);
        at.and_then(|at| words[at].parse().ok()).unwrap_or(0)
    };
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            found.insert(kernel.clone(), Resources::default());
        }
        let Some(resources) = found.get_mut(&kernel) else { continue };
        if line.contains("bytes stack frame") {
            let number = |part: &str| part.split_whitespace().next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
            resources.local += line.split(',').map(number).sum::<u32>();
        }
        if line.contains("Used ") {
            resources.registers = before(line, "registers");
            resources.shared =
                line.split(", ").find_map(|part| part.trim().strip_suffix(" bytes smem")?.parse().ok()).unwrap_or(0);
        }
    }
    found
}

/// For each kernel the names of its instructions, and the watched prefixes among them.
fn instructions(text: &str) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut found: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    let mut kernel = String::new();
    for line in text.lines() {
        if let Some(rest) = line.trim().strip_prefix(".section\t.text.").or(line.trim().strip_prefix(".section .text."))
        {
            kernel = rest.split([',', ' ', '\t']).next().unwrap_or_default().to_owned();
            found.entry(kernel.clone()).or_default();
        }
        let Some(seen) = found.get_mut(&kernel) else { continue };
        // "/*0010*/  @P0 LDG.E.128.CONSTANT R4, ... ;"; padding that never runs reads with predicate !PT.
        let Some(code) = line.split("*/").nth(1).map(str::trim).filter(|code| !code.starts_with("@!PT")) else {
            continue;
        };
        let name = code.split_whitespace().find(|word| !word.starts_with('@')).unwrap_or_default();
        for watched in WATCHED.into_iter().chain(["LDL", "STL"]) {
            let wide = watched.strip_suffix(".128");
            let hit = match wide {
                Some(base) => name.starts_with(base) && name.contains(".128"),
                None => name == watched || name.starts_with(&format!("{watched}.")),
            };
            if hit {
                seen.insert(watched);
            }
        }
    }
    found
}
