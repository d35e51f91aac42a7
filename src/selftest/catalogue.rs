//! Every kernel that the networks launch, listed without a GPU.

use std::collections::BTreeMap;

use crate::Result;
use crate::detector::{self, Detector, DetectorConfig, TrainingOptions};
use crate::device::cuda::{Module, SOURCES, Target, Types};
use crate::graph::{Graph, Value};
use crate::nn;
use crate::tensor::TensorType;
use crate::train::{Clip, Optimizer, append_optimizer};
use crate::twitch::{TwitchConfig, TwitchEstimator, TwitchNetwork};

/// Modules with the kernels (and their threads a block) launched from them by both networks in both presets, inference and training, on `target`; and every
/// other source without constants, so that none is left out.
pub fn catalogue(target: &Target) -> Result<BTreeMap<Module, BTreeMap<String, u32>>> {
    let mut found: BTreeMap<Module, BTreeMap<String, u32>> = BTreeMap::new();
    for graph in network_graphs()? {
        let types = |values: &[Value]| -> Vec<TensorType> { values.iter().map(|v| graph.ty(*v).clone()).collect() };
        for node in graph.nodes().iter().filter(|node| !node.op.is_view()) {
            let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
            let needed = vec![true; outputs.len()];
            let types = Types { inputs: &inputs, outputs: &outputs, needed: &needed };
            let work = node.op.cuda(target, &types).map_err(|error| error.inside(&node.name))?;
            for launch in work.launches() {
                found.entry(launch.module.clone()).or_default().insert(launch.kernel.clone(), launch.block);
            }
        }
    }
    for source in SOURCES.iter().filter_map(|(name, _)| name.strip_suffix(".cu")) {
        if !found.keys().any(|module| module.source == source) {
            found.insert(Module { source, constants: Vec::new() }, BTreeMap::new());
        }
    }
    Ok(found)
}

/// Inference (rewritten) and training step of both networks in both presets.
fn network_graphs() -> Result<Vec<Graph>> {
    let mut graphs = Vec::new();
    for (detector, twitch) in
        [(DetectorConfig::lite(), TwitchConfig::lite()), (DetectorConfig::paper(), TwitchConfig::paper())]
    {
        graphs.push(Detector::graph(&detector)?.0);
        graphs.push(TwitchEstimator::graph(&twitch)?.0);
        let mut g = Graph::new();
        let total = detector::training(&mut g, &detector, 2, TrainingOptions::default())?.total;
        let trained = nn::trainable(&g);
        append_optimizer(
            &mut g,
            total,
            &trained,
            &Optimizer::Sgd { momentum: 0.9, decay: 1e-4 },
            Clip::PerTensor(5.0),
        )?;
        graphs.push(g);
        let mut g = Graph::new();
        let network = TwitchNetwork::build(&mut g, &twitch, 2, 8, true)?;
        let target = g.input("target", g.ty(network.signal).clone())?;
        let loss = g.amplitude_mse_loss(network.signal, target, network.counts())?;
        let trained = nn::trainable(&g);
        append_optimizer(
            &mut g,
            loss,
            &trained,
            &Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 1e-4 },
            Clip::Global(1.0),
        )?;
        graphs.push(g);
    }
    Ok(graphs)
}
