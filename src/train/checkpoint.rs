//! Everything a training run needs to go on as if it had never stopped: all variables, the step, the best score, the
//! configuration. Batches
//! and random numbers are functions of seed and step, so nothing else has a state.

use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use crate::graph::Executor;
use crate::tensor::TensorFile;
use crate::{Error, Result};

const STEP: &str = "sarcomere.step";
const BEST: &str = "sarcomere.best";
const RUN: &str = "sarcomere.run";

/// Writes all variables of an executor, beside and then renamed. `run` is the whole configuration of the training run; `best`
/// the best validation score so far.
pub fn save(path: &Path, executor: &Executor, step: u64, best: Option<f64>, run: &impl Serialize) -> Result<()> {
    let mut file = TensorFile { origin: path.to_path_buf(), ..TensorFile::default() };
    for (name, _) in executor.graph().variables() {
        file.tensors.insert(name.to_owned(), executor.get(name)?);
    }
    file.metadata.insert(STEP.to_owned(), step.to_string());
    if let Some(best) = best {
        file.metadata.insert(BEST.to_owned(), best.to_string());
    }
    file.metadata.insert(RUN.to_owned(), describe(run)?);
    file.write(path)
}

/// A checkpoint that was read.
pub struct Checkpoint {
    file: TensorFile,
    /// Steps done.
    pub step: u64,
    /// Best validation score so far, if there was a validation.
    pub best: Option<f64>,
}

impl Checkpoint {
    /// Reads a checkpoint. Fails if it was made by a run of another configuration.
    pub fn read(path: &Path, run: &impl Serialize) -> Result<Self> {
        let file = TensorFile::read(path)?;
        let step = number(&file, STEP, file.text(STEP)?)?;
        let best = file.metadata.get(BEST).map(|text| number(&file, BEST, text)).transpose()?;
        let (found, expected) = (file.text(RUN)?, describe(run)?);
        if found != expected {
            let message = format!(
                "was made by a run with another configuration: resume with that one or choose another folder; found \
                 {found}, expected {expected}"
            );
            return Err(Error::file(path, message));
        }
        Ok(Self { file, step, best })
    }

    /// Sets all variables of an executor. Fails, changing nothing, if one is missing or of another type.
    pub fn set_into(&self, executor: &mut Executor) -> Result<()> {
        let graph = executor.graph().clone();
        let variables = graph.variables();
        for (name, value) in &variables {
            let (found, expected) = (self.file.tensor(name)?.ty(), graph.ty(*value));
            if found != expected {
                let message = format!("tensor '{name}' is {found}, expected {expected}");
                return Err(Error::file(&self.file.origin, message));
            }
        }
        variables.iter().try_for_each(|(name, _)| executor.set(name, self.file.tensor(name)?))
    }
}

fn number<T: FromStr>(file: &TensorFile, key: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::file(&file.origin, format!("metadata {key}: expected a number, got '{text}'")))
}

fn describe(run: &impl Serialize) -> Result<String> {
    // Through a value, so that keys are in one order whoever serialises.
    let value = serde_json::to_value(run).map_err(|error| Error::value("run", error.to_string()))?;
    Ok(value.to_string())
}
