//! Whole networks, the parts of the detector that other programs are measured by, training steps and the simulator.

mod common;

use common::{Closure, Items, Runner, SEED, bench, bench_long, criterion, device};
use criterion::Criterion;
use sarcomere::detector::{Detector, DetectorConfig};
use sarcomere::graph::Graph;
use sarcomere::muscle::{Simulator, SimulatorConfig, Split};
use sarcomere::ops::problem::Problem;
use sarcomere::ops::unmix::problem::{RegionProblem, Scene};
use sarcomere::profile::networks::{Step, box_head, full_detector_step, mask_head, recording, trunk};
use sarcomere::train::data::Stock;
use sarcomere::train::{DetectorRun, DetectorTask, Task, TwitchRun, TwitchTask};
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

/// Trunk (stem to RPN) and heads of the paper's detector, all rows valid.
fn parts(c: &mut Criterion) {
    for (name, build) in [
        ("trunk_paper_b1", trunk as fn() -> Result<Step>),
        ("box_head_paper_1000", box_head),
        ("mask_head_paper_100", mask_head),
    ] {
        bench(c, "networks", name, ONE, || {
            let (graph, targets, given) = build()?;
            Runner::new(graph, &targets, given)
        });
    }
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
    bench_long(c, "networks", "train_detector_paper", Items(8, "recordings"), || {
        let (graph, targets, given) = full_detector_step(8)?;
        Runner::new(graph, &targets, given)
    });
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
