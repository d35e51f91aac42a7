//! Training: steps that can be repeated and resumed bit by bit, and weights files that are refused for what they are.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use sarcomere::Result;
use sarcomere::detector::{self, Detector, DetectorConfig};
use sarcomere::device::{Cpu, Device, cpu::Isa};
use sarcomere::nn::Weights;
use sarcomere::tensor::{DType, Tensor, TensorFile};
use sarcomere::train::data::DataMix;
use sarcomere::train::{
    DetectorRun, DetectorTask, Figures, Phase, RunOptions, Schedule, Task, TrainingStep, TwitchTask, run,
};
use sarcomere::twitch::{self, TwitchEstimator};

mod toy;

use toy::{detector_run, small_detector, twitch_run};

fn device(threads: usize) -> Device {
    Device::Cpu(Arc::new(Cpu::with(threads, Isa::detect())))
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("training-{name}"));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn options(folder: &std::path::Path, resume: bool) -> RunOptions {
    RunOptions {
        folder: folder.to_path_buf(),
        resume,
        log_every: 1,
        validate_every: 100,
        checkpoint_every: 1,
        time_limit_s: None,
    }
}

/// Trains to the end in one go, and again stopped after two steps and resumed by another task; the checkpoints must have the
/// same bytes.
fn resumes_exactly<T: Task>(name: &str, make: impl Fn(usize) -> Result<T>) -> Result<()> {
    let (whole, parts) = (folder(&format!("{name}-whole")), folder(&format!("{name}-parts")));
    assert_eq!(run(&mut make(2)?, &options(&whole, false), |_| (), || false)?, 4);
    let steps = std::cell::Cell::new(0);
    // Another number of threads: that must not matter either.
    let done = run(&mut make(1)?, &options(&parts, false), |p| steps.set(p.step), || steps.get() == 2)?;
    assert_eq!(done, 2);
    assert_eq!(run(&mut make(2)?, &options(&parts, true), |_| (), || false)?, 4);
    let read = |folder: &PathBuf| TensorFile::read(folder.join("checkpoint.safetensors"));
    let (whole, parts) = (read(&whole)?, read(&parts)?);
    assert_eq!(whole.metadata, parts.metadata);
    assert!(whole.tensors.len() > 20);
    let mut moved = 0;
    for (name, tensor) in &whole.tensors {
        assert!(tensor.bytes() == parts.tensor(name)?.bytes(), "{name} differs after resuming");
        moved += usize::from(name.starts_with("optimizer.mean") && tensor.bytes().iter().any(|b| *b != 0));
    }
    assert!(moved > 5, "only {moved} parameters had a gradient");
    Ok(())
}

#[test]
fn the_detector_resumes_bit_by_bit() -> Result<()> {
    resumes_exactly("detector", |threads| DetectorTask::new(&device(threads), detector_run()))
}

#[test]
fn the_twitch_estimator_resumes_bit_by_bit() -> Result<()> {
    resumes_exactly("twitch", |threads| TwitchTask::new(&device(threads), twitch_run(), None))
}

/// Two steps without the ResNet, then two of everything at a tenth of the rate, on other recordings.
fn run_in_phases() -> DetectorRun {
    let mut run = detector_run();
    let phase = Phase { steps: 2, schedule: Schedule::Constant(1e-3), frozen: Vec::new(), ..run.phases[0].clone() };
    let frozen = Phase { frozen: vec!["backbone.".to_owned()], ..phase.clone() };
    let data = DataMix { presets: vec![("paper".to_owned(), 1.0)], ..phase.data.clone() };
    run.phases = vec![frozen, Phase { schedule: Schedule::Constant(1e-4), data, ..phase }];
    run
}

#[test]
fn phases_freeze_what_they_say_and_then_let_go() -> Result<()> {
    let mut task = DetectorTask::new(&device(2), run_in_phases())?;
    assert_eq!(task.training().steps(), 4);
    // Moving statistics follow the recordings, frozen or not.
    let weights = |task: &DetectorTask| -> Result<_> {
        let is_statistic = |name: &str| name.contains(".moving_");
        Ok(task.weights()?.tensors().clone().into_iter().filter(|(name, _)| !is_statistic(name)).collect::<Vec<_>>())
    };
    let rate = |figures: Figures| figures.iter().find(|(name, _)| *name == "learning_rate").unwrap().1 as f32;
    let first = weights(&task)?;
    assert_eq!([rate(task.step(0)?), rate(task.step(1)?)], [1e-3, 1e-3]);
    let second = weights(&task)?;
    assert_eq!([rate(task.step(2)?), rate(task.step(3)?)], [1e-4, 1e-4]);
    let third = weights(&task)?;
    let moved = |part: &str, from: &[(String, Tensor)], to: &[(String, Tensor)]| {
        let of_part = from.iter().zip(to).filter(|((name, _), _)| name.starts_with(part));
        of_part.filter(|((_, a), (_, b))| a.bytes() != b.bytes()).count()
    };
    let backbone = first.iter().filter(|(name, _)| name.starts_with("backbone.")).count();
    assert!(backbone > 10, "{backbone} tensors of the ResNet");
    assert_eq!(moved("backbone.", &first, &second), 0);
    assert!(moved("backbone.", &second, &third) > backbone / 2);
    // What lies before the ResNet is trained through it.
    assert!(moved("stem.", &first, &second) > 0 && moved("rpn.", &first, &second) > 0);
    Ok(())
}

