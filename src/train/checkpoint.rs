//! Everything a training run needs to go on as if it had never stopped: all variables, the step, the configuration. Batches
//! and random numbers are functions of seed and step, so nothing else has a state.

use std::path::Path;

use serde::Serialize;

use crate::graph::Executor;
use crate::tensor::TensorFile;
use crate::{Error, Result};

const STEP: &str = "sarcomere.step";
const RUN: &str = "sarcomere.run";

/// Writes all variables of an executor, beside and then renamed. `run` is the whole configuration of the training run.
pub fn save(path: &Path, executor: &Executor, step: u64, run: &impl Serialize) -> Result<()> {
    let mut file = TensorFile { origin: path.to_path_buf(), ..TensorFile::default() };
    for (name, _) in executor.graph().variables() {
        file.tensors.insert(name.to_owned(), executor.get(name)?);
    }
    file.metadata.insert(STEP.to_owned(), step.to_string());
    file.metadata.insert(RUN.to_owned(), describe(run)?);
    file.write(path)
}

/// Sets all variables from a checkpoint of the same run and returns its step. Fails, changing nothing, if the configuration or
/// any variable differs.
pub fn load(path: &Path, executor: &mut Executor, run: &impl Serialize) -> Result<u64> {
    let file = TensorFile::read(path)?;
    let step = file.text(STEP)?;
    let step = step.parse().map_err(|_| Error::file(path, format!("step '{step}' in the metadata is not a number")))?;
    let (found, expected) = (file.text(RUN)?, describe(run)?);
    if found != expected {
        let message = format!("was made by a run with another configuration; found {found}, expected {expected}");
        return Err(Error::file(path, message));
    }
    let graph = executor.graph().clone();
    let variables = graph.variables();
    for (name, value) in &variables {
        let (found, expected) = (file.tensor(name)?.ty(), graph.ty(*value));
        if found != expected {
            return Err(Error::file(path, format!("tensor '{name}' is {found}, expected {expected}")));
        }
    }
    for (name, _) in variables {
        executor.set(name, file.tensor(name)?)?;
    }
    Ok(step)
}

fn describe(run: &impl Serialize) -> Result<String> {
    // Through a value, so that keys are in one order whoever serialises.
    let value = serde_json::to_value(run).map_err(|error| Error::value("run", error.to_string()))?;
    Ok(value.to_string())
}
