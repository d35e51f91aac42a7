//! Training: steps that can be repeated and resumed bit by bit, and weights files that are refused for what they are.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use sarcomere::Result;
use sarcomere::detector::{self, Detector, DetectorConfig, Stem};
use sarcomere::device::{Cpu, Device, cpu::Isa};
use sarcomere::nn::{Stage, Weights};
use sarcomere::tensor::{DType, Tensor, TensorFile};
use sarcomere::train::{DetectorRun, DetectorTask, RunOptions, Task, TwitchRun, TwitchTask, run};
use sarcomere::twitch::{self, Front, TwitchConfig, TwitchEstimator};

fn device(threads: usize) -> Device {
    Device::Cpu(Arc::new(Cpu::with(threads, Isa::detect())))
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("training-{name}"));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn small_detector() -> DetectorConfig {
    let lite = DetectorConfig::lite();
    let mut head = lite.mask_head.clone();
    if let Some(head) = &mut head {
        (head.width, head.deconv_width, head.convs) = (4, 4, 1);
    }
    let stage = |stride| Stage { blocks: 1, filters: vec![4, 4], stride };
    DetectorConfig {
        stem: Stem::NeighbourCorrelation { radii: vec![1, 3], smooth_frames: 5, floor: 0.02, filters: 4, blocks: 1 },
        stages: vec![stage(1), stage(2), stage(2)],
        fpn_width: 8,
        rpn_width: 8,
        box_head: [8, 8],
        rois_per_image: 16,
        proposals_training: 32,
        proposals_inference: 32,
        mask_head: head,
        ..lite
    }
}

fn detector_run() -> DetectorRun {
    DetectorRun { network: small_detector(), batch: 2, validation_recordings: 1, ..DetectorRun::lite(4) }
}

fn twitch_run() -> TwitchRun {
    let front =
        Front::Unmixed { grid: [64, 64], surround: 16, width: 4, kernel: 5, residual_kernel: 3, dilations: vec![1, 2] };
    let network = TwitchConfig { front, gru: 4, ..TwitchConfig::lite() };
    TwitchRun { network, batch: 1, detected_share: 0.0, validation_recordings: 1, ..TwitchRun::lite(4) }
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

#[test]
fn losses_fall_on_a_recording_seen_again_and_again() -> Result<()> {
    let mut run = detector_run();
    run.data.recordings = Some(2);
    run.data.flips = false;
    run.data.presets = vec![("paper".to_owned(), 1.0)];
    run.schedule = sarcomere::train::Schedule::Constant(3e-3);
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