#[test]
fn a_run_resumes_bit_by_bit_where_a_phase_begins() -> Result<()> {
    resumes_exactly("phases", |threads| DetectorTask::new(&device(threads), run_in_phases()))
}

#[test]
fn the_papers_phases() {
    let run = DetectorRun::paper(DetectorRun::PAPER_STEPS);
    let phases: Vec<_> = run.phases.iter().map(|p| (p.steps, p.schedule.clone(), p.data.clean_share)).collect();
    let constant = Schedule::Constant;
    let expected = [(20_000, 1e-3, 1.0), (180_000, 1e-4, 1.0), (300_000, 1e-5, 1.0), (100_000, 1e-5, 0.0)];
    assert_eq!(phases, expected.map(|(steps, rate, clean)| (steps, constant(rate), clean)));
    let frozen: Vec<usize> = run.phases.iter().map(|p| p.frozen.len()).collect();
    assert_eq!((frozen, &run.phases[0].frozen[0][..]), (vec![1, 0, 0, 0], "backbone."));
    let short: Vec<u64> = DetectorRun::paper(600).phases.iter().map(|p| p.steps).collect();
    assert_eq!(short, [20, 180, 300, 100]);
}

#[test]
fn runs_that_cannot_be_are_refused() {
    let refused = |change: &dyn Fn(&mut DetectorRun), expected: &str| {
        let mut run = run_in_phases();
        change(&mut run);
        let text = DetectorTask::new(&device(1), run).err().expect("this should have failed").to_string();
        assert!(text.contains(expected), "{text}, expected {expected}");
    };
    refused(&|run| run.phases.clear(), "phases: expected at least one");
    refused(&|run| run.phases[1].steps = 0, "phases: expected at least one");
    refused(&|run| run.phases[0].frozen.push("resnet".into()), "phases.frozen: expected how a variable's name begins");
    refused(&|run| run.phases[1].frozen.push(String::new()), "phases.frozen: leaves nothing to train");
    refused(&|run| run.phases[0].data.presets.clear(), "data.presets: needs at least one preset");
    refused(
        &|run| run.network.frames = 200,
        "detector.frames: expected 400, the frames of the recordings it is to read, got 200",
    );
}

/// A detector whose validation scores are given.
struct Scored {
    inner: DetectorTask,
    scores: std::vec::IntoIter<f64>,
}

impl Task for Scored {
    type Config = DetectorRun;
    fn config(&self) -> &DetectorRun {
        self.inner.config()
    }
    fn batch(&self) -> usize {
        self.inner.batch()
    }
    fn step(&mut self, step: u64) -> Result<Figures> {
        self.inner.step(step)
    }
    fn validate(&mut self) -> Result<Figures> {
        Ok(vec![("score", self.scores.next().expect("a score for each validation"))])
    }
    fn training(&self) -> &TrainingStep {
        self.inner.training()
    }
    fn training_mut(&mut self) -> &mut TrainingStep {
        self.inner.training_mut()
    }
    fn weights(&self) -> Result<Weights> {
        self.inner.weights()
    }
}

#[test]
fn resuming_keeps_the_best_weights_unless_it_finds_better_ones() -> Result<()> {
    let folder = folder("best");
    let options = |resume| RunOptions { validate_every: 1, ..options(&folder, resume) };
    let go = |resume: bool, scores: Vec<f64>| -> Result<Vec<u8>> {
        let count = scores.len();
        let mut task = Scored { inner: DetectorTask::new(&device(2), detector_run())?, scores: scores.into_iter() };
        let steps = std::cell::Cell::new(0);
        run(&mut task, &options(resume), |_| steps.set(steps.get() + 1), || steps.get() == count)?;
        Ok(fs::read(folder.join("best.safetensors")).expect("there was a validation"))
    };
    let best = go(false, vec![0.4, 0.3])?;
    assert!(best == go(true, vec![0.35])?, "worse weights than those before the interruption took their place");
    assert!(best != go(true, vec![0.5])?, "better weights were not kept");
    Ok(())
}

