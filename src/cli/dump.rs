//! `sarcomere dump`: a network's graph in words, before anything runs.

use clap::{Args, ValueEnum};
use sarcomere::Error;
use sarcomere::detector::{self, Detector, DetectorConfig, TrainingOptions};
use sarcomere::graph::{Dump, Graph, Value};
use sarcomere::nn;
use sarcomere::train::{Clip, DetectorRun, Optimizer, TwitchRun, append_optimizer};
use sarcomere::twitch::{TwitchConfig, TwitchEstimator, TwitchNetwork};

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
            let mut g = Graph::new();
            let config = DetectorConfig::preset(&arguments.preset)?;
            let values = detector::training(&mut g, &config, arguments.batch, TrainingOptions::default())?;
            let run = if arguments.preset == "paper" { DetectorRun::paper(1) } else { DetectorRun::lite(1) };
            with_optimizer(g, values.total, &run.optimizer, run.clip_norm)?
        }
        (Network::Twitch, true) => {
            let mut g = Graph::new();
            let config = TwitchConfig::preset(&arguments.preset)?;
            let network = TwitchNetwork::build(&mut g, &config, arguments.batch, 40, true)?;
            let target = g.input("target", g.ty(network.signal).clone())?;
            let loss = g.amplitude_mse_loss(network.signal, target, network.counts())?;
            let run = if arguments.preset == "paper" { TwitchRun::paper(1) } else { TwitchRun::lite(1) };
            with_optimizer(g, loss, &run.optimizer, run.clip_norm)?
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

/// As a training run of that preset has it.
fn with_optimizer(
    mut g: Graph,
    loss: Value,
    optimizer: &Optimizer,
    norm: f32,
) -> sarcomere::Result<(Graph, Vec<Value>)> {
    let trained = nn::trainable(&g);
    let optimizer = append_optimizer(&mut g, loss, &trained, optimizer, Clip::Global(norm))?;
    let targets = [&[loss][..], &optimizer.updates].concat();
    Ok((g, targets))
}
