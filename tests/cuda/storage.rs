//! Values kept as bf16 under that policy: which, and that networks train with them.

use std::sync::Arc;

use sarcomere::device::cuda::{Bundle, Cuda, KernelCache, Precision, Sources};
use sarcomere::graph::{Executor, Graph, Plan};
use sarcomere::ops::conv::{ConvAttrs, Extras};
use sarcomere::ops::problem::Numbers;
use sarcomere::selftest::{Allowance, train_as_processor};
use sarcomere::tensor::{DType, TensorType};
use sarcomere::train::{DetectorTask, Task, TwitchTask};
use sarcomere::{Device, Result};

use crate::support::{device, emulator};
use crate::toy;

fn with(precision: Precision) -> Result<Device> {
    let cuda = Cuda::with(0, precision, Sources::embedded(), KernelCache::disabled(), Bundle::empty())?;
    Ok(device(cuda))
}

#[test]
fn what_lies_between_convolutions_is_kept_as_bf16() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    let mut g = Graph::new();
    let (x, first) =
        (g.input("x", TensorType::f32([2, 9, 9, 8]))?, g.variable("first", TensorType::f32([3, 3, 8, 8]))?);
    let second = g.variable("second", TensorType::f32([3, 3, 8, 8]))?;
    let attrs = ConvAttrs { padding: vec![[1, 1]; 2], ..ConvAttrs::valid(2) };
    let middle = g.conv(x, first, &attrs, Extras::default())?;
    let shown = g.reshape(middle, [2, 81, 8])?;
    let shown = g.reshape(shown, [2, 9, 9, 8])?;
    let read = g.conv(shown, second, &attrs, Extras::default())?;
    // A softmax takes full precision only.
    let other = g.conv(shown, second, &attrs, Extras::default())?;
    let shares = g.softmax(other)?;
    let graph = Arc::new(g);
    let plan = |precision| Plan::new(&graph, &[read, shares], &with(precision)?);
    let (wide, narrow) = (plan(Precision::F32)?, plan(Precision::Bf16)?);
    for value in [x, first, middle, shown, read, other, shares] {
        assert_eq!(wide.stored(&graph, value).dtype, DType::F32);
        let expected = if value == middle || value == shown { DType::Bf16 } else { DType::F32 };
        assert_eq!(narrow.stored(&graph, value).dtype, expected, "{value:?}");
    }
    // The value in the middle has 1296 elements.
    let each = |precision| Plan::without_reuse(&graph, &[read, shares], &with(precision)?);
    assert_eq!(each(Precision::F32)?.arena_bytes - each(Precision::Bf16)?.arena_bytes, 2560, "in units of 256");
    // The convolutions round what they read in any case: nothing else changes.
    let mut results = Vec::new();
    for plan in [Plan::new(&graph, &[read, shares], &with(Precision::Bf16)?)?, {
        // As a target, the value in the middle has full precision.
        Plan::new(&graph, &[read, shares, middle], &with(Precision::Bf16)?)?
    }] {
        let mut executor = Executor::with_plan(&with(Precision::Bf16)?, graph.clone(), plan)?;
        let mut numbers = Numbers::new(3);
        let [input, a, b] = [&[2, 9, 9, 8], &[3, 3, 8, 8], &[3, 3, 8, 8]].map(|shape| numbers.tensor(shape));
        executor.set("first", &a)?;
        executor.set("second", &b)?;
        executor.run(&[(x, &input)])?;
        results.push((executor.output(read)?, executor.output(shares)?));
    }
    assert!(results[0].0.bytes() == results[1].0.bytes() && results[0].1.bytes() == results[1].1.bytes());
    Ok(())
}

/// Share of the bytes of all that nodes make within a step which need not be kept, as they are in bf16.
fn saved(executor: &Executor) -> f64 {
    let (graph, plan) = (executor.graph(), executor.plan());
    let made = graph.nodes().iter().flat_map(|node| &node.outputs).filter(|value| plan.place(**value).is_some());
    let (mut wide, mut kept) = (0, 0);
    for value in made {
        wide += graph.ty(*value).bytes();
        kept += plan.stored(graph, *value).bytes();
    }
    1.0 - kept as f64 / wide as f64
}

/// A step beside the processor, and that a good part of what a step makes is kept so.
fn trains<T: Task>(least: f64, make: impl Fn(&Device) -> Result<T>) -> Result<()> {
    let saved = saved(make(&with(Precision::Bf16)?)?.training().executor());
    assert!(saved > least, "{saved} of the bytes are saved");
    // Later steps of so small a network depend on which of a few regions the first ones took.
    train_as_processor(&with(Precision::Bf16)?, 1, Allowance::RANKING, make)
}

#[test]
fn the_detector_trains_in_bf16() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    trains(0.2, |device| DetectorTask::new(device, toy::detector_run()))
}

#[test]
fn the_twitch_estimator_trains_in_bf16() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    // Most is the recording and what is unmixed from it.
    trains(0.04, |device| TwitchTask::new(device, toy::twitch_run(), None))
}
