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
    let (x, first) = (g.input("x", TensorType::f32([2, 9, 9, 8]))?, g.variable("first", TensorType::f32([3, 3, 8, 8]))?);
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
    assert!(narrow.peak_bytes() < wide.peak_bytes());
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

/// Steps beside the processor, and that most of what a step holds at once is kept so.
fn trains<T: Task>(make: impl Fn(&Device) -> Result<T>) -> Result<()> {
    let (wide, narrow) = (make(&with(Precision::F32)?)?, make(&with(Precision::Bf16)?)?);
    let arena = |task: &T| task.training().executor().plan().arena_bytes;
    let (wide, narrow) = (arena(&wide), arena(&narrow));
    assert!(narrow < wide, "{narrow} bytes of an arena, {wide} in full precision");
    train_as_processor(&with(Precision::Bf16)?, 3, Allowance::RANKING, make)
}

#[test]
fn the_detector_trains_in_bf16() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    trains(|device| DetectorTask::new(device, toy::detector_run()))
}

#[test]
fn the_twitch_estimator_trains_in_bf16() -> Result<()> {
    let Some(_) = emulator() else { return Ok(()) };
    trains(|device| TwitchTask::new(device, toy::twitch_run(), None))
}
