//! The loop: steps, log, validation, checkpoints.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::checkpoint::{self, Checkpoint};
use super::step::TrainingStep;
use crate::nn::Weights;
use crate::{Error, Result};

/// Named figures of a step or a validation.
pub type Figures = Vec<(&'static str, f64)>;

/// Something that can be trained step by step.
pub trait Task {
    /// What the run is: network and training configuration. A checkpoint goes with exactly one.
    type Config: Serialize;

    /// The configuration.
    fn config(&self) -> &Self::Config;

    /// Recordings (or crops) of one step, for the rate in the log.
    fn batch(&self) -> usize;

    /// Runs step `step` (counted from 0); its data and random numbers depend on the seed and this number only.
    fn step(&mut self, step: u64) -> Result<Figures>;

    /// Figures on recordings that training never sees; the first is the one to maximise.
    fn validate(&mut self) -> Result<Figures>;

    /// Holds all variables and knows the number of steps.
    fn training(&self) -> &TrainingStep;

    /// As above.
    fn training_mut(&mut self) -> &mut TrainingStep;

    /// The network's weights, without the optimizer's state.
    fn weights(&self) -> Result<Weights>;
}

/// Where and how often things are written.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Folder for `log.jsonl`, `checkpoint.safetensors`, `best.safetensors` and `last.safetensors`.
    pub folder: PathBuf,
    /// Go on from the folder's checkpoint.
    pub resume: bool,
    /// Steps between log lines.
    pub log_every: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Stop (with a checkpoint) after this many seconds.
    pub time_limit_s: Option<f64>,
}

/// What a progress line shows.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Recordings (or crops) a second, over this session.
    pub rate: f64,
    /// Seconds left at this rate.
    pub left_s: f64,
    /// Figures of the last step.
    pub figures: &'a Figures,
}

/// Trains to the end, or until `stop` says so (a checkpoint is written then). Returns the steps done.
pub fn run<T: Task>(
    task: &mut T,
    options: &RunOptions,
    mut progress: impl FnMut(&Progress<'_>),
    stop: impl Fn() -> bool,
) -> Result<u64> {
    let checkpoint_path = options.folder.join("checkpoint.safetensors");
    let (first, mut best) = match (options.resume, checkpoint_path.exists()) {
        (true, true) => resume(task, &checkpoint_path)?,
        (true, false) => {
            return Err(Error::file(&checkpoint_path, "does not exist: there is no run to resume in this folder"));
        }
        (false, true) => {
            let message = "already exists: resume the run, or choose another folder";
            return Err(Error::file(&checkpoint_path, message));
        }
        (false, false) => (0, None),
    };
    std::fs::create_dir_all(&options.folder).map_err(|error| Error::io(&options.folder, "create", error))?;
    let mut log = Log::open(&options.folder.join("log.jsonl"))?;
    log.line(&json!({"event": "start", "step": first, "config": task.config()}))?;
    let begin = Instant::now();
    let steps = task.training().steps();
    let mut step = first;
    while step < steps {
        let figures = task.step(step)?;
        step += 1;
        let elapsed = begin.elapsed().as_secs_f64();
        let rate = ((step - first) * task.batch() as u64) as f64 / elapsed;
        let left_s = (steps - step) as f64 * elapsed / (step - first) as f64;
        progress(&Progress { step, steps, rate, left_s, figures: &figures });
        if let Some((name, value)) = figures.iter().find(|(_, value)| !value.is_finite()) {
            let message = format!("{name} is {value} at step {step}: the run has diverged; lower the learning rate");
            return Err(Error::value("training", message));
        }
        if step % options.log_every == 0 || step == steps {
            log.figures("step", step, &figures, elapsed, rate)?;
        }
        let halt = stop() || options.time_limit_s.is_some_and(|limit| elapsed > limit);
        if step % options.validate_every == 0 || step == steps {
            let figures = task.validate()?;
            log.figures("validation", step, &figures, begin.elapsed().as_secs_f64(), rate)?;
            if let Some((_, value)) = figures.first()
                && best.is_none_or(|best| *value > best)
            {
                best = Some(*value);
                task.weights()?.write(options.folder.join("best.safetensors"))?;
            }
        }
        if step % options.checkpoint_every == 0 || step == steps || halt {
            checkpoint::save(&checkpoint_path, task.training().executor(), step, best, task.config())?;
            task.weights()?.write(options.folder.join("last.safetensors"))?;
        }
        if halt {
            break;
        }
    }
    Ok(step)
}

/// Steps done and best score of the checkpoint that the task goes on from.
fn resume<T: Task>(task: &mut T, path: &Path) -> Result<(u64, Option<f64>)> {
    let checkpoint = Checkpoint::read(path, task.config())?;
    let training = task.training_mut();
    // Its variables are those of the phase of the last step, even where the next step begins another.
    training.enter(checkpoint.step.saturating_sub(1))?;
    checkpoint.set_into(training.executor_mut())?;
    Ok((checkpoint.step, checkpoint.best))
}

struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: file.map_err(|error| Error::io(path, "write", error))?, path: path.to_path_buf() })
    }

    fn line(&mut self, json: &serde_json::Value) -> Result<()> {
        writeln!(self.file, "{json}").map_err(|error| Error::io(&self.path, "write", error))
    }

    fn figures(&mut self, event: &str, step: u64, figures: &Figures, elapsed_s: f64, rate: f64) -> Result<()> {
        let figures: serde_json::Map<String, serde_json::Value> =
            figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        self.line(&json!({
            "event": event, "step": step, "elapsed_s": elapsed_s, "per_second": rate, "figures": figures,
        }))
    }
}
