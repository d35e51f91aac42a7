//! Training the detector from the simulator's stream.

use serde::{Deserialize, Serialize};

use super::data::DataMix;
use super::optimizer::Optimizer;
use super::run::{Figures, Task};
use super::schedule::Schedule;
use super::step::{Phase, Recipe, SampleInputs, TrainingStep};
use crate::Result;
use crate::detector::{self, Detector, DetectorConfig, DetectorTraining, TrainingOptions};
use crate::device::Device;
use crate::evaluate::detect_cell;
use crate::graph::{Graph, Value};
use crate::metrics::Statistic;
use crate::muscle::{Noise, Split, TestCell};
use crate::nn::Weights;
use crate::ops::random::philox::{Stream, key_of};

/// A training run of the detector: with the same values it makes the same weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorRun {
    /// The network.
    pub network: DetectorConfig,
    /// Recordings a step.
    pub batch: usize,
    /// What is trained, how fast and on what, one phase after the other.
    pub phases: Vec<Phase>,
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Largest norm of all gradients together.
    pub clip_norm: f32,
    /// Seed of weights, recordings and sampling.
    pub seed: u64,
    /// Validation recordings in each of its cells.
    pub validation_recordings: u32,
}

impl DetectorRun {
    /// The run that made the shipped weights, with that many steps.
    pub fn lite(steps: u64) -> Self {
        let schedule = Schedule::Cosine { peak: 1e-3, warmup: 100, steps };
        Self {
            network: DetectorConfig::lite(),
            batch: 8,
            phases: vec![Phase { steps, schedule, frozen: Vec::new(), data: DataMix::default() }],
            optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 1e-4 },
            clip_norm: 5.0,
            seed: 1,
            validation_recordings: 8,
        }
    }

    /// The paper's 600,000 steps of 8 recordings: 20,000 without the ResNet, 480,000 with it at two rates, then 100,000 with
    /// noise (10 to 30 dB; the paper gives no rate for these, which go on at the last one). Another number of `steps` shares
    /// them out in proportion.
    pub fn paper(steps: u64) -> Self {
        let phase = |share: u64, rate: f32, frozen: &[&str], clean_share: f32| Phase {
            steps: (steps * share / Self::PAPER_STEPS).max(1),
            schedule: Schedule::Constant(rate),
            frozen: frozen.iter().map(|part| (*part).to_owned()).collect(),
            data: DataMix {
                presets: vec![("paper".to_owned(), 1.0)],
                clean_share,
                flips: true,
                recordings: Some(Split::Train.recordings()),
            },
        };
        let mut phases = vec![
            phase(20_000, 1e-3, &["backbone."], 1.0),
            phase(180_000, 1e-4, &[], 1.0),
            phase(300_000, 1e-5, &[], 1.0),
        ];
        let before: u64 = phases.iter().map(|phase| phase.steps).sum();
        phases.push(Phase { steps: steps.saturating_sub(before).max(1), ..phase(100_000, 1e-5, &[], 0.0) });
        let optimizer = Optimizer::Sgd { momentum: 0.9, decay: 1e-4 };
        Self { network: DetectorConfig::paper(), phases, optimizer, ..Self::lite(steps) }
    }

    /// Steps of the paper's run.
    pub const PAPER_STEPS: u64 = 600_000;
}

/// A detector in training.
pub struct DetectorTask {
    run: DetectorRun,
    training: TrainingStep,
    values: DetectorTraining,
    validation: Detector,
    batch: Batch,
}

/// Host copies of the small inputs, reused from step to step.
struct Batch {
    classes: Vec<i32>,
    rpn_keys: Vec<f32>,
    roi_keys: Vec<f32>,
}

