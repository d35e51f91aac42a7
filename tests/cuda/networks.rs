//! Both networks, a few channels wide, trained on the GPU through the captured graph: the losses are the processor's, and the
//! same bits come every time.

use std::sync::Arc;

use sarcomere::device::cpu::Isa;
use sarcomere::device::{Cpu, Device};
use sarcomere::train::{DetectorTask, Figures, Task, TwitchTask};
use sarcomere::{Error, Result};

use crate::emulator::Emulator;
use crate::support::{device, emulator, gpu};
use crate::toy;

const STEPS: u64 = 10;

/// Ten steps of a task: the figures of each, and all variables at the end.
struct Trained {
    figures: Vec<Figures>,
    variables: Vec<(String, Vec<u8>)>,
}

fn train<T: Task>(task: &mut T) -> Result<Trained> {
    let mut figures = Vec::new();
    for step in 0..STEPS {
        figures.push(task.step(step)?);
    }
    let executor = task.training().executor();
    let names: Vec<String> = executor.graph().variables().iter().map(|(name, _)| (*name).to_owned()).collect();
    let variables = names.into_iter().map(|name| Ok((name.clone(), executor.get(&name)?.bytes().to_vec())));
    Ok(Trained { figures, variables: variables.collect::<Result<_>>()? })
}

/// Trains on the processor with two instruction sets, whose rounding differs honestly, and on the emulated GPU twice, in other
/// schedules. The GPU may differ from the processor by twice as much as the processor's variants do, which share the order of most
/// sums, and by 1e-4 a step for sums in another order: about a thousand units in the last place. From itself not at all.
/// A step is `graphs` graphs and hands in at most `most_bytes`.
fn trains_as_the_processor<T: Task>(
    emulator: &Emulator,
    (graphs, most_bytes): (u64, u64),
    make: impl Fn(&Device) -> Result<T>,
) -> Result<()> {
    let processor = |isa| Device::Cpu(Arc::new(Cpu::with(2, isa)));
    let best = train(&mut make(&processor(Isa::detect()))?)?;
    let plain = train(&mut make(&processor(Isa::Portable))?)?;
    let shared = device(gpu()?);
    let mut task = make(&shared)?;
    let before = emulator.counters();
    let figures = task.step(0)?.len() as u64;
    let done = emulator.counters().since(&before);
    assert_eq!(done.graph_launches, graphs, "graphs of a step");
    assert!(done.to_device_bytes <= most_bytes, "a step hands in at most {most_bytes} bytes: {done:?}");
    assert!(done.to_host <= figures, "a step reads only its {figures} figures, at its end: {done:?}");
    let first = train(&mut make(&shared)?)?;
    for (step, figures) in first.figures.iter().enumerate() {
        for (index, (name, found)) in figures.iter().enumerate() {
            let (expected, honest) = (best.figures[step][index].1, plain.figures[step][index].1);
            let bound = 2.0 * (expected - honest).abs() + 1e-4 * expected.abs().max(1e-3) * (step + 1) as f64;
            if !((found - expected).abs() <= bound) {
                let message =
                    format!("step {step}: {name} is {found:e}, the processor has {expected:e}, bound {bound:e}");
                return Err(Error::graph(message));
            }
        }
    }
    emulator.seed(5);
    let second = train(&mut make(&shared)?)?;
    for ((name, a), (_, b)) in first.variables.iter().zip(&second.variables) {
        assert!(a == b, "'{name}' has other bits in another schedule");
    }
    Ok(())
}

#[test]
fn the_detector_trains_as_on_the_processor() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let make = |device: &Device| DetectorTask::new(device, toy::detector_run());
    // One graph makes the recordings, one trains on them; what is handed in are numbers, keys and classes.
    trains_as_the_processor(emulator, (2, 1_000_000), make)
}

#[test]
fn the_twitch_estimator_trains_as_on_the_processor() -> Result<()> {
    let Some(emulator) = emulator() else { return Ok(()) };
    let make = |device: &Device| TwitchTask::new(device, toy::twitch_run(), None);
    trains_as_the_processor(emulator, (1, 8_000_000), make)
}
