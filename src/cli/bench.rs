//! `sarcomere bench`: how long whole networks and the simulator take on a device.

use std::time::{Duration, Instant};

use clap::Args;
use sarcomere::detector::{Detector, DetectorConfig};
use sarcomere::device::Device;
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::muscle::{Noise, Simulator, SimulatorConfig, Split, standardise};
use sarcomere::nn;
use sarcomere::ops::problem::Numbers;
use sarcomere::tensor::{DType, Tensor, TensorType};
use sarcomere::train::{DetectorRun, DetectorTask, Task, TwitchRun, TwitchTask};
use sarcomere::twitch::{TwitchConfig, TwitchEstimator};
use sarcomere::{Error, Result};
use serde_json::json;

use super::console::print;
use super::{Common, Outcome};

/// Time whole networks, inference and training steps, and the simulator
#[derive(Args)]
pub struct Arguments {
    /// Only those with this in their name
    #[arg(long, default_value = "", value_name = "TEXT")]
    filter: String,
    /// Measure each for this long
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    seconds: f64,
    /// And at least as often
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    #[command(flatten)]
    common: Common,
}

/// MUs of the recording that inference is timed on.
const UNITS: i32 = 20;
/// Runs before times are taken: plans are captured, caches and threads are warm after these.
const WARM_UP: usize = 3;

/// One thing to time.
type Make = fn(&Device) -> Result<Box<dyn FnMut() -> Result<()>>>;

const CASES: [(&str, Make); 8] = [
    ("detector_lite_b1", |device| inference(device, Detector::graph(&DetectorConfig::lite()).map(|(g, _, t)| (g, t))?)),
    ("detector_paper_b1", |device| {
        inference(device, Detector::graph(&DetectorConfig::paper()).map(|(g, _, t)| (g, t))?)
    }),
    ("twitch_lite_b1", |device| {
        inference(device, TwitchEstimator::graph(&TwitchConfig::lite()).map(|(g, _, t)| (g, t))?)
    }),
    ("twitch_paper_b1", |device| {
        inference(device, TwitchEstimator::graph(&TwitchConfig::paper()).map(|(g, _, t)| (g, t))?)
    }),
    ("simulate_paper_b8", |device| simulation(device, "paper")),
    ("simulate_hard_b8", |device| simulation(device, "hard")),
    ("train_detector_lite_b8", |device| training(DetectorTask::new(device, DetectorRun::lite(1000))?)),
    ("train_twitch_lite_b4", |device| {
        training(TwitchTask::new(device, TwitchRun { detected_share: 0.0, ..TwitchRun::lite(1000) }, None)?)
    }),
];

/// A graph on a simulated recording of `UNITS` MUs (crops: random numbers), with random weights; uploads of the inputs and the
/// reading of the first target are part of a run.
fn inference(device: &Device, (graph, targets): (Graph, Vec<Value>)) -> Result<Box<dyn FnMut() -> Result<()>>> {
    let names: Vec<String> = graph.variables().iter().map(|(name, _)| (*name).to_owned()).collect();
    let inputs: Vec<(Value, Tensor)> = graph
        .inputs()
        .into_iter()
        .map(|(name, value)| Ok((value, input(name, graph.ty(value))?)))
        .collect::<Result<_>>()?;
    let mut executor = Executor::new(device, graph.into(), &targets)?;
    nn::initialise(&mut executor, &names, 1)?;
    Ok(Box::new(move || {
        let feeds: Vec<(Value, &Tensor)> = inputs.iter().map(|(value, tensor)| (*value, tensor)).collect();
        executor.run(&feeds)?;
        executor.output(targets[0]).map(drop)
    }))
}

/// Recordings with masks, signals and boxes, which stay on the device: eight new ones a run, at 20 dB.
fn simulation(device: &Device, preset: &str) -> Result<Box<dyn FnMut() -> Result<()>>> {
    const BATCH: i32 = 8;
    let config = SimulatorConfig::from_name(preset)?.with_noise(Noise::Snr { db: 20.0 });
    let mut graph = Graph::new();
    let indices = graph.input("indices", TensorType::i32([BATCH as usize]))?;
    let made = graph.simulate(&config, (Split::Train, 1), indices, None, config.units.max as usize)?;
    let targets = [made.velocity, made.masks, made.signals, made.boxes, made.counts];
    let mut executor = Executor::new(device, graph.into(), &targets)?;
    let mut first = 0;
    Ok(Box::new(move || {
        executor.feed_values(indices, &(first..first + BATCH).collect::<Vec<_>>())?;
        executor.run_fed()?;
        first += BATCH;
        executor.values::<i32>(made.counts).map(drop)
    }))
}

/// What an input of that name holds.
fn input(name: &str, ty: &TensorType) -> Result<Tensor> {
    let config = SimulatorConfig::paper().with_units(UNITS as u32);
    let simulated = Simulator::new(config)?.simulate(Split::Test, 0, 1);
    match (name, ty.dtype) {
        ("recordings", _) => {
            let mut recording = simulated.velocity;
            standardise(&mut recording);
            Tensor::new(ty.shape.clone(), &recording)
        }
        ("masks", _) => {
            let mut masks: Vec<f32> = simulated.truth.masks().into_iter().map(f32::from).collect();
            masks.resize(ty.len(), 0.0);
            Tensor::new(ty.shape.clone(), &masks)
        }
        (_, DType::I32) => Tensor::new(ty.shape.clone(), &vec![UNITS; ty.len()]),
        _ => Ok(Numbers::new(1).tensor(ty.shape.dims())),
    }
}

/// Steps, the simulation of their recordings included.
fn training<T: Task + 'static>(mut task: T) -> Result<Box<dyn FnMut() -> Result<()>>> {
    let mut step = 0;
    Ok(Box::new(move || {
        step += 1;
        task.step(step - 1).map(drop)
    }))
}

/// Times every case.
pub fn run(arguments: &Arguments) -> Outcome {
    if !(arguments.seconds > 0.0 && arguments.seconds <= 600.0) {
        return Err(
            Error::value("--seconds", format!("expected more than 0, at most 600, got {}", arguments.seconds)).into()
        );
    }
    let cases: Vec<_> = CASES.iter().filter(|(name, _)| name.contains(&arguments.filter)).collect();
    if cases.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        return Err(
            Error::value("--filter", format!("no case has it in its name; there are {}", names.join(", "))).into()
        );
    }
    let device = arguments.common.open_device()?;
    let json = arguments.common.json;
    if !json {
        print(&format!(
            "device  {}\n\n{:<24} {:>10} {:>10} {:>10} {:>6}",
            device.describe(),
            "case",
            "median ms",
            "fastest",
            "slowest",
            "runs"
        ));
    }
    let mut rows = Vec::new();
    for (name, make) in cases {
        let mut run = make(&device)?;
        (0..WARM_UP).try_for_each(|_| run())?;
        let mut times: Vec<f64> = Vec::new();
        let begin = Instant::now();
        while times.len() < arguments.runs as usize || begin.elapsed() < Duration::from_secs_f64(arguments.seconds) {
            let start = Instant::now();
            run()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (median, fastest, slowest) = (times[times.len() / 2], times[0], times[times.len() - 1]);
        if !json {
            print(&format!("{name:<24} {median:>10.3} {fastest:>10.3} {slowest:>10.3} {:>6}", times.len()));
        }
        rows.push(json!({"case": name, "median_ms": median, "fastest_ms": fastest, "slowest_ms": slowest, "runs": times.len()}));
    }
    if json {
        print(&json!({"device": device.describe(), "cases": rows}).to_string());
    }
    Ok(())
}
