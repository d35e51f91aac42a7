//! Whole training steps as graphs, to be planned, dumped or listed without a run.

use super::optimizer::{Clip, Optimizer, append_optimizer, fuse_step};
use crate::Result;
use crate::detector::{self, DetectorConfig, TrainingOptions};
use crate::graph::{Graph, Value};
use crate::nn;
use crate::twitch::{TwitchConfig, TwitchNetwork};

/// A step of the detector on `batch` recordings: forward, backward, optimizer. Returns the graph and what makes the step happen: the
/// loss and the updated variables.
pub fn detector_step(
    config: &DetectorConfig,
    batch: usize,
    optimizer: &Optimizer,
    clip: Clip,
) -> Result<(Graph, Vec<Value>)> {
    let mut g = Graph::new();
    let loss = detector::training(&mut g, config, batch, TrainingOptions::default())?.total;
    with_optimizer(g, loss, optimizer, clip)
}

/// As [`detector_step`], of the twitch estimator on `batch` recordings of up to `max_units` units (or as many crops).
pub fn twitch_step(
    config: &TwitchConfig,
    batch: usize,
    max_units: usize,
    optimizer: &Optimizer,
    clip: Clip,
) -> Result<(Graph, Vec<Value>)> {
    let mut g = Graph::new();
    let network = TwitchNetwork::build(&mut g, config, batch, max_units, true)?;
    let target = g.input("target", g.ty(network.signal).clone())?;
    let loss = g.amplitude_mse_loss(network.signal, target, network.counts())?;
    with_optimizer(g, loss, optimizer, clip)
}

fn with_optimizer(mut g: Graph, loss: Value, optimizer: &Optimizer, clip: Clip) -> Result<(Graph, Vec<Value>)> {
    let trained = nn::trainable(&g);
    let optimizer = append_optimizer(&mut g, loss, &trained, optimizer, clip)?;
    let targets = [&[loss][..], &optimizer.updates].concat();
    fuse_step(&mut g, &targets);
    Ok((g, targets))
}
