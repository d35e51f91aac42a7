//! The engine stays light: without the command line, its tree in the lock file has fewer than 50 crates.

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_engine_has_fewer_than_fifty_crates() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--no-default-features",
            "--features",
            "cuda",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<String> =
        text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    // A tree that names none of the engine's own needs would prove nothing.
    assert!(crates.iter().any(|name| name.starts_with("safetensors ")), "{crates:?}");
    assert!(!crates.iter().any(|name| name.starts_with("clap ")), "the command line's crates leak into the engine");
    assert!(crates.len() < 50, "{} crates: {crates:?}", crates.len());
}