#[test]
fn losses_fall_on_a_recording_seen_again_and_again() -> Result<()> {
    let mut run = detector_run();
    let phase = &mut run.phases[0];
    phase.data =
        DataMix { recordings: Some(2), flips: false, presets: vec![("paper".to_owned(), 1.0)], ..phase.data.clone() };
    phase.schedule = Schedule::Constant(3e-3);
    let mut task = DetectorTask::new(&device(2), run)?;
    let loss = |task: &mut DetectorTask, step: u64| task.step(step).map(|figures| figures[0].1);
    let first = loss(&mut task, 0)?;
    let mut last = first;
    for step in 1..30 {
        last = loss(&mut task, step)?;
    }
    assert!(last < 0.7 * first, "the loss went from {first} to {last}");
    Ok(())
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_as_another() -> Result<()> {
    let folder = folder("refusals");
    let stop_at_once = || true;
    run(&mut DetectorTask::new(&device(2), detector_run())?, &options(&folder, false), |_| (), stop_at_once)?;
    let text = |result: Result<u64>| result.expect_err("this should have failed").to_string();
    let mut again = DetectorTask::new(&device(2), detector_run())?;
    let refusal = text(run(&mut again, &options(&folder, false), |_| (), stop_at_once));
    assert!(refusal.contains("already exists"), "{refusal}");
    let mut other = DetectorTask::new(&device(2), DetectorRun { seed: 99, ..detector_run() })?;
    let refusal = text(run(&mut other, &options(&folder, true), |_| (), stop_at_once));
    assert!(refusal.contains("another configuration"), "{refusal}");
    let refusal = text(run(&mut again, &options(&folder.join("none"), true), |_| (), stop_at_once));
    assert!(refusal.contains("no run to resume"), "{refusal}");
    Ok(())
}

#[test]
fn weights_are_checked_for_kind_names_shapes_and_finiteness() -> Result<()> {
    let folder = folder("weights");
    fs::create_dir_all(&folder).expect("a folder for the test");
    let task = DetectorTask::new(&device(1), detector_run())?;
    let good = task.weights()?;
    let path = folder.join("weights.safetensors");
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        good.rounded(dtype)?.write(&path)?;
        let read = Weights::read(&path, detector::KIND)?;
        assert_eq!(read.config::<DetectorConfig>()?, small_detector());
        Detector::from_weights(&device(1), &read)?;
    }
    let refused = |change: &dyn Fn(&mut TensorFile), expected: &str| -> Result<()> {
        good.write(&path)?;
        let mut file = TensorFile::read(&path)?;
        change(&mut file);
        file.write(&path)?;
        let loaded = Weights::read(&path, detector::KIND).and_then(|w| Detector::from_weights(&device(1), &w));
        let text = loaded.expect_err("this should have failed").to_string();
        assert!(text.contains("weights.safetensors") && text.contains(expected), "{text}, expected {expected}");
        Ok(())
    };
    let set = |file: &mut TensorFile, name: &str, tensor: Tensor| drop(file.tensors.insert(name.to_owned(), tensor));
    refused(&|file| drop(file.tensors.remove("rpn.conv.bias")), "no tensor 'rpn.conv.bias'")?;
    refused(&|file| set(file, "more", Tensor::scalar(1.0)), "'more' belongs to no layer")?;
    refused(&|file| set(file, "rpn.conv.bias", Tensor::scalar(1.0)), "'rpn.conv.bias' is [1]")?;
    refused(&|file| set(file, "rpn.conv.bias", Tensor::scalar(f32::NAN)), "not finite at element 0")?;
    refused(&|file| set(file, "rpn.conv.bias", Tensor::zeros(DType::I32, [8])), "is i32")?;
    refused(&|file| drop(file.metadata.insert("sarcomere.config".into(), "{}".into())), "missing field")?;
    refused(&|file| file.metadata.clear(), "no metadata")?;
    good.write(&path)?;
    let wrong = Weights::read(&path, twitch::KIND).and_then(|w| TwitchEstimator::from_weights(&device(1), &w));
    let text = wrong.expect_err("this should have failed").to_string();
    assert!(text.contains("'detector' network, expected 'twitch'"), "{text}");
    let bytes = fs::read(&path).expect("it was just written");
    for cut in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..cut]).expect("a truncated file for the test");
        let text = Weights::read(&path, detector::KIND).expect_err("this should have failed").to_string();
        assert!(text.contains("truncated"), "{cut} bytes: {text}");
    }
    Ok(())
}
