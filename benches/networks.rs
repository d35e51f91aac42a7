//! Whole networks, the parts of the detector that other programs are measured by, training steps and the simulator.

mod common;

use common::{Closure, Items, Runner, SEED, bench, bench_long, criterion, device};
use criterion::Criterion;
use sarcomere::detector::{self, Detector, DetectorConfig, TrainingOptions};
use sarcomere::graph::Graph;
use sarcomere::muscle::{Simulator, SimulatorConfig, Split, standardise};
use sarcomere::nn::{self, After, Norm, Statistics};
use sarcomere::ops::conv::Extras;
use sarcomere::ops::problem::Problem;
use sarcomere::ops::unmix::problem::{RegionProblem, Scene};
use sarcomere::tensor::{Tensor, TensorType};
use sarcomere::train::data::Stock;
use sarcomere::train::{Clip, DetectorRun, DetectorTask, Task, TwitchRun, TwitchTask, append_optimizer};
use sarcomere::twitch::{TwitchConfig, TwitchInput, TwitchNetwork};
use sarcomere::{Device, Result};

/// One recording (or whatever it is) a run.
const ONE: Items = Items(1, "");

fn main() {
    let mut c = criterion();
    inference(&mut c);
    parts(&mut c);
    twitch(&mut c);
    training(&mut c);
    simulator(&mut c);
    c.final_summary();
}

/// A simulated recording, standardised: `[1, 400, 64, 64, 1]`.
fn recording() -> Result<Tensor> {
    let simulator = Simulator::new(SimulatorConfig::paper().with_units(20))?;
    let mut velocity = simulator.simulate(Split::Test, 0, SEED).velocity;
    standardise(&mut velocity);
    Tensor::new([1, 400, 64, 64, 1], &velocity)
}

/// The whole detector from random weights: no region passes for a unit, all fixed work is done.
fn inference(c: &mut Criterion) {
    for (name, config) in [("detector_lite", DetectorConfig::lite()), ("detector_paper", DetectorConfig::paper())] {
        bench(c, "networks", name, ONE, || {
            let (graph, values, targets) = Detector::graph(&config)?;
            Runner::new(graph, &targets, vec![(values.recordings, recording()?)])
        });
    }
    bench(c, "networks", "detector_lite_trained", ONE, || {
        let mut detector = Detector::from_weights(device(), &sarcomere::identify::built_in_detector()?)?;
        let recording = recording()?;
        Ok(Closure(move || detector.detect(recording.values()?).map(drop)))
    });
}

/// Batch norm at inference.
const FROZEN: Norm = Norm { statistics: Statistics::Frozen, epsilon: 1e-3, momentum: 0.99 };

/// Trunk (stem to RPN) and heads of the paper's detector, all rows valid.
fn parts(c: &mut Criterion) {
    bench(c, "networks", "trunk_paper_b1", ONE, || {
        let mut g = Graph::new();
        let values = detector::inference(&mut g, &DetectorConfig::paper(), 1)?;
        let wanted = ["P2", "P3", "P4", "P5", "rpn_class_probs", "rpn_bbox"];
        let targets: Vec<_> = wanted.iter().filter_map(|name| values.stages.get(*name).copied()).collect();
        g.fuse(&targets)?;
        Runner::new(g, &targets, vec![(values.recordings, recording()?)])
    });
    bench(c, "networks", "box_head_paper_1000", ONE, || {
        let mut g = Graph::new();
        let x = g.input("crops", TensorType::f32([1000, 7, 7, 256]))?;
        let layer = |name| After { norm: Some((name, FROZEN)), relu: true, ..After::default() };
        let y = nn::conv(&mut g, "fc1", x, &[7, 7], 1024, &nn::valid_2d(1), layer("bn1"))?;
        let y = nn::conv(&mut g, "fc2", y, &[1, 1], 1024, &nn::valid_2d(1), layer("bn2"))?;
        let y = g.reshape(y, [1000, 1024])?;
        let logits = nn::dense(&mut g, "class", y, 2, false, None)?;
        let targets = [g.softmax(logits)?, nn::dense(&mut g, "bbox", y, 8, false, None)?];
        g.fuse(&targets)?;
        Runner::new(g, &targets, vec![])
    });
    bench(c, "networks", "mask_head_paper_100", ONE, || {
        let mut g = Graph::new();
        let mut y = g.input("crops", TensorType::f32([100, 14, 14, 256]))?;
        for (name, norm) in [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("conv4", "bn4")] {
            let after = After { norm: Some((norm, FROZEN)), relu: true, ..After::default() };
            let attrs = nn::same_2d(&g, y, 3, 1);
            y = nn::conv(&mut g, name, y, &[3, 3], 256, &attrs, after)?;
        }
        let weight = g.variable("deconv.weight", TensorType::f32([2, 2, 256, 256]))?;
        let bias = g.variable("deconv.bias", TensorType::f32([256]))?;
        let y = g.conv_transpose_2x2(y, weight, true, Extras::bias(bias))?;
        let y = nn::conv(&mut g, "mask", y, &[1, 1], 2, &nn::valid_2d(1), After::default())?;
        let targets = [g.sigmoid(y)?];
        g.fuse(&targets)?;
        Runner::new(g, &targets, vec![])
    });
}

