//! `sarcomere selftest`: does this device compute what it should?

use clap::Args;
use sarcomere::selftest::{self, Options, Outcome as Part};
use sarcomere::{Device, Error, Result};
use serde_json::json;

use super::console::print;
use super::{Common, Outcome};

/// Check a device: every op against plain loops, both networks against the processor
#[derive(Args)]
pub struct Arguments {
    /// Problems of each family of ops
    #[arg(long, default_value_t = 12, value_name = "N")]
    problems: u64,
    /// Seed of the first one
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Only parts with this in their name
    #[arg(long, default_value = "", value_name = "TEXT")]
    filter: String,
    /// Only the ops
    #[arg(long)]
    no_networks: bool,
    /// Fill what kernels are to write with NaN and look for writes beyond it; slow, on a GPU only
    #[arg(long)]
    guarded: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs all parts; any failure is an error.
pub fn run(arguments: &Arguments) -> Outcome {
    if !(1..=100_000).contains(&arguments.problems) {
        return Err(Error::value("--problems", format!("expected 1 to 100000, got {}", arguments.problems)).into());
    }
    let device = arguments.common.open_device()?;
    let device = if arguments.guarded { guarded(device)? } else { device };
    let options = Options {
        problems: arguments.problems,
        seed: arguments.seed,
        networks: !arguments.no_networks,
        filter: arguments.filter.clone(),
    };
    let json = arguments.common.json;
    if !json {
        print(&format!("device  {}\n\n{:<24} {:>8} {:>8} {:>8}", device.describe(), "part", "problems", "failed", "s"));
    }
    let parts = selftest::run(&device, &options, |part| {
        if !json {
            print(&row(part));
        }
    })?;
    if parts.is_empty() {
        let message = format!("no part has '{}' in its name; without it all are listed", arguments.filter);
        return Err(Error::value("--filter", message).into());
    }
    let failed: usize = parts.iter().map(|part| part.failures.len()).sum();
    if json {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| json!({"part": part.name, "problems": part.problems, "failures": part.failures, "seconds": part.seconds}))
            .collect();
        print(&json!({"device": device.describe(), "failed": failed, "parts": parts}).to_string());
    }
    if failed > 0 {
        return Err(Error::graph(format!("selftest: {failed} problems failed on {}", device.describe())).into());
    }
    if !json {
        print("\nall passed");
    }
    Ok(())
}

/// The GPU, watching what kernels write.
fn guarded(device: Device) -> Result<Device> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => std::sync::Arc::into_inner(cuda)
            .map(|cuda| Device::Cuda(std::sync::Arc::new(cuda.guarded(true))))
            .ok_or_else(|| Error::value("--guarded", "the GPU is in use".to_owned())),
        Device::Cpu(_) => {
            let message = "the device is the processor, whose writes the compiler bounds; use --device cuda";
            Err(Error::value("--guarded", message.to_owned()))
        }
    }
}

fn row(part: &Part) -> String {
    let (problems, failed, seconds) = (part.problems, part.failures.len(), part.seconds);
    let mut text = format!("{:<24} {problems:>8} {failed:>8} {seconds:>8.2}", part.name);
    // The first tells most.
    if let Some(first) = part.failures.first() {
        text += &format!("\n    {first}");
    }
    text
}
