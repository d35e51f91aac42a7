//! Both networks, a few channels wide, trained on the GPU through the captured graph: the losses are the processor's, and the
//! same bits come every time.

use sarcomere::Result;
use sarcomere::device::Device;
use sarcomere::selftest::{Allowance, train_as_processor};
use sarcomere::train::{DetectorTask, Task, TwitchTask};

use crate::emulator::Emulator;
use crate::support::{device, emulator, gpu};
use crate::toy;

/// Steps beside the processor.
const STEPS: u64 = 10;
/// Steps of the runs that are compared bit for bit.
const FREE_STEPS: u64 = 3;

/// Name and bytes of all variables after some steps of a task.
fn train<T: Task>(task: &mut T) -> Result<Vec<(String, Vec<u8>)>> {
    (0..FREE_STEPS).try_for_each(|step| task.step(step).map(drop))?;
    let executor = task.training().executor();
    let names: Vec<String> = executor.graph().variables().iter().map(|(name, _)| (*name).to_owned()).collect();
    names.into_iter().map(|name| Ok((name.clone(), executor.get(&name)?.bytes().to_vec()))).collect()
}

/// Trains on the emulated GPU step by step beside the processor, and then twice by itself in other schedules, which must not
/// change a bit. A step is `graphs` graphs and hands in at most `most_bytes`.
fn trains_as_the_processor<T: Task>(
    emulator: &Emulator,
    (graphs, most_bytes): (u64, u64),
    make: impl Fn(&Device) -> Result<T>,
) -> Result<()> {
    let shared = device(gpu()?);
    let mut task = make(&shared)?;
    let before = emulator.counters();
    let figures = task.step(0)?.len() as u64;
    let done = emulator.counters().since(&before);
    assert_eq!(done.graph_launches, graphs, "graphs of a step");
    assert!(done.to_device_bytes <= most_bytes, "a step hands in at most {most_bytes} bytes: {done:?}");
    // The learning rate is the host's own.
    assert_eq!(done.to_host, figures - 1, "a step reads its figures at its end and nothing else: {done:?}");
    train_as_processor(&shared, STEPS, Allowance::ROUNDING, &make)?;
    let first = train(&mut make(&shared)?)?;
    emulator.seed(5);
    let second = train(&mut make(&shared)?)?;
    for ((name, a), (_, b)) in first.iter().zip(&second) {
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
    // As above; what is handed in are numbers.
    trains_as_the_processor(emulator, (2, 1_000), make)
}
