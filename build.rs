//! Puts a file of kernels compiled ahead of time into the program, if the environment variable `SARCOMERE_CUBINS` names one.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SARCOMERE_CUBINS");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let mut cubins = Vec::new();
    if let Some(path) = std::env::var_os("SARCOMERE_CUBINS") {
        println!("cargo::rerun-if-changed={}", Path::new(&path).display());
        cubins = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("SARCOMERE_CUBINS: {}: {error}", Path::new(&path).display()));
    }
    std::fs::write(Path::new(&out).join("cubins"), cubins).expect("cargo's output folder can be written to");
}
