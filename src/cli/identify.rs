//! `sarcomere identify`: the motor units of recordings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use sarcomere::identify::report::{About, Folder, KnownUnit};
use sarcomere::identify::{Options, ReadOptions, check_length};
use sarcomere::{Error, Recording, Result};
use serde_json::{Value, json};

use super::console::{Progress, bold, complain, print};
use super::networks::{Networks, Weights};
use super::results::{self, Done, Job};
use super::{Common, Failure, Outcome};

/// Find the motor units of recordings
#[derive(Args)]
pub struct Arguments {
    /// Recordings [T, H, W]: .npy, .npz or .safetensors
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    pub reading: Reading,
    /// Folder to write to: one folder for each file, named by its stem
    #[arg(long, default_value = "sarcomere-results")]
    out: PathBuf,
    /// In how many windows of 1 s a unit must be found, in recordings of three windows or more
    #[arg(long, default_value_t = 2, value_name = "N")]
    min_windows: usize,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    common: Common,
}

/// How a recording is read.
#[derive(Args)]
pub struct Reading {
    /// Frame rate in Hz [default: what the file says, else 400]
    #[arg(long)]
    fs: Option<f64>,
    /// Pixel size in mm [default: what the file says, else the longer side is taken as 40 mm]
    #[arg(long)]
    mm_per_pixel: Option<f64>,
    /// Which array of a .npz or .safetensors file
    #[arg(long, value_name = "NAME")]
    array: Option<String>,
    /// Unit of the velocities, for the labels of tables and pictures
    #[arg(long, value_name = "UNIT")]
    velocity_unit: Option<String>,
}

impl Reading {
    /// An option that was given, if any.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--fs", self.fs.is_some()),
            ("--mm-per-pixel", self.mm_per_pixel.is_some()),
            ("--array", self.array.is_some()),
            ("--velocity-unit", self.velocity_unit.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }

    /// Reads a recording and, where the file has them, its true units.
    pub fn read(&self, path: &Path) -> Result<(Recording, Option<Vec<KnownUnit>>)> {
        let array = self.array.clone();
        let options = ReadOptions { fs_hz: self.fs, mm_per_pixel: self.mm_per_pixel, array, ..ReadOptions::default() };
        let recording = Recording::read(path, &options)?;
        check_length(&recording).map_err(|e| named(path, e))?;
        let truth = KnownUnit::read(path, &recording)?;
        Ok((recording, truth))
    }

    /// What is said about the velocities of a file.
    pub fn job<'a>(&self, path: &Path, recording: &'a Recording, truth: Option<&'a [KnownUnit]>) -> Job<'a> {
        let source = path.display().to_string();
        Job { recording, truth, about: About { source, velocity_unit: self.velocity_unit.clone(), ..About::default() } }
    }
}

/// Searches every file; one that cannot be used does not hinder the others.
pub fn run(arguments: &Arguments) -> Outcome {
    distinct(&arguments.files)?;
    let mut networks = None;
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for path in &arguments.files {
        match search(path, arguments, &mut networks) {
            Ok(done) => {
                if !arguments.common.json {
                    if arguments.files.len() > 1 {
                        print(&bold(&path.display().to_string()));
                    }
                    results::show(&done);
                    if arguments.files.len() > 1 {
                        print("");
                    }
                }
                found.push(done.json);
            }
            Err(error) => {
                complain(&error);
                failed.push((path, error));
            }
        }
    }
    if arguments.common.json {
        let failed: Vec<Value> =
            failed.iter().map(|(path, e)| json!({ "file": path, "error": e.to_string() })).collect();
        print(&json!({ "results": found, "failed": failed }).to_string());
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

/// Searches one file; the networks are loaded once there is something to search.
fn search(path: &Path, arguments: &Arguments, networks: &mut Option<Networks>) -> Result<Done> {
    let (recording, truth) = {
        let _progress = Progress::new(format!("reading {}", path.display()));
        arguments.reading.read(path)?
    };
    let mut folder = Folder::open(arguments.out.join(recording.name()))?;
    let networks = match networks {
        Some(networks) => networks,
        None => networks.insert(Networks::load(&arguments.common, &arguments.weights)?),
    };
    let job = arguments.reading.job(path, &recording, truth.as_deref());
    let options = Options { min_windows: arguments.min_windows, ..Options::default() };
    results::process(job, networks, &options, &mut folder, Vec::new()).map_err(|e| named(path, e))
}

/// The same complaint about a value, naming the file it is about.
pub fn named(path: &Path, error: Error) -> Error {
    match error {
        Error::Value { field, message } => Error::file(path, format!("{field}: {message}")),
        other => other,
    }
}

/// Refuses files whose results would go to one folder.
fn distinct(files: &[PathBuf]) -> Result<()> {
    let mut stems: HashMap<_, &PathBuf> = HashMap::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default();
        if let Some(other) = stems.insert(stem, file) {
            let advice = "results go to a folder named by the file's stem: rename one or search them in two runs";
            return Err(Error::file(
                file,
                format!("name: expected another stem than that of {}: {advice}", other.display()),
            ));
        }
    }
    Ok(())
}
