//! `sarcomere simulate`: labelled recordings as files.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sarcomere::identify::npy;
use sarcomere::identify::npz::NpzWriter;
use sarcomere::identify::report::Folder;
use sarcomere::muscle::{Noise, SimulatedRecording, Simulator, SimulatorConfig, Split, Truth};
use sarcomere::{Error, Result};
use serde_json::json;

use super::console::{Progress, print};
use super::{Outcome, within};

/// Make labelled recordings of a simulated muscle
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    pub scene: Scene,
    /// Number of recordings
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Part of the data set; parts share no random number
    #[arg(long, default_value = "test", value_name = "train|validation|test")]
    split: String,
    /// Number of the first recording within its part
    #[arg(long, default_value_t = 0)]
    index: u32,
    /// File format
    #[arg(long, value_enum, default_value_t = Format::Npz)]
    format: Format,
    /// Folder to write to
    #[arg(long, default_value = "sarcomere-simulated")]
    out: PathBuf,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

/// What is in a simulated recording.
#[derive(Args)]
pub struct Scene {
    /// Kind of muscle
    #[arg(long, default_value = "paper", value_name = "paper|hard")]
    pub preset: String,
    /// Number of motor units [default: 10 in `demo`; in `simulate` 5 to 30, drawn anew for each recording]
    #[arg(long)]
    pub units: Option<u32>,
    /// Signal-to-noise ratio in dB, or `inf`
    #[arg(long, default_value_t = 20.0)]
    pub snr: f32,
    /// Length in seconds
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Seed of the random numbers: the same seed gives the same recordings
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Scene {
    /// The simulator of this scene; `units` where the user names no number.
    pub fn simulator(&self, units: Option<u32>) -> Result<Simulator> {
        let mut config = SimulatorConfig::from_name(&self.preset)?.with_noise(Noise::from_snr_db(self.snr));
        if let Some(units) = self.units.or(units) {
            config = config.with_units(units);
        }
        let seconds = within("--seconds", self.seconds, 0.25, 600.0)?;
        config.grid.frames = (seconds * f64::from(config.grid.fs_hz)).round() as usize;
        Simulator::new(config)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The recording alone; masks and signals in a file beside it
    Npy,
    /// Recording, masks, signals, frame rate and pixel size
    Npz,
    /// The same, rate and pixel size in the metadata
    Safetensors,
}

/// Makes the recordings.
pub fn run(arguments: &Arguments) -> Outcome {
    let simulator = arguments.scene.simulator(None)?;
    let split = Split::from_name(&arguments.split)?;
    within("--count", arguments.count, 1, 100_000)?;
    let last = arguments.index.checked_add(arguments.count - 1);
    let last =
        last.ok_or_else(|| Error::value("--index", "index and count together exceed 2^32: choose smaller ones"))?;
    let mut folder = Folder::open(&arguments.out)?;
    let progress = Progress::new("simulating");
    let mut made = Vec::new();
    for index in arguments.index..=last {
        progress.at((index - arguments.index) as usize, arguments.count as usize);
        let recording = simulator.simulate(split, index, arguments.scene.seed);
        let name = format!("{}-{index:04}", arguments.scene.preset);
        let files = files(&name, &recording, arguments.format)?;
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
        let paths = folder.write(&files)?;
        made.push((name, recording.truth.units.len(), paths));
    }
    drop(progress);
    if arguments.json {
        let list: Vec<_> =
            made.iter().map(|(name, units, paths)| json!({ "name": name, "units": units, "files": paths })).collect();
        print(&json!({ "folder": arguments.out, "recordings": list }).to_string());
    } else {
        for (_, units, paths) in &made {
            let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
            print(&format!("{units} motor units: {}", names.join(", ")));
        }
    }
    Ok(())
}

/// The files of one recording: itself with its labels, its truth in words and its firings.
fn files(name: &str, made: &SimulatedRecording, format: Format) -> Result<Vec<(String, Vec<u8>)>> {
    let truth = &made.truth;
    let mut files = match format {
        Format::Npy => {
            let mut bytes = Vec::new();
            npy::write(&mut bytes, &[truth.frames, truth.height, truth.width], &made.velocity)
                .map_err(|e| Error::io(format!("{name}.npy"), "write", e))?;
            vec![(format!("{name}.npy"), bytes), (format!("{name}.labels.npz"), npz(name, made, false)?)]
        }
        Format::Npz => vec![(format!("{name}.npz"), npz(name, made, true)?)],
        Format::Safetensors => vec![(format!("{name}.safetensors"), safetensors(name, made)?)],
    };
    let mut words = serde_json::to_vec_pretty(truth).map_err(|e| Error::value("truth", e.to_string()))?;
    words.push(b'\n');
    files.push((format!("{name}.truth.json"), words));
    files.push((format!("{name}.firings.csv"), firings_csv(truth).into_bytes()));
    Ok(files)
}

/// Masks, signals, rate and pixel size, with or without the recording itself.
pub fn npz(name: &str, made: &SimulatedRecording, with_recording: bool) -> Result<Vec<u8>> {
    let truth = &made.truth;
    let (n, frames, height, width) = (truth.units.len(), truth.frames, truth.height, truth.width);
    let build = || {
        let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
        if with_recording {
            npz.add("recording", &[frames, height, width], &made.velocity)?;
        }
        npz.add("masks", &[n, height, width], &truth.masks())?;
        npz.add("signals", &[n, frames], &truth.twitch_trains())?;
        npz.add("fs_hz", &[], &[truth.fs_hz])?;
        npz.add("mm_per_pixel", &[], &[truth.mm_per_pixel])?;
        npz.finish()
    };
    build().map(Cursor::into_inner).map_err(|e| Error::io(format!("{name}.npz"), "write", e))
}

fn safetensors(name: &str, made: &SimulatedRecording) -> Result<Vec<u8>> {
    let truth = &made.truth;
    let (n, frames, height, width) = (truth.units.len(), truth.frames, truth.height, truth.width);
    let fail = |e: safetensors::SafeTensorError| Error::file(format!("{name}.safetensors"), e.to_string());
    let (masks, signals) = (truth.masks(), truth.twitch_trains());
    let recording = TensorView::new(Dtype::F32, vec![frames, height, width], bytemuck::cast_slice(&made.velocity));
    let masks = TensorView::new(Dtype::U8, vec![n, height, width], &masks);
    let signals = TensorView::new(Dtype::F32, vec![n, frames], bytemuck::cast_slice(&signals));
    let tensors = [("recording", recording), ("masks", masks), ("signals", signals)];
    let tensors = tensors.into_iter().map(|(n, t)| t.map(|t| (n, t)).map_err(fail)).collect::<Result<Vec<_>>>()?;
    let metadata = [("fs_hz", truth.fs_hz), ("mm_per_pixel", truth.mm_per_pixel)];
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    safetensors::serialize(tensors, Some(metadata)).map_err(fail)
}

/// When the motor neurons fired: `onset_s,unit_id`, units from 1.
fn firings_csv(truth: &Truth) -> String {
    let units = truth.units.iter().enumerate();
    let mut events: Vec<(f32, usize)> = units.flat_map(|(i, u)| u.firings_s.iter().map(move |t| (*t, i + 1))).collect();
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let lines = events.iter().map(|(t, id)| format!("{t:.4},{id}\n"));
    std::iter::once("onset_s,unit_id\n".to_string()).chain(lines).collect()
}
