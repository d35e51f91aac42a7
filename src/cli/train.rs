//! `sarcomere train`: trains a network on simulated recordings.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use sarcomere::detector::{self, Detector};
use sarcomere::device::Device;
use sarcomere::identify::{built_in_detector, detector_for_windows};
use sarcomere::nn::Weights;
use sarcomere::train::{DetectorRun, DetectorTask, Progress as Report, RunOptions, Task, TwitchRun, TwitchTask};
use sarcomere::twitch;
use sarcomere::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::console::{Progress, note, print};
use super::identify::named;
use super::{Common, Outcome, within};

/// Train a network on simulated recordings
#[derive(Args)]
pub struct Arguments {
    /// Which network
    #[arg(value_enum)]
    network: Network,
    /// Folder for the log, checkpoints and weights
    #[arg(long, default_value = "sarcomere-training")]
    out: PathBuf,
    /// Size of the network
    #[arg(long, default_value = "lite", value_name = "lite|paper")]
    preset: String,
    /// Configuration of the run as JSON (as in the first line of a log) instead of a preset
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Steps of the whole run [default: 4000 for lite, the paper's own for paper]
    #[arg(long, conflicts_with = "config")]
    steps: Option<u64>,
    /// Recordings (or crops) a step
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of first weights and recordings
    #[arg(long)]
    seed: Option<u64>,
    /// Go on from the folder's checkpoint
    #[arg(long)]
    resume: bool,
    /// Start from these weights instead of random ones
    #[arg(long, value_name = "FILE")]
    start_from: Option<PathBuf>,
    /// Trained detector whose territories the twitch estimator is to learn from [default: the built-in one]
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// Stop, with a checkpoint, after this many minutes
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Steps between validations
    #[arg(long, default_value_t = 250)]
    validate_every: u64,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 100)]
    checkpoint_every: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Network {
    /// Recording to territories
    Detector,
    /// Recording and territory to twitch train
    Twitch,
}

/// Trains to the end, to the time limit or to Ctrl-C; a checkpoint is kept in each case.
pub fn run(arguments: &Arguments) -> Outcome {
    let device = arguments.common.open_device()?;
    within("--steps", arguments.steps.unwrap_or(1), 1, 1_000_000_000)?;
    within("--batch", arguments.batch.unwrap_or(1), 1, 1024)?;
    within("--minutes", arguments.minutes.unwrap_or(0.0), 0.0, 1e6)?;
    let lite_steps = arguments.steps.unwrap_or(4000);
    match arguments.network {
        Network::Detector => {
            let mut run = match (&arguments.config, arguments.preset.as_str()) {
                (Some(path), _) => read_config(path)?,
                (None, "lite") => DetectorRun::lite(lite_steps),
                (None, "paper") => DetectorRun::paper(arguments.steps.unwrap_or(DetectorRun::PAPER_STEPS)),
                (None, other) => return Err(unknown_preset(other).into()),
            };
            run.batch = arguments.batch.unwrap_or(run.batch);
            run.seed = arguments.seed.unwrap_or(run.seed);
            let mut task = DetectorTask::new(&device, run).map_err(|e| in_config(arguments, e))?;
            if let Some(path) = &arguments.start_from {
                task.training_mut().start_from(&Weights::read(path, detector::KIND)?)?;
            }
            train(arguments, &mut task)
        }
        Network::Twitch => {
            let mut run = match (&arguments.config, arguments.preset.as_str()) {
                (Some(path), _) => read_config(path)?,
                (None, "lite") => TwitchRun::lite(lite_steps),
                (None, "paper") => TwitchRun::paper(arguments.steps.unwrap_or(TwitchRun::PAPER_STEPS)),
                (None, other) => return Err(unknown_preset(other).into()),
            };
            run.batch = arguments.batch.unwrap_or(run.batch);
            run.seed = arguments.seed.unwrap_or(run.seed);
            let detector = if run.detected_share > 0.0 { Some(load_detector(arguments, &device)?) } else { None };
            let mut task = TwitchTask::new(&device, run, detector).map_err(|e| in_config(arguments, e))?;
            if let Some(path) = &arguments.start_from {
                task.training_mut().start_from(&Weights::read(path, twitch::KIND)?)?;
            }
            train(arguments, &mut task)
        }
    }
}

fn load_detector(arguments: &Arguments, device: &Device) -> Result<Detector> {
    match &arguments.detector {
        Some(path) => detector_for_windows(device, &Weights::read(path, detector::KIND)?),
        None => detector_for_windows(device, &built_in_detector()?),
    }
}

fn train<T: Task>(arguments: &Arguments, task: &mut T) -> Outcome {
    let options = RunOptions {
        folder: arguments.out.clone(),
        resume: arguments.resume,
        log_every: 10,
        validate_every: arguments.validate_every.max(1),
        checkpoint_every: arguments.checkpoint_every.max(1),
        time_limit_s: arguments.minutes.map(|minutes| 60.0 * minutes),
    };
    let peak = task.training().executor().plan().peak_bytes();
    note(&format!("memory: {:.0} MiB for the training step", peak as f64 / (1 << 20) as f64));
    let stop = Arc::new(AtomicBool::new(false));
    let signalled = stop.clone();
    // Without the handler Ctrl-C ends the program at once, which loses steps but no file.
    let _ = ctrlc::set_handler(move || signalled.store(true, Ordering::Relaxed));
    let bar = Progress::new("training");
    let show = |report: &Report<'_>| {
        let loss = report.figures.first().map_or(0.0, |(_, value)| *value);
        let minutes = (report.left_s / 60.0).ceil();
        bar.doing(format!("loss {loss:.4}, {:.1} recordings a second, {minutes} min left", report.rate));
        bar.at(report.step as usize, report.steps as usize);
    };
    let done = sarcomere::train::run(task, &options, show, || stop.load(Ordering::Relaxed))?;
    drop(bar);
    let steps = task.training().steps();
    if arguments.common.json {
        print(&json!({"steps_done": done, "steps": steps, "folder": arguments.out}).to_string());
    } else {
        // The best weights are there once there was a validation.
        let files = ["best.safetensors", "last.safetensors"].map(|name| arguments.out.join(name));
        let files: Vec<String> = files.iter().filter(|f| f.exists()).map(|f| f.display().to_string()).collect();
        print(&format!("{done} of {steps} steps done; weights in {}", files.join(" and ")));
    }
    Ok(())
}

fn read_config<C: DeserializeOwned>(path: &PathBuf) -> Result<C> {
    let text = std::fs::read(path).map_err(|error| Error::io(path, "read", error))?;
    let remedy = "write it as `config` in the first line of a log";
    let error = |error| Error::file(path, format!("not a training configuration ({error}): {remedy}"));
    serde_json::from_slice(&text).map_err(error)
}

/// The same complaint, naming the file that the configuration is from.
fn in_config(arguments: &Arguments, error: Error) -> Error {
    match &arguments.config {
        Some(path) => named(path, error),
        None => error,
    }
}

fn unknown_preset(name: &str) -> Error {
    Error::value("--preset", format!("expected lite or paper, got '{name}'"))
}
