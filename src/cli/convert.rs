//! `sarcomere convert`: weights rounded to another float type, for shipping.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sarcomere::nn::Weights;
use sarcomere::tensor::DType;
use serde_json::json;

use super::Outcome;
use super::console::print;

/// Round a network's weights to another float type
#[derive(Args)]
pub struct Arguments {
    /// Weights of a detector or twitch estimator (.safetensors)
    input: PathBuf,
    /// File to write
    output: PathBuf,
    /// Float type
    #[arg(long, value_enum, default_value = "f16")]
    dtype: Float,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Float {
    /// Single precision
    F32,
    /// Half precision
    F16,
    /// Brain float
    Bf16,
}

/// Reads, checks, rounds, writes.
pub fn run(arguments: &Arguments) -> Outcome {
    let weights = Weights::read_any(&arguments.input)?;
    let dtype = match arguments.dtype {
        Float::F32 => DType::F32,
        Float::F16 => DType::F16,
        Float::Bf16 => DType::Bf16,
    };
    let rounded = weights.rounded(dtype)?;
    rounded.write(&arguments.output)?;
    let values: usize = rounded.tensors().values().map(|tensor| tensor.len()).sum();
    let output = arguments.output.display();
    if arguments.json {
        print(&json!({"output": arguments.output, "values": values, "dtype": dtype.to_string()}).to_string());
    } else {
        print(&format!("wrote {values} values as {dtype} to {output}"));
    }
    Ok(())
}
