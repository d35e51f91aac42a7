//! Whole networks, parts of them, training steps and the simulator, ready to be timed on any device.

use std::sync::Arc;

use crate::Result;
use crate::detector::{self, Detector, DetectorConfig, TrainingOptions};
use crate::device::Device;
use crate::graph::{Executor, Graph, Value};
use crate::muscle::{Noise, SimulatedRecording, Simulator, SimulatorConfig, Split, standardise};
use crate::nn::{self, After, Norm, Statistics};
use crate::ops::conv::Extras;
use crate::ops::problem::Numbers;
use crate::tensor::{DType, Tensor, TensorType};
use crate::train::{Clip, DetectorRun, DetectorTask, Task, TwitchRun, TwitchTask, append_optimizer, fuse_step};
use crate::twitch::{TwitchConfig, TwitchEstimator, TwitchInput, TwitchNetwork};

/// Seed of weights and random inputs.
const SEED: u64 = 7;
/// MUs of the recording that inference is timed on.
const UNITS: u32 = 20;
/// Recordings that the simulator makes in one run.
const SIMULATED: usize = 8;

/// Something that runs again and again.
pub trait Timed {
    /// Runs once, to the end: results have arrived when it returns.
    fn run(&mut self) -> Result<()>;

    /// What runs the largest part of it.
    fn executor(&mut self) -> &mut Executor;
}

/// A name, what one run handles, and how it is made ready.
pub struct Case {
    /// As in `train_detector_lite_b8`; the number is that of items.
    pub name: &'static str,
    /// How many recordings, crops or regions a run handles.
    pub items: usize,
    make: fn(&Device) -> Result<Box<dyn Timed>>,
}

impl Case {
    /// Plans it on a device, with random weights.
    pub fn prepare(&self, device: &Device) -> Result<Box<dyn Timed>> {
        (self.make)(device)
    }
}

/// Every case.
pub const CASES: [Case; 14] = [
    Case { name: "detector_lite_b1", items: 1, make: |device| whole_detector(device, &DetectorConfig::lite()) },
    Case { name: "detector_paper_b1", items: 1, make: |device| whole_detector(device, &DetectorConfig::paper()) },
    Case { name: "trunk_paper_b1", items: 1, make: |device| GraphRun::of(device, trunk()?) },
    Case { name: "box_head_paper_b1000", items: 1000, make: |device| GraphRun::of(device, box_head()?) },
    Case { name: "mask_head_paper_b100", items: 100, make: |device| GraphRun::of(device, mask_head()?) },
    Case { name: "twitch_lite_b1", items: 1, make: |device| GraphRun::of(device, twitch_units()?) },
    Case { name: "twitch_paper_b1", items: 1, make: |device| twitch_crops(device, 1) },
    Case { name: "twitch_paper_b32", items: 32, make: |device| twitch_crops(device, 32) },
    Case { name: "simulate_paper_b8", items: SIMULATED, make: |device| simulation(device, "paper") },
    Case { name: "simulate_hard_b8", items: SIMULATED, make: |device| simulation(device, "hard") },
    Case {
        name: "train_detector_lite_b8",
        items: 8,
        make: |device| training(DetectorTask::new(device, DetectorRun::lite(1000))?),
    },
    Case {
        name: "train_twitch_lite_b4",
        items: 4,
        make: |device| {
            training(TwitchTask::new(device, TwitchRun { detected_share: 0.0, ..TwitchRun::lite(1000) }, None)?)
        },
    },
    Case { name: "train_detector_paper_b8", items: 8, make: |device| GraphRun::of(device, full_detector_step(8)?) },
    Case {
        name: "train_twitch_paper_b32",
        items: 32,
        make: |device| training(TwitchTask::new(device, TwitchRun::paper(1000), None)?),
    },
];

/// A graph, its targets, and tensors for some of its inputs.
pub type Step = (Graph, Vec<Value>, Vec<(Value, Tensor)>);

/// A graph with random weights, and inputs that are random but for those `given`. Handing them in and reading the first target
/// are part of a run.
pub struct GraphRun {
    executor: Executor,
    feeds: Vec<(Value, Tensor)>,
    result: Value,
}

