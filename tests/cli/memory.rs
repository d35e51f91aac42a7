//! How much memory a search takes: that of the networks and of what was found, not that of the recording.
#![cfg(unix)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};

use sarcomere::muscle::{Noise, SimulatorConfig, Split, simulate};

use super::program::{Folder, npy, recording};

/// Peak resident memory in bytes of the program on these arguments.
#[expect(clippy::zombie_processes, reason = "wait4 waits, and tells what was used")]
fn peak(folder: &Folder, arguments: &[&str]) -> u64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sarcomere"));
    // One thread more or less has its own working memory.
    command.args(arguments).current_dir(folder.path()).env("SARCOMERE_THREADS", "2").stdout(Stdio::null());
    let child = command.spawn().unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: our own child, which nobody else waits for; both places are there to be written to.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
    assert_eq!((waited, status), (child.id() as i32, 0), "{arguments:?} ends well");
    // SAFETY: zeroes were a value already.
    let most = unsafe { usage.assume_init() }.ru_maxrss as u64;
    // Linux counts in KiB, macOS in bytes.
    if cfg!(target_os = "macos") { most } else { most << 10 }
}

/// A minute of 64 x 64 pixels at 400 Hz, 393 MB: two seconds over and over.
fn minute(folder: &Folder, name: &str) {
    let mut config = SimulatorConfig::paper().with_units(8).with_noise(Noise::Snr { db: 20.0 });
    config.grid.frames = 800;
    let made = simulate(&config, Split::Test, 0, 1).unwrap().velocity;
    let bytes: &[u8] = bytemuck::cast_slice(&made);
    let mut file = BufWriter::new(File::create(folder.path().join(name)).unwrap());
    file.write_all(&npy("'<f4'", "(24000, 64, 64)", &[])).unwrap();
    (0..30).for_each(|_| file.write_all(bytes).unwrap());
    file.flush().unwrap();
}

#[test]
fn a_minute_is_searched_in_less_than_400_mb() {
    let folder = Folder::new("memory");
    minute(&folder, "minute.npy");
    let most = peak(&folder, &["identify", "minute.npy", "--mm-per-pixel", "0.625", "--out", "r"]);
    assert!(most < 400_000_000, "{:.0} MB", most as f64 / 1e6);
    let found = std::fs::read(folder.path().join("r/minute/units.json")).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    assert_eq!(found["windows"], 119);
    assert!(found["units"].as_array().unwrap().len() >= 5, "units are found in it: {found}");
}

/// What arrives through a pipe cannot be read twice.
#[test]
fn a_pipe_is_a_file_too() {
    let folder = Folder::new("pipe");
    folder.write("a.npy", &recording(400));
    let run =
        folder.shell("mkfifo p.npy && { cat a.npy > p.npy & } && exec \"$0\" identify p.npy a.npy --out r").good();
    assert!(run.out().contains("wrote r/p/units.json"), "{}", run.out());
    let read = |name: &str| std::fs::read(folder.path().join("r").join(name).join("units.npz")).unwrap();
    assert_eq!(read("p"), read("a"));
}
