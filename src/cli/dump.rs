//! `sarcomere dump`: a network's graph in words, before anything runs.

use clap::{Args, ValueEnum};
use sarcomere::Error;
use sarcomere::detector::{Detector, DetectorConfig};
use sarcomere::graph::Dump;
use sarcomere::train::{Clip, DetectorRun, TwitchRun, detector_step, twitch_step};
use sarcomere::twitch::{TwitchConfig, TwitchEstimator};

use super::console::print;
use super::{Common, Outcome};

/// Show a network's nodes, shapes, bytes, FLOPs, kernels and peak memory
#[derive(Args)]
pub struct Arguments {
    /// Which network
    #[arg(value_enum)]
    network: Network,
    /// Size of the network
    #[arg(long, default_value = "lite", value_name = "lite|paper")]
    preset: String,
    /// The training step (forward, backward, optimizer) instead of inference
    #[arg(long)]
    training: bool,
    /// Recordings (or crops) a training step
    #[arg(long, default_value_t = 8, requires = "training")]
    batch: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, ValueEnum)]
enum Network {
    /// Recording to territories
    Detector,
    /// Recording and territory to twitch train
    Twitch,
}

/// Plans the graph and prints it.
pub fn run(arguments: &Arguments) -> Outcome {
    let device = arguments.common.open_device()?;
    if !(1..=1024).contains(&arguments.batch) {
        return Err(Error::value("--batch", format!("expected 1 to 1024, got {}", arguments.batch)).into());
    }
    let (graph, targets) = match (arguments.network, arguments.training) {
        (Network::Detector, false) => {
            let (graph, _, targets) = Detector::graph(&DetectorConfig::preset(&arguments.preset)?)?;
            (graph, targets)
        }
        (Network::Twitch, false) => {
            let (graph, _, targets) = TwitchEstimator::graph(&TwitchConfig::preset(&arguments.preset)?)?;
            (graph, targets)
        }
        (Network::Detector, true) => {
            let config = DetectorConfig::preset(&arguments.preset)?;
            let run = if arguments.preset == "paper" { DetectorRun::paper(1) } else { DetectorRun::lite(1) };
            detector_step(&config, arguments.batch, &run.optimizer, Clip::Global(run.clip_norm))?
        }
        (Network::Twitch, true) => {
            let config = TwitchConfig::preset(&arguments.preset)?;
            let run = if arguments.preset == "paper" { TwitchRun::paper(1) } else { TwitchRun::lite(1) };
            twitch_step(&config, arguments.batch, 40, &run.optimizer, Clip::Global(run.clip_norm))?
        }
    };
    let dump = Dump::new(&graph, &targets, &device)?;
    if arguments.common.json {
        print(&dump.json().to_string());
    } else {
        print(dump.text().trim_end());
    }
    Ok(())
}
