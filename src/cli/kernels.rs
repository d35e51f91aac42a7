//! `sarcomere kernels`: what runs on GPUs, compiled without one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sarcomere::Error;
use sarcomere::device::cuda::{Architecture, Bundle, Compiler, KernelCache, Precision, Sources, Target};
use sarcomere::selftest::catalogue;

use super::Outcome;
use super::console::{note, print};

/// Compile the GPU kernels ahead of time
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compile(Compile),
}

/// Compile every kernel of both networks and of the selftest for some architectures into one file: with SARCOMERE_CUBINS naming it,
/// at run time or when the program is built, a machine needs the driver and no compiler
#[derive(Args)]
struct Compile {
    /// Architectures, as in 80,90
    #[arg(long, value_delimiter = ',', required = true, value_name = "N,N")]
    arch: Vec<u32>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::Compile(compile) => run_compile(compile),
    }
}

fn run_compile(arguments: &Compile) -> Outcome {
    let mut bundle = Bundle::default();
    for &number in &arguments.arch {
        let architecture = Architecture { number };
        if !Architecture::CHECKED.contains(&architecture) {
            let known: Vec<String> = Architecture::CHECKED.iter().map(|known| known.number.to_string()).collect();
            let message = format!("{number} is not one that kernels are checked for; use some of {}", known.join(", "));
            return Err(Error::value("--arch", message).into());
        }
        let sources = Sources::from_environment()?;
        let compiler = Compiler::new(architecture, sources, KernelCache::from_environment()?, Bundle::empty());
        let before = bundle.len();
        let mut modules = BTreeSet::new();
        for precision in Precision::ALL {
            modules.extend(catalogue(&Target::typical(architecture, precision))?.into_keys());
        }
        bundle.add(&compiler, &modules.into_iter().collect::<Vec<_>>())?;
        note(&format!("{architecture}: {} modules", bundle.len() - before));
    }
    bundle.write(&arguments.out)?;
    print(&arguments.out.display().to_string());
    Ok(())
}
