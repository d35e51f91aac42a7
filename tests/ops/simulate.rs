use std::sync::Arc;

use sarcomere::graph::{Executor, Graph};
use sarcomere::muscle::problem::SimulateProblem;
use sarcomere::muscle::{CountRange, Noise, Profile, Range, SimulatorConfig};
use sarcomere::ops::problem::{Numbers, Problem};
use sarcomere::{Device, Result};

use crate::everywhere::{check_everywhere, explain, settings};

/// Everything that a problem's op makes on one device.
fn outputs(problem: &SimulateProblem, device: &Device) -> Result<Vec<Vec<u8>>> {
    let mut graph = Graph::new();
    let tensors = problem.inputs(0);
    let name = |i: usize| format!("input{i}");
    let inputs = tensors.iter().enumerate().map(|(i, tensor)| graph.input(&name(i), tensor.ty().clone()));
    let inputs: Vec<_> = inputs.collect::<Result<_>>()?;
    let values = problem.build(&mut graph, &inputs)?;
    let mut executor = Executor::new(device, Arc::new(graph), &values)?;
    executor.run(&inputs.into_iter().zip(&tensors).collect::<Vec<_>>())?;
    values.into_iter().map(|value| Ok(executor.output(value)?.bytes().to_vec())).collect()
}

/// The same bits as on the first of the processor's settings.
fn expect_the_same_bits(problem: &SimulateProblem, seed: u64) -> Result<()> {
    let mut expected = None;
    for setting in settings(seed) {
        let device = setting.prepared_device();
        let found = outputs(problem, device).map_err(explain)?;
        let expected = expected.get_or_insert_with(|| found.clone());
        for (index, (found, expected)) in found.iter().zip(&*expected).enumerate() {
            let same = found.iter().zip(expected).filter(|(a, b)| a == b).count();
            let message = || format!("{}, output {index}: {same} of {} bytes", device.describe(), expected.len());
            assert!(found == expected, "{}\n{problem:?}", message());
        }
    }
    Ok(())
}

#[test]
fn recordings_have_the_same_bits_everywhere() -> Result<()> {
    let mixed = Noise::Mixed { min_db: 10.0, max_db: 30.0, clean_share: 0.5 };
    for (seed, noise) in [Noise::Clean, Noise::Snr { db: 10.0 }, mixed].into_iter().enumerate() {
        for preset in SimulatorConfig::PRESETS {
            expect_the_same_bits(&SimulateProblem::small(preset, noise)?, seed as u64)?;
        }
    }
    Ok(())
}

#[test]
fn every_option_has_the_same_bits_everywhere() -> Result<()> {
    for seed in 1..14 {
        expect_the_same_bits(&SimulateProblem::random(&mut Numbers::new(seed)), seed)?;
    }
    Ok(())
}

/// More pixels, columns, units and firings than the kernels take at once.
#[test]
fn large_scenes_have_the_same_bits_everywhere() -> Result<()> {
    let mut problem = SimulateProblem::small("hard", Noise::Snr { db: 10.0 })?;
    let config = &mut problem.config;
    (config.grid.frames, config.grid.height, config.grid.width) = (9, 9, 70);
    config.territories.diameter_mm = Range::new(4.5, 6.0);
    config.units = CountRange { min: 130, max: 133 };
    config.firing.rate_hz = Range::new(40.0, 60.0);
    config.firing.warm_up_s = 3.0;
    config.firing.synchrony = Range::fixed(0.5);
    problem.indices = vec![1];
    problem.flips = Some(vec![3]);
    problem.max_units = 131;
    expect_the_same_bits(&problem, 1)
}

#[test]
fn what_cannot_be_simulated_is_refused_by_name() -> Result<()> {
    let mut problem = SimulateProblem::small("paper", Noise::Clean)?;
    let refused = |problem: &SimulateProblem, device: &Device| match outputs(problem, device) {
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    };
    problem.config.territories.profiles = vec![Profile::Gaussian; 33];
    for setting in settings(1) {
        let device = setting.prepared_device();
        let message = refused(&problem, device);
        // The processor takes as many as one likes.
        let told = matches!(device, Device::Cpu(_)) || message.contains("territories.profiles: 33");
        assert!(told, "{}: {message}", device.describe());
    }
    let processor = settings(1).remove(0);
    let device = processor.prepared_device();
    problem.config.grid.fs_hz = f32::NAN;
    assert!(refused(&problem, device).contains("grid.fs_hz"));
    problem.config.grid.fs_hz = 400.0;
    problem.max_units = 0;
    assert!(refused(&problem, device).contains("max_units"));
    problem.max_units = 1;
    problem.flips = Some(vec![0]);
    assert!(refused(&problem, device).contains("flips"));
    Ok(())
}

#[test]
fn recordings_are_the_simulators() -> Result<()> {
    (0..4).try_for_each(|seed| check_everywhere(&SimulateProblem::random(&mut Numbers::new(seed)), seed))
}
