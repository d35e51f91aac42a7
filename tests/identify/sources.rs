//! Recordings in memory and recordings that stay in their file: what is found and shown is the same to the last bit.

use std::path::PathBuf;

use sarcomere::identify::{Identification, ReadOptions, npy};
use sarcomere::muscle::{Noise, SimulatorConfig, Split, simulate};
use sarcomere::{Device, Identifier, Recording};

use super::{FROM_FILE, velocity};

/// A file that is removed at the end.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn file(name: &str, shape: [usize; 3], velocity: &[f32]) -> File {
    let path = std::env::temp_dir().join(format!("{name}-{}.npy", std::process::id()));
    let mut bytes = Vec::new();
    npy::write(&mut bytes, &shape, velocity).unwrap();
    std::fs::write(&path, bytes).unwrap();
    File(path)
}

/// Units that twitch for 2.5 s.
fn made() -> Vec<f32> {
    let mut config = SimulatorConfig::paper().with_units(5).with_noise(Noise::Snr { db: 20.0 });
    config.grid.frames = 1000;
    simulate(&config, Split::Test, 0, 1).unwrap().velocity
}

fn same(a: &Identification, b: &Identification) {
    assert_eq!((a.windows, a.tiles, a.units.len()), (b.windows, b.tiles, b.units.len()));
    assert!(!a.units.is_empty(), "nothing found is nothing compared");
    for (a, b) in a.units.iter().zip(&b.units) {
        assert_eq!((a.id, a.score, a.windows, a.bbox), (b.id, b.score, b.windows, b.bbox));
        assert!(a.mask == b.mask && a.probability == b.probability && a.signal == b.signal);
        assert_eq!(a.firings_s, b.firings_s);
    }
}

#[cfg(feature = "cli")]
fn same_report(recordings: [&Recording; 2], found: [&Identification; 2]) {
    use sarcomere::identify::report::{About, Report};
    let files = |i: usize| Report::new(recordings[i], found[i], None, About::default()).unwrap().files().unwrap();
    for ((name, held), (_, stays)) in files(0).into_iter().zip(files(1)) {
        assert!(held == stays, "{name}");
    }
}

#[cfg(not(feature = "cli"))]
fn same_report(_: [&Recording; 2], _: [&Identification; 2]) {}

#[test]
fn units_are_the_same_from_memory_and_from_the_file() {
    let whole = made();
    let mut identifier = Identifier::new(&Device::cpu()).unwrap();
    // Shorter than a window; one; several, the last moved back; another rate; other pixels; tiles.
    for (frames, width, fs_hz, mm) in [
        (150, 64, 400.0, Some(0.625)),
        (400, 64, 400.0, None),
        (930, 64, 400.0, Some(0.625)),
        (1000, 64, 700.0, Some(0.625)),
        (700, 50, 400.0, None),
        (500, 64, 400.0, Some(0.8)),
    ] {
        let frame = |frame: &[f32]| -> Vec<f32> { frame.chunks(64).flat_map(|row| row[..width].to_vec()).collect() };
        let values: Vec<f32> = whole.chunks(4096).take(frames).flat_map(frame).collect();
        let shape = [frames, 64, width];
        let file = file(&format!("source-{frames}"), shape, &values);
        let options = |from: ReadOptions| ReadOptions { fs_hz: Some(fs_hz), mm_per_pixel: mm, ..from };
        let stays = Recording::read(&file.0, &options(FROM_FILE)).unwrap();
        let name = stays.name().to_string();
        let mut held = Recording::new(name, values, shape, fs_hz).unwrap();
        if let Some(mm) = mm {
            held = held.with_mm_per_pixel(mm).unwrap();
        }
        assert_eq!(velocity(&held), velocity(&stays));
        let found = [&held, &stays].map(|recording| identifier.identify(recording).unwrap());
        same(&found[0], &found[1]);
        same_report([&held, &stays], [&found[0], &found[1]]);
    }
}

#[test]
fn a_search_ends_with_words_if_the_file_is_cut() {
    let file = file("cut", [900, 64, 64], &made()[..900 * 4096]);
    let recording = Recording::read(&file.0, &FROM_FILE).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    std::fs::write(&file.0, &bytes[..bytes.len() / 2]).unwrap();
    let error = Identifier::new(&Device::cpu()).unwrap().identify(&recording).unwrap_err().to_string();
    assert!(error.contains("has changed") && error.contains(".npy"), "{error}");
}
