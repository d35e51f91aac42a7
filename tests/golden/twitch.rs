//! The twitch estimator against the reference: stages, loss, gradients, moving statistics, steps of Adam.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::nn;
use sarcomere::tensor::{Tensor, TensorFile, TensorType};
use sarcomere::train::{Clip, Optimizer, append_optimizer};
use sarcomere::twitch::{Front, TwitchConfig, TwitchInput, TwitchNetwork};
use serde::Deserialize;

use crate::case::{device, folders, report};
use crate::reference::{Reference, demand_none, files, plain};

/// Forward stages agree within this share of the largest value.
const STAGE: f64 = 1e-4;
/// Gradients (relative L2 error) and what Adam makes of them.
const GRADIENT: f64 = 1e-3;

/// The numbers of a set, by the reference's names.
#[derive(Deserialize)]
struct Numbers {
    frames: usize,
    crop: [usize; 2],
    conv_filters: Vec<usize>,
    conv_kernels_thw: Vec<[usize; 3]>,
    conv1_stride_thw: [usize; 3],
    features: Vec<usize>,
    gru: usize,
    head: Vec<usize>,
    input_scale: f32,
}

/// One variant of one folder.
struct Set {
    folder: PathBuf,
    variant: String,
    config: TwitchConfig,
    input_scale: f32,
    weights: TensorFile,
}

impl Set {
    fn read(folder: &Path, variant: &str, weights: &Path) -> Self {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let n: Numbers = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Some((1, head)) = n.head.split_last() else { panic!("{}: head must end in 1", path.display()) };
        let reset_after = match variant {
            "reset_after" => true,
            "reset_before" => false,
            other => panic!("weights_{other}: which GRU is that? Known: reset_after, reset_before"),
        };
        let config = TwitchConfig {
            frames: n.frames,
            front: Front::Crop {
                size: n.crop,
                filters: n.conv_filters,
                kernels: n.conv_kernels_thw,
                stride: n.conv1_stride_thw,
            },
            features: n.features,
            gru: n.gru,
            reset_after,
            head: head.to_vec(),
            // Batch norm and activations as they are there.
            ..TwitchConfig::paper()
        };
        let weights = TensorFile::read(weights).unwrap_or_else(|error| panic!("{error}"));
        Self { folder: folder.to_owned(), variant: variant.to_owned(), config, input_scale: n.input_scale, weights }
    }

    fn reference(&self) -> Reference {
        Reference::read(&self.folder.join(format!("{}.safetensors", self.variant)))
    }

    /// Sets the network's variables; others (an optimizer's) stay zero.
    fn executor(&self, graph: Graph, targets: &[Value]) -> Executor {
        let variables: Vec<&str> = graph.variables().into_iter().map(|(name, _)| name).collect();
        let network = variables.iter().filter(|name| !name.starts_with("optimizer.")).count();
        assert_eq!(network, self.weights.tensors.len(), "variables of the network and tensors of the file");
        let mut executor = Executor::new(&device(), Arc::new(graph), targets).unwrap();
        for (name, tensor) in &self.weights.tensors {
            executor.set(name, &tensor.to_f32()).unwrap_or_else(|error| panic!("{}: {error}", self.folder.display()));
        }
        executor
    }
}

fn each_set(mut check: impl FnMut(&Set) -> Vec<String>) {
    let (mut sets, mut problems) = (0, Vec::new());
    for folder in folders("twitch") {
        let found = files(&folder, "weights_", ".safetensors");
        assert!(!found.is_empty(), "{}: no weights_*.safetensors", folder.display());
        for (variant, weights) in found {
            problems.extend(check(&Set::read(&folder, &variant, &weights)));
            sets += 1;
        }
    }
    report("twitch sets", sets);
    demand_none(&problems);
}

/// The network with its inputs.
struct Built {
    graph: Graph,
    network: TwitchNetwork,
    loss: Value,
    inputs: [(Value, Tensor); 2],
}

fn build(set: &Set, training: bool, reference: &mut Reference) -> Built {
    let bytes = reference.input("x_i8");
    let values: Vec<f32> = bytes.values::<i32>().unwrap().iter().map(|v| *v as f32 * set.input_scale).collect();
    let crops = Tensor::new([bytes.shape().dims(), &[1]].concat(), &values).unwrap();
    let target = reference.input("target");
    let batch = crops.shape()[0];
    let mut graph = Graph::new();
    let network = TwitchNetwork::build(&mut graph, &set.config, batch, 1, training).unwrap();
    let TwitchInput::Crops(input) = network.input else { panic!("a network on crops") };
    let truth = graph.input("target", TensorType::f32([batch, set.config.frames])).unwrap();
    let loss = graph.amplitude_mse_loss(network.signal, truth, None).unwrap();
    Built { graph, network, loss, inputs: [(input, crops), (truth, target)] }
}