impl GraphRun {
    /// Plans `graph`; its variables are initialised as at the start of a training.
    pub fn new(device: &Device, graph: Graph, targets: &[Value], given: Vec<(Value, Tensor)>) -> Result<Self> {
        let mut numbers = Numbers::new(SEED);
        let mut feeds = Vec::new();
        for (_, value) in graph.inputs() {
            let ty = graph.ty(value);
            let tensor = match given.iter().find(|(v, _)| *v == value) {
                Some((_, tensor)) => tensor.clone(),
                None if ty.dtype == DType::F32 => numbers.tensor(ty.shape.dims()),
                None => Tensor::zeros(ty.dtype, ty.shape.clone()),
            };
            feeds.push((value, tensor));
        }
        let names: Vec<String> = graph.variables().iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut executor = Executor::new(device, Arc::new(graph), targets)?;
        let planned = |name: &String| {
            executor.graph().find(name).is_some_and(|variable| executor.plan().place(variable).is_some())
        };
        let names: Vec<String> = names.into_iter().filter(planned).collect();
        nn::initialise(&mut executor, &names, SEED)?;
        Ok(Self { executor, feeds, result: targets[0] })
    }

    fn of(device: &Device, (graph, targets, given): Step) -> Result<Box<dyn Timed>> {
        Ok(Box::new(Self::new(device, graph, &targets, given)?))
    }
}

impl Timed for GraphRun {
    fn run(&mut self) -> Result<()> {
        for (value, tensor) in &self.feeds {
            self.executor.feed(*value, tensor)?;
        }
        self.executor.run_fed()?;
        self.executor.output(self.result).map(drop)
    }

    fn executor(&mut self) -> &mut Executor {
        &mut self.executor
    }
}

/// A simulated recording of [`UNITS`] MUs, standardised.
fn simulated() -> Result<SimulatedRecording> {
    let mut simulated = Simulator::new(SimulatorConfig::paper().with_units(UNITS))?.simulate(Split::Test, 0, SEED);
    standardise(&mut simulated.velocity);
    Ok(simulated)
}

/// A simulated recording of 20 MUs, standardised: `[1, 400, 64, 64, 1]`.
pub fn recording() -> Result<Tensor> {
    Tensor::new([1, 400, 64, 64, 1], &simulated()?.velocity)
}

fn whole_detector(device: &Device, config: &DetectorConfig) -> Result<Box<dyn Timed>> {
    let (graph, values, targets) = Detector::graph(config)?;
    GraphRun::of(device, (graph, targets, vec![(values.recordings, recording()?)]))
}

/// The paper's detector from recording to pyramid and RPN.
pub fn trunk() -> Result<Step> {
    let mut g = Graph::new();
    let values = detector::inference(&mut g, &DetectorConfig::paper(), 1)?;
    let wanted = ["P2", "P3", "P4", "P5", "rpn_class_probs", "rpn_bbox"];
    let targets: Vec<_> = wanted.iter().filter_map(|name| values.stages.get(*name).copied()).collect();
    g.fuse(&targets)?;
    Ok((g, targets, vec![(values.recordings, recording()?)]))
}

/// Batch norm at inference.
const FROZEN: Norm = Norm { statistics: Statistics::Frozen, epsilon: 1e-3, momentum: 0.99 };

/// The paper's box head on crops of 1000 regions.
pub fn box_head() -> Result<Step> {
    let mut g = Graph::new();
    let x = g.input("crops", TensorType::f32([1000, 7, 7, 256]))?;
    let layer = |name| After { norm: Some((name, FROZEN)), relu: true, ..After::default() };
    let y = nn::conv(&mut g, "fc1", x, &[7, 7], 1024, &nn::valid_2d(1), layer("bn1"))?;
    let y = nn::conv(&mut g, "fc2", y, &[1, 1], 1024, &nn::valid_2d(1), layer("bn2"))?;
    let y = g.reshape(y, [1000, 1024])?;
    let logits = nn::dense(&mut g, "class", y, 2, false, None)?;
    let targets = [g.softmax(logits)?, nn::dense(&mut g, "bbox", y, 8, false, None)?];
    g.fuse(&targets)?;
    Ok((g, targets.to_vec(), Vec::new()))
}