fn twitch(c: &mut Criterion) {
    for batch in [1, 32] {
        bench(c, "networks", &format!("twitch_paper_b{batch}"), Items(batch, "crops"), || {
            let mut g = Graph::new();
            let network = TwitchNetwork::build(&mut g, &TwitchConfig::paper(), batch, 1, false)?;
            g.fuse(&[network.signal])?;
            Runner::new(g, &[network.signal], vec![])
        });
    }
    for units in [1, 25] {
        bench(c, "networks", &format!("twitch_lite_{units}_units"), ONE, || {
            let mut g = Graph::new();
            let network = TwitchNetwork::build(&mut g, &TwitchConfig::lite(), 1, units, false)?;
            g.fuse(&[network.signal])?;
            let mut given = Vec::new();
            if let TwitchInput::Recordings { recordings, masks, counts } = network.input {
                let scene = Scene {
                    recordings: 1,
                    units,
                    frames: 400,
                    height: 64,
                    width: 64,
                    radius: 6.0,
                    counts: Some(vec![units as i32]),
                    degenerate: false,
                };
                let values = [recordings, masks, counts];
                for (value, tensor) in values.into_iter().zip(RegionProblem { scene, surround: 16 }.inputs(SEED)) {
                    given.push((value, tensor.reshaped(g.shape(value).clone())?));
                }
            }
            Runner::new(g, &[network.signal], given)
        });
    }
}

/// Whole training steps.
fn training(c: &mut Criterion) {
    // Each step of a training includes the simulation of its recordings.
    let detector = DetectorRun::lite(1000);
    bench(c, "networks", "train_detector_lite", Items(detector.batch, "recordings"), || {
        let mut task = DetectorTask::new(device(), detector.clone())?;
        let mut step = 0;
        Ok(Closure(move || {
            step += 1;
            task.step(step - 1).map(drop)
        }))
    });
    let twitch = TwitchRun { detected_share: 0.0, ..TwitchRun::lite(1000) };
    let units = units_a_step(&twitch).expect("the run's presets exist");
    bench(c, "networks", "train_twitch_lite", Items(units, "units"), || {
        let mut task = TwitchTask::new(device(), twitch.clone(), None)?;
        let mut step = 0;
        Ok(Closure(move || {
            step += 1;
            task.step((step - 1) % STEPS).map(drop)
        }))
    });
    let twitch = TwitchRun::paper(1000);
    bench_long(c, "networks", "train_twitch_paper", Items(twitch.batch, "crops"), || {
        let mut task = TwitchTask::new(device(), twitch.clone(), None)?;
        let mut step = 0;
        Ok(Closure(move || {
            step += 1;
            task.step(step - 1).map(drop)
        }))
    });
    bench_long(c, "networks", "train_detector_paper", Items(8, "recordings"), || full_detector_step(8));
}

/// Different steps that the bench of units repeats.
const STEPS: u64 = 4;

/// Units that a step trains on, the mean over [`STEPS`] steps.
fn units_a_step(run: &TwitchRun) -> Result<usize> {
    let stock = Stock::new(&run.data, run.seed, Split::Train)?;
    let Device::Cpu(cpu) = device() else { return Ok(0) };
    let mut recordings = vec![0.0; run.batch * STEPS as usize * 400 * 64 * 64];
    let samples = stock.fill(cpu, 0, &mut recordings);
    let units: usize = samples.iter().map(|sample| sample.units.len().min(run.max_units)).sum();
    Ok(units / STEPS as usize)
}

/// A step of the paper's detector with all the work there can be: 100 true boxes in each recording, which are proposals too, so
/// that all 200 regions are used and 66 of them have masks.
fn full_detector_step(batch: usize) -> Result<Runner> {
    let run = DetectorRun::paper(1000);
    let config = DetectorConfig { add_truth_to_proposals: true, ..run.network };
    let mut g = Graph::new();
    let values = detector::training(&mut g, &config, batch, TrainingOptions::default())?;
    let trained = nn::trainable(&g);
    let optimizer = append_optimizer(&mut g, values.total, &trained, &run.optimizer, Clip::Global(run.clip_norm))?;
    let targets = [&[values.total, optimizer.gradient_norm][..], &optimizer.updates].concat();
    let units = config.max_units;
    let mut boxes = Vec::new();
    for index in 0..batch * units {
        // Ten by ten boxes of 12 x 12 pixels.
        let (y, x) = ((index % units / 10) as f32 * 5.0, (index % 10) as f32 * 5.0);
        boxes.extend([y, x, y + 12.0, x + 12.0]);
    }
    let mut given = vec![
        (values.boxes_px, Tensor::new([batch, units, 4], &boxes)?),
        (values.classes, Tensor::new([batch, units], &vec![1i32; batch * units])?),
        (values.counts, Tensor::new([batch], &vec![units as i32; batch])?),
        (optimizer.rate, Tensor::new([1], &[1e-6f32])?),
    ];
    if let Some(masks) = values.masks {
        given.push((masks, Tensor::new(g.shape(masks).clone(), &vec![1.0f32; g.shape(masks).len()])?));
    }
    Runner::new(g, &targets, given)
}

fn simulator(c: &mut Criterion) {
    for (name, config) in
        [("simulate_paper_b8", SimulatorConfig::paper()), ("simulate_hard_b8", SimulatorConfig::hard())]
    {
        bench(c, "networks", name, Items(8, "recordings"), || {
            let simulator = Simulator::new(config.clone())?;
            let cpu = device().host();
            let mut first = 0;
            Ok(Closure(move || {
                let indices: Vec<u32> = (first..first + 8).collect();
                first += 8;
                std::hint::black_box(simulator.simulate_many(&cpu, Split::Train, &indices, SEED));
                Ok(())
            }))
        });
    }
}