/// Forward stages, loss, gradients, moving statistics; `prefix` is `eval` or `train`.
fn compare(set: &Set, prefix: &str, reference: &mut Reference) {
    let training = prefix == "train";
    let Built { mut graph, network, loss, inputs, .. } = build(set, training, reference);
    let trained = nn::trainable(&graph);
    let wrt: Vec<Value> = trained.iter().map(|name| graph.find(name).unwrap()).collect();
    let gradients = graph.gradients(loss, &wrt).unwrap();
    let norm = graph.global_norm(&gradients).unwrap();
    let targets: Vec<Value> = network.stages.values().chain(&gradients).chain(&[loss, norm]).copied().collect();
    let mut executor = set.executor(graph, &targets);
    executor.run(&inputs.each_ref().map(|(value, tensor)| (*value, tensor))).unwrap();
    let output = |value: Value| executor.output(value).unwrap();

    for (name, stage) in &network.stages {
        reference.close(&format!("{prefix}.{name}"), &output(*stage), STAGE);
    }
    reference.close(&format!("{prefix}.loss"), &output(loss), STAGE);
    reference.close(&format!("{prefix}.grad_norm"), &output(norm), GRADIENT);
    for (name, gradient) in trained.iter().zip(&gradients) {
        let full = format!("{prefix}.grad.{name}");
        if training && is_cancelled(name) {
            reference.leave_out(&full, "gradient of a bias before a batch norm in training: zero up to rounding");
            let all = output(norm).values::<f32>().unwrap()[0];
            let largest = output(*gradient).values::<f32>().unwrap().iter().fold(0.0f32, |m, v| m.max(v.abs()));
            reference.check(largest < 1e-4 * all, || format!("{full}: {largest:e}, expected zero up to rounding"));
        } else {
            let kind = if training { "weights, batch statistics" } else { "weights, moving statistics" };
            reference.gradient(kind, &full, &output(*gradient), GRADIENT, plain);
        }
    }
    for (name, before) in set.weights.tensors.iter().filter(|(name, _)| is_statistic(name)) {
        let now = executor.get(name).unwrap();
        if training {
            reference.close(&format!("train.newstat.{name}"), &now, STAGE);
        } else {
            reference.check(now.bytes() == before.bytes(), || format!("{name}: moved at inference"));
        }
    }
}

fn is_cancelled(name: &str) -> bool {
    name.starts_with("conv") && name.ends_with(".bias")
}

fn is_statistic(name: &str) -> bool {
    name.ends_with(".moving_mean") || name.ends_with(".moving_variance")
}

/// Three steps of Adam at rate 1e-3, gradients clipped to 0.05.
fn compare_adam(set: &Set, name: &str, clip: Clip, reference: &mut Reference) {
    let Built { mut graph, loss, inputs, .. } = build(set, true, reference);
    let trained = nn::trainable(&graph);
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, decay: 0.0 };
    let o = append_optimizer(&mut graph, loss, &trained, &optimizer, clip).unwrap();
    let targets = [&o.updates[..], &[loss]].concat();
    let mut executor = set.executor(graph, &targets);
    let expected = reference.peek(&format!("adam.{name}.losses"));
    let expected = expected.values::<f32>().unwrap();
    let mut problem = None;
    for (index, expected) in expected.iter().enumerate() {
        executor.feed_values(o.rate, &[1e-3f32]).unwrap();
        executor.feed_values(o.step, &[index as i32 + 1]).unwrap();
        executor.run(&inputs.each_ref().map(|(value, tensor)| (*value, tensor))).unwrap();
        let found = executor.scalar(loss).unwrap();
        if f64::from((found - expected).abs() / expected) > GRADIENT {
            problem.get_or_insert_with(|| format!("loss before step {}: {found}, expected {expected}", index + 1));
        }
    }
    reference.compared(&format!("adam.{name}.losses"), problem);
    for weight in reference.names(&format!("adam.{name}.final.")) {
        let full = format!("adam.{name}.final.{weight}");
        if is_cancelled(&weight) || weight.ends_with(".moving_mean") {
            reference.leave_out(&full, "follows rounding noise that Adam turns into whole steps");
        } else {
            reference.close(&full, &executor.get(&weight).unwrap(), GRADIENT);
        }
    }
}

#[test]
fn twitch() {
    each_set(|set| {
        let mut reference = set.reference();
        // What the loss multiplies sequences by is part of it.
        let (coefficients, target) = (reference.input("coef"), reference.input("target"));
        let peak = |sequence: &[f32]| sequence.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let peaks = target.values::<f32>().unwrap().chunks(set.config.frames).map(peak);
        for (coefficient, peak) in coefficients.values::<f32>().unwrap().iter().zip(peaks) {
            reference.check((coefficient * peak - 1.0).abs() < 1e-6, || format!("coef {coefficient}, peak {peak}"));
        }
        compare(set, "eval", &mut reference);
        compare(set, "train", &mut reference);
        reference.gradients_together(GRADIENT);
        compare_adam(set, "global", Clip::Global(0.05), &mut reference);
        compare_adam(set, "per_tensor", Clip::PerTensor(0.05), &mut reference);
        reference.finish()
    });
}

#[test]
fn rewritten_twitch() {
    each_set(|set| {
        let mut reference = set.reference();
        let Built { mut graph, network, loss, inputs } = build(set, false, &mut reference);
        let targets: Vec<Value> = network.stages.values().chain(&[loss]).copied().collect();
        let norms = set.weights.tensors.keys().filter(|name| name.ends_with(".gamma")).count();
        let fused = graph.fuse(&targets).unwrap();
        assert!(fused >= norms, "{fused} nodes fused, {norms} batch norms");
        let mut executor = set.executor(graph, &targets);
        executor.run(&inputs.each_ref().map(|(value, tensor)| (*value, tensor))).unwrap();
        for (name, stage) in &network.stages {
            reference.close(&format!("eval.{name}"), &executor.output(*stage).unwrap(), STAGE);
        }
        reference.close("eval.loss", &executor.output(loss).unwrap(), STAGE);
        for name in reference.names("") {
            let forward = name.starts_with("eval.") && !name.starts_with("eval.grad");
            if !forward && !["x_i8", "target"].contains(&name.as_str()) {
                reference.leave_out(&name, "not an output of the rewritten graph");
            }
        }
        reference.finish()
    });
}
