//! Every kernel that the networks and the selftest launch, listed without a GPU.

use std::collections::BTreeMap;

use super::suite::families;
use crate::Result;
use crate::detector::{Detector, DetectorConfig};
use crate::device::cuda::{Module, Precision, SOURCES, Target, Types};
use crate::graph::{Graph, Value, kept_types};
use crate::muscle::{Noise, SimulatorConfig, Split};
use crate::ops::problem::Targeted;
use crate::tensor::TensorType;
use crate::train::{Clip, Optimizer, detector_step, twitch_step};
use crate::twitch::{TwitchConfig, TwitchEstimator};

/// Modules, and the kernels launched from each with their threads a block.
pub type Kernels = BTreeMap<Module, BTreeMap<String, u32>>;

/// Multiprocessors of the small GPU that products are also cut for, so that they get the tiles of large ones.
pub(super) const SMALL: u32 = 1;

/// Problems of each family that `selftest` tries unless it is told otherwise.
const PROBLEMS: u64 = 12;

/// What [`network_kernels`] and [`problem_kernels`] launch on `target`; and every other source without constants, so that
/// none is left out.
pub fn catalogue(target: &Target) -> Result<Kernels> {
    let mut found = network_kernels(target)?;
    for (module, kernels) in problem_kernels(target)? {
        found.entry(module).or_default().extend(kernels);
    }
    for source in SOURCES.iter().filter_map(|(name, _)| name.strip_suffix(".cu")) {
        if !found.keys().any(|module| module.source == source) {
            found.insert(Module { source, constants: Vec::new() }, BTreeMap::new());
        }
    }
    Ok(found)
}

/// What both networks launch on `target` in both presets, inference and training, and the simulator.
pub fn network_kernels(target: &Target) -> Result<Kernels> {
    launched(target, network_graphs()?)
}

/// What the problems of the selftest launch on `target`, by default: also as cut for a small GPU, and with values kept as bf16.
pub fn problem_kernels(target: &Target) -> Result<Kernels> {
    let mut found = Kernels::new();
    for (narrow, target) in [(false, *target), (false, target.cut_for(SMALL)), (true, *target)] {
        if narrow && target.effective_precision() != Precision::Bf16 {
            continue;
        }
        let problems =
            families().into_iter().flat_map(|family| (1..=PROBLEMS).map(move |seed| family.graph(seed, narrow)));
        for (module, kernels) in launched(&target, problems.collect::<Result<_>>()?)? {
            found.entry(module).or_default().extend(kernels);
        }
    }
    Ok(found)
}

fn launched(target: &Target, graphs: Vec<Targeted>) -> Result<Kernels> {
    let mut found = Kernels::new();
    for (graph, targets) in graphs {
        let kept = kept_types(&graph, &targets, target)?;
        let types = |values: &[Value]| -> Vec<TensorType> { values.iter().map(|v| kept[v.index()].clone()).collect() };
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
    Ok(found)
}

/// Inference (rewritten) and training step of both networks in both presets, and the simulator in both of its own.
fn network_graphs() -> Result<Vec<Targeted>> {
    let mut graphs = Vec::new();
    for (detector, twitch) in
        [(DetectorConfig::lite(), TwitchConfig::lite()), (DetectorConfig::paper(), TwitchConfig::paper())]
    {
        let (graph, _, targets) = Detector::graph(&detector)?;
        graphs.push((graph, targets));
        let (graph, _, targets) = TwitchEstimator::graph(&twitch)?;
        graphs.push((graph, targets));
        let sgd = Optimizer::Sgd { momentum: 0.9, decay: 1e-4 };
        graphs.push(detector_step(&detector, 2, &sgd, Clip::PerTensor(5.0))?);
        let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 1e-4 };
        graphs.push(twitch_step(&twitch, 2, 8, &adam, Clip::Global(1.0))?);
    }
    for preset in SimulatorConfig::PRESETS {
        let config = SimulatorConfig::from_name(preset)?.with_noise(Noise::training(0.5));
        let mut graph = Graph::new();
        let indices = graph.input("indices", TensorType::i32([2]))?;
        let made = graph.simulate(&config, (Split::Train, 1), indices, None, 30)?;
        graphs.push((graph, vec![made.velocity]));
    }
    Ok(graphs)
}
