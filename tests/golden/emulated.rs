//! All of it on an emulated GPU: the same tests in a process of its own, where driver and kernel compiler are the stand-ins.

use std::process::Command;

use crate::emulator::Emulator;

#[test]
fn everything_on_an_emulated_gpu() {
    // There already, or on a real one.
    if std::env::var_os("SARCOMERE_GOLDEN_DEVICE").is_some() {
        return;
    }
    let Some(emulator) = Emulator::get() else { return };
    let program = std::env::current_exe().expect("a test program knows its path");
    let output = Command::new(program)
        .env("SARCOMERE_GOLDEN_DEVICE", "cuda")
        .env("SARCOMERE_KERNEL_CACHE", "off")
        .env("LD_LIBRARY_PATH", emulator.folder())
        .output()
        .expect("the test program can be started");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}
