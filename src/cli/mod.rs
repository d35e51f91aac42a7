//! Arguments, messages, exit codes. Each subcommand has a file of its own: its arguments and a function `run`.

mod bench;
mod console;
mod convert;
mod demo;
mod dump;
mod evaluate;
mod identify;
#[cfg(feature = "cuda")]
mod kernels;
mod networks;
mod results;
mod selftest;
mod simulate;
mod train;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sarcomere::device::cuda::Precision;
use sarcomere::{Device, Error, Result};

/// All went well.
const DONE: u8 = 0;
/// Something failed that is not the user's doing.
const INTERNAL: u8 = 1;
/// The input, an argument or a file cannot be used.
const UNUSABLE: u8 = 2;

/// Finds the motor units of a muscle in ultrafast-ultrasound recordings.
#[derive(Parser)]
#[command(version, about, max_term_width = 110, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Identify(identify::Arguments),
    Simulate(simulate::Arguments),
    Train(train::Arguments),
    Convert(convert::Arguments),
    Evaluate(evaluate::Arguments),
    Dump(dump::Arguments),
    Selftest(selftest::Arguments),
    Bench(bench::Arguments),
    #[cfg(feature = "cuda")]
    Kernels(kernels::Arguments),
}

/// What every subcommand understands.
#[derive(Args)]
pub struct Common {
    /// Print results as JSON on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// Where to compute: the first GPU that can be used and else the processor (auto), the processor, or a GPU
    #[arg(long, value_name = "auto|cpu|cuda[:N]", default_value = "auto")]
    device: String,
    /// What matrix products and convolutions round to on a GPU
    #[arg(long, value_name = "f32|tf32|bf16", default_value = "f32")]
    precision: String,
}

impl Common {
    /// The device asked for; `auto` says on standard error which one it took and why.
    ///
    /// # Errors
    /// If there is no such device.
    fn open_device(&self) -> sarcomere::Result<Device> {
        let (device, why) = Device::from_name_with(&self.device, Precision::from_name(&self.precision)?)?;
        if let (Some(why), false) = (why, self.json) {
            console::note(&format!("device: {}: {why}", device.describe()));
        }
        Ok(device)
    }
}

/// Runs the subcommand and tells the exit code: 0 done, 1 internal failure, 2 unusable input or argument.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Identify(arguments) => identify::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Dump(arguments) => dump::run(&arguments),
        Command::Selftest(arguments) => selftest::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        #[cfg(feature = "cuda")]
        Command::Kernels(arguments) => kernels::run(&arguments),
    };
    ExitCode::from(match result {
        Ok(()) => DONE,
        Err(Failure::Reported) => UNUSABLE,
        Err(Failure::Error(error)) => {
            console::complain(&error);
            code(&error)
        }
    })
}

/// Why a subcommand ends before its time.
pub enum Failure {
    /// It has said why.
    Reported,
    /// It is yet to be said.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

/// A subcommand's result.
pub type Outcome = std::result::Result<(), Failure>;

fn code(error: &Error) -> u8 {
    match error {
        Error::Value { .. } | Error::File { .. } | Error::Io { .. } | Error::Device { .. } => UNUSABLE,
        Error::Op { .. } | Error::Graph { .. } => INTERNAL,
    }
}

/// An argument's value within limits, or words that say which.
fn within<T: PartialOrd + std::fmt::Display>(name: &str, value: T, low: T, high: T) -> Result<T> {
    if value >= low && value <= high {
        return Ok(value);
    }
    Err(Error::value(name, format!("expected {low} to {high}, got {value}: choose a value in between")))
}
