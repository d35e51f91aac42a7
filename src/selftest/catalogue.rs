//! Every kernel that the networks launch, listed without a GPU.

use std::collections::BTreeMap;

use super::primitives::{Primitive, PrimitiveProblem};
use crate::Result;
use crate::detector::{Detector, DetectorConfig};
use crate::device::cuda::{Module, SOURCES, Target, Types};
use crate::graph::{Graph, Value};
use crate::muscle::{Noise, SimulatorConfig, Split};
use crate::ops::problem;
use crate::tensor::TensorType;
use crate::train::{Clip, Optimizer, detector_step, twitch_step};
use crate::twitch::{TwitchConfig, TwitchEstimator};

/// Modules with the kernels (and their threads a block) launched from them by both networks in both presets, inference and
/// training, by the simulator and by the conformance of primitives, on `target`; and every other source without constants, so
/// that none is left out.
pub fn catalogue(target: &Target) -> Result<BTreeMap<Module, BTreeMap<String, u32>>> {
    let mut found: BTreeMap<Module, BTreeMap<String, u32>> = BTreeMap::new();
    for graph in network_graphs()?.into_iter().chain(primitives()?) {
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

/// Inference (rewritten) and training step of both networks in both presets, and the simulator in both of its own.
fn network_graphs() -> Result<Vec<Graph>> {
    let mut graphs = Vec::new();
    for (detector, twitch) in
        [(DetectorConfig::lite(), TwitchConfig::lite()), (DetectorConfig::paper(), TwitchConfig::paper())]
    {
        graphs.push(Detector::graph(&detector)?.0);
        graphs.push(TwitchEstimator::graph(&twitch)?.0);
        let sgd = Optimizer::Sgd { momentum: 0.9, decay: 1e-4 };
        graphs.push(detector_step(&detector, 2, &sgd, Clip::PerTensor(5.0))?.0);
        let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 1e-4 };
        graphs.push(twitch_step(&twitch, 2, 8, &adam, Clip::Global(1.0))?.0);
    }
    for preset in SimulatorConfig::PRESETS {
        let config = SimulatorConfig::from_name(preset)?.with_noise(Noise::training(0.5));
        let mut graph = Graph::new();
        let indices = graph.input("indices", TensorType::i32([2]))?;
        graph.simulate(&config, (Split::Train, 1), indices, None, 30)?;
        graphs.push(graph);
    }
    Ok(graphs)
}

fn primitives() -> Result<Vec<Graph>> {
    Primitive::ALL.into_iter().map(|primitive| problem::graph(&PrimitiveProblem { primitive }, 0)).collect()
}