impl DetectorTask {
    /// Builds the training graph and initialises the weights.
    pub fn new(device: &Device, run: DetectorRun) -> Result<Self> {
        let mut g = Graph::new();
        let values = detector::training(&mut g, &run.network, run.batch, TrainingOptions::default())?;
        let len = |value: Value| g.ty(value).len();
        let batch = Batch {
            classes: vec![0; len(values.classes)],
            rpn_keys: vec![0.0; values.rpn_keys.map_or(0, len)],
            roi_keys: vec![0.0; len(values.roi_keys)],
        };
        let mut losses = vec![("loss", values.total)];
        losses.extend(&values.losses);
        let DetectorRun { phases, optimizer, clip_norm, seed, .. } = run.clone();
        let training = TrainingStep::new(device, g, losses, Recipe { phases, optimizer, clip_norm, seed })?;
        run.network.expect_recordings(training.recording_shape())?;
        let validation = Detector::new(device, &run.network)?;
        Ok(Self { training, values, validation, batch, run })
    }

    fn feed(&mut self, step: u64) -> Result<()> {
        let (training, values, batch) = (&mut self.training, &self.values, &mut self.batch);
        let inputs = SampleInputs {
            recordings: values.recordings,
            boxes: Some(values.boxes_px),
            masks: values.masks,
            signals: None,
        };
        let counts = training.feed_samples(step * self.run.batch as u64, self.run.network.max_units, inputs)?;
        // There is one class.
        for (classes, count) in batch.classes.chunks_exact_mut(self.run.network.max_units).zip(&counts) {
            classes.iter_mut().zip(0..).for_each(|(class, unit)| *class = i32::from(unit < *count));
        }
        for (slot, keys) in [&mut batch.rpn_keys, &mut batch.roi_keys].into_iter().enumerate() {
            let mut draw = Stream::new(key_of(self.run.seed), [0x5a3b_1e00 + slot as u32, step as u32, 0]);
            keys.iter_mut().for_each(|key| *key = draw.uniform());
        }
        training.feed(values.counts, &counts)?;
        training.feed(values.classes, &batch.classes)?;
        training.feed(values.roi_keys, &batch.roi_keys)?;
        if let Some(keys) = values.rpn_keys {
            training.feed(keys, &batch.rpn_keys)?;
        }
        Ok(())
    }
}

impl Task for DetectorTask {
    type Config = DetectorRun;

    fn config(&self) -> &DetectorRun {
        &self.run
    }

    fn batch(&self) -> usize {
        self.run.batch
    }

    fn step(&mut self, step: u64) -> Result<Figures> {
        self.training.enter(step)?;
        self.feed(step)?;
        self.training.run(step)
    }

    fn validate(&mut self) -> Result<Figures> {
        self.validation.copy_weights_from(self.training.executor())?;
        let mut figures: Figures = vec![("score", 0.0)];
        let mut add = |name: &'static str, value: Option<Statistic>| {
            // Without any prediction there is no precision: that is the worst there can be.
            let mean = value.map_or(0.0, |value| value.mean);
            figures.push((name, mean));
            mean
        };
        let (test, recordings) =
            (TestCell { units: 25, noise: Noise::Snr { db: 10.0 } }, self.run.validation_recordings);
        let names = [("paper", "paper_recall", "paper_precision"), ("hard", "hard_recall", "hard_precision")];
        let mut score = 0.0;
        for (preset, recall, precision) in names {
            let report = detect_cell(&mut self.validation, preset, test, recordings, Split::Validation, self.run.seed)?;
            let report = report.detection.unwrap_or_default();
            score += 0.25 * (add(recall, report.recall) + add(precision, report.precision));
            if preset == "paper" {
                add("paper_segmentation_precision", report.segmentation_precision);
                add("paper_segmentation_recall", report.segmentation_recall);
            }
        }
        figures[0].1 = score;
        Ok(figures)
    }

    fn training(&self) -> &TrainingStep {
        &self.training
    }

    fn training_mut(&mut self) -> &mut TrainingStep {
        &mut self.training
    }

    fn weights(&self) -> Result<Weights> {
        self.training.weights(detector::KIND, &self.run.network)
    }
}
