use std::sync::Arc;

use sarcomere::device::cpu::{Cpu, Isa};
use sarcomere::graph::{Executor, Graph};
use sarcomere::ops::random::philox::{Stream, key_of};
use sarcomere::tensor::{Tensor, TensorType};
use sarcomere::{Result, device::Device};

use crate::everywhere::{explain, settings};

const SEED: u64 = 0x1234_5678_9abc;

/// Uniform and normal numbers of one step on one device.
fn numbers(device: &Device, len: usize, step: i32) -> Result<[Vec<f32>; 2]> {
    let mut graph = Graph::new();
    let at = graph.input("step", TensorType::i32([1]))?;
    let values = [graph.random_uniform([len], SEED, 3, at)?, graph.random_normal([len], SEED, 4, at)?];
    let mut executor = Executor::new(device, Arc::new(graph), &values)?;
    executor.run(&[(at, &Tensor::new([1], &[step])?)])?;
    let [uniform, normal] = values.map(|value| executor.output(value));
    Ok([uniform?.values::<f32>()?.to_vec(), normal?.values::<f32>()?.to_vec()])
}

#[test]
fn numbers_are_those_of_their_address_everywhere() -> Result<()> {
    for len in [1, 7, 8192, 20_001] {
        for step in [0, 5] {
            let mut uniform = Stream::new(key_of(SEED), [step as u32, 3, 0]);
            let mut normal = Stream::new(key_of(SEED), [step as u32, 4, 0]);
            let expected: [Vec<f32>; 2] =
                [(0..len).map(|_| uniform.uniform()).collect(), (0..len).map(|_| normal.normal()).collect()];
            for setting in settings(1) {
                let device = setting.prepared_device();
                let found = numbers(device, len, step).map_err(explain)?;
                assert_eq!(found, expected, "{}, {len} numbers", device.describe());
            }
        }
    }
    Ok(())
}

#[test]
fn moments_are_those_of_the_distributions() -> Result<()> {
    let len = 200_000;
    let [uniform, normal] = numbers(&Device::Cpu(Arc::new(Cpu::with(2, Isa::detect()))), len, 9)?;
    let moment =
        |x: &[f32], k: i32, centre: f64| x.iter().map(|x| (*x as f64 - centre).powi(k)).sum::<f64>() / len as f64;
    // Bounds of five standard errors.
    let bound = 5.0 / (len as f64).sqrt();
    assert!((moment(&uniform, 1, 0.5)).abs() < bound * (1.0f64 / 12.0).sqrt());
    assert!((moment(&uniform, 2, 0.5) - 1.0 / 12.0).abs() < bound * (1.0f64 / 180.0).sqrt());
    assert!(moment(&normal, 1, 0.0).abs() < bound);
    assert!((moment(&normal, 2, 0.0) - 1.0).abs() < bound * 2f64.sqrt());
    assert!((moment(&normal, 4, 0.0) - 3.0).abs() < bound * 96f64.sqrt());
    assert!(uniform.iter().all(|x| (0.0..1.0).contains(x)));
    Ok(())
}