/// The paper's mask head on crops of 100 regions.
pub fn mask_head() -> Result<Step> {
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
    Ok((g, targets.to_vec(), Vec::new()))
}

/// The signals of all units of a recording by the small twitch estimator.
fn twitch_units() -> Result<Step> {
    let (graph, network, targets) = TwitchEstimator::graph(&TwitchConfig::lite())?;
    let mut given = Vec::new();
    if let TwitchInput::Recordings { recordings, masks, counts } = network.input {
        let simulated = simulated()?;
        let mut pixels: Vec<f32> = simulated.truth.masks().into_iter().map(f32::from).collect();
        pixels.resize(graph.ty(masks).len(), 0.0);
        given = vec![
            (recordings, Tensor::new(graph.shape(recordings).clone(), &simulated.velocity)?),
            (masks, Tensor::new(graph.shape(masks).clone(), &pixels)?),
            (counts, Tensor::new([1], &[UNITS as i32])?),
        ];
    }
    Ok((graph, targets, given))
}

/// The paper's twitch estimator on random crops.
fn twitch_crops(device: &Device, batch: usize) -> Result<Box<dyn Timed>> {
    let mut g = Graph::new();
    let network = TwitchNetwork::build(&mut g, &TwitchConfig::paper(), batch, 1, false)?;
    let targets = [network.signal];
    g.fuse(&targets)?;
    g.fuse_elementwise(&targets);
    GraphRun::of(device, (g, targets.to_vec(), Vec::new()))
}

/// A step of the paper's detector with all the work there can be: 100 true boxes in each recording, which are proposals too, so
/// that all 200 regions are used and 66 of them have masks.
pub fn full_detector_step(batch: usize) -> Result<Step> {
    let run = DetectorRun::paper(1000);
    let config = DetectorConfig { add_truth_to_proposals: true, ..run.network };
    let mut g = Graph::new();
    let values = detector::training(&mut g, &config, batch, TrainingOptions::default())?;
    let trained = nn::trainable(&g);
    let optimizer = append_optimizer(&mut g, values.total, &trained, &run.optimizer, Clip::Global(run.clip_norm))?;
    let targets = [&[values.total, optimizer.gradient_norm][..], &optimizer.updates].concat();
    fuse_step(&mut g, &targets);
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
    Ok((g, targets, given))
}

struct Simulation {
    executor: Executor,
    indices: Value,
    counts: Value,
    first: i32,
}

/// Recordings with masks, signals and boxes, which stay on the device: new ones every run, at 20 dB.
fn simulation(device: &Device, preset: &str) -> Result<Box<dyn Timed>> {
    let config = SimulatorConfig::from_name(preset)?.with_noise(Noise::Snr { db: 20.0 });
    let mut graph = Graph::new();
    let indices = graph.input("indices", TensorType::i32([SIMULATED]))?;
    let made = graph.simulate(&config, (Split::Train, 1), indices, None, config.units.max as usize)?;
    let targets = [made.velocity, made.masks, made.signals, made.boxes, made.counts];
    let executor = Executor::new(device, graph.into(), &targets)?;
    Ok(Box::new(Simulation { executor, indices, counts: made.counts, first: 0 }))
}

impl Timed for Simulation {
    fn run(&mut self) -> Result<()> {
        let indices: Vec<i32> = (self.first..).take(SIMULATED).collect();
        self.executor.feed_values(self.indices, &indices)?;
        self.executor.run_fed()?;
        self.first += SIMULATED as i32;
        self.executor.values::<i32>(self.counts).map(drop)
    }

    fn executor(&mut self) -> &mut Executor {
        &mut self.executor
    }
}

struct Training<T> {
    task: T,
    step: u64,
}

/// Steps, the simulation of their recordings included.
fn training<T: Task + 'static>(task: T) -> Result<Box<dyn Timed>> {
    Ok(Box::new(Training { task, step: 0 }))
}

impl<T: Task> Timed for Training<T> {
    fn run(&mut self) -> Result<()> {
        self.step += 1;
        self.task.step(self.step - 1).map(drop)
    }

    fn executor(&mut self) -> &mut Executor {
        self.task.training_mut().executor_mut()
    }
}
