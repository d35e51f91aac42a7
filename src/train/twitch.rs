//! Training the twitch estimator from the simulator's stream.

use serde::{Deserialize, Serialize};

use super::data::{DataMix, Sample};
use super::optimizer::Optimizer;
use super::run::{Figures, Task};
use super::schedule::Schedule;
use super::step::{Phase, Recipe, SampleInputs, TrainingStep};
use crate::detector::Detector;
use crate::device::Device;
use crate::evaluate::signal_cell;
use crate::graph::{Graph, Value};
use crate::metrics::Overlap;
use crate::muscle::{Noise, Split, TestCell};
use crate::nn::Weights;
use crate::ops::random::philox::{Stream, key_of};
use crate::tensor::TensorType;
use crate::twitch::{self, TwitchConfig, TwitchEstimator, TwitchInput, TwitchNetwork};
use crate::{Error, Result};

/// A training run of the twitch estimator: with the same values (and detector) it makes the same weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwitchRun {
    /// The network.
    pub network: TwitchConfig,
    /// The recordings.
    pub data: DataMix,
    /// Recordings a step (all their units are trained on), or crops a step where the network reads crops.
    pub batch: usize,
    /// Units of a recording at most.
    pub max_units: usize,
    /// Share of recordings whose territories are those that the detector finds, with all its errors; the others have the true ones.
    /// Above 0, recordings are simulated on the processor, where those territories are matched with the true ones, and not by the
    /// device that trains.
    pub detected_share: f32,
    /// Steps in all.
    pub steps: u64,
    /// Learning rate.
    pub schedule: Schedule,
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Largest norm of all gradients together.
    pub clip_norm: f32,
    /// Seed of weights and recordings.
    pub seed: u64,
    /// Validation recordings in each of its cells.
    pub validation_recordings: u32,
}

impl TwitchRun {
    /// A run of that many steps as the shipped weights were made with, from random weights. They took two, the second from the
    /// weights of the first, with other seeds, another rate and fewer steps: their card, `weights/twitch-lite.md`, tells which.
    pub fn lite(steps: u64) -> Self {
        Self {
            network: TwitchConfig::lite(),
            data: DataMix::default(),
            batch: 4,
            max_units: 40,
            detected_share: 0.5,
            steps,
            schedule: Schedule::Cosine { peak: 2e-3, warmup: 50, steps },
            optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 1e-4 },
            clip_norm: 1.0,
            seed: 2,
            validation_recordings: 4,
        }
    }

    /// The paper's run: 32 crops round true territories, Adam at 1e-4, gradient norm 1.
    pub fn paper(steps: u64) -> Self {
        Self {
            network: TwitchConfig::paper(),
            data: DataMix {
                presets: vec![("paper".to_owned(), 1.0)],
                clean_share: 1.0,
                flips: true,
                recordings: Some(Split::Train.recordings()),
            },
            batch: 32,
            detected_share: 0.0,
            schedule: Schedule::Constant(1e-4),
            optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, decay: 0.0 },
            ..Self::lite(steps)
        }
    }

    /// Steps of the paper's run.
    pub const PAPER_STEPS: u64 = 100_000;
}

/// A twitch estimator in training.
pub struct TwitchTask {
    run: TwitchRun,
    training: TrainingStep,
    network: TwitchNetwork,
    target: Value,
    detector: Option<Detector>,
    validation: TwitchEstimator,
    /// Host copies of the inputs, where the detector has to look at recordings; reused from step to step.
    host: Option<HostBatch>,
}

struct HostBatch {
    recordings: Vec<f32>,
    masks: Vec<f32>,
    counts: Vec<i32>,
    targets: Vec<f32>,
}

impl TwitchTask {
    /// Builds the training graph and initialises the weights. A run with a share of detected territories needs the detector.
    pub fn new(device: &Device, run: TwitchRun, detector: Option<Detector>) -> Result<Self> {
        if run.detected_share > 0.0 && detector.is_none() {
            let message = "is above 0: give the weights of a trained detector, or set it to 0";
            return Err(Error::value("detected_share", message));
        }
        let mut g = Graph::new();
        let network = TwitchNetwork::build(&mut g, &run.network, run.batch, run.max_units, true)?;
        let target = g.input("target", TensorType::f32(g.shape(network.signal).clone()))?;
        let loss = g.amplitude_mse_loss(network.signal, target, network.counts())?;
        let len = |value: Value| g.ty(value).len();
        let host = match network.input {
            TwitchInput::Recordings { recordings, masks, .. } if run.detected_share > 0.0 => Some(HostBatch {
                recordings: vec![0.0; len(recordings)],
                masks: vec![0.0; len(masks)],
                counts: vec![0; run.batch],
                targets: vec![0.0; len(target)],
            }),
            _ => None,
        };
        let TwitchRun { steps, schedule, data, optimizer, clip_norm, seed, .. } = run.clone();
        let phases = vec![Phase { steps, schedule, frozen: Vec::new(), data }];
        let training =
            TrainingStep::new(device, g, vec![("loss", loss)], Recipe { phases, optimizer, clip_norm, seed })?;
        run.network.expect_recordings(training.recording_shape())?;
        let validation = TwitchEstimator::new(device, &run.network)?;
        Ok(Self { training, network, target, detector, validation, host, run })
    }

    /// Hands in recordings with all their territories, and the true signals in units of the standardised recording.
    fn feed_recordings(&mut self, step: u64, [recordings, masks, counts]: [Value; 3]) -> Result<()> {
        let first = step * self.run.batch as u64;
        let inputs = SampleInputs { recordings, boxes: None, masks: Some(masks), signals: Some(self.target) };
        let units = self.training.feed_samples(first, self.run.max_units, inputs)?;
        self.training.feed(counts, &units)
    }

    /// As [`TwitchTask::feed_recordings`], by way of the host: in a share of the recordings, with the territories that the detector
    /// finds. One that answers to no true unit gets a silent target, which the loss leaves out.
    fn feed_detected(&mut self, step: u64, [recordings, masks, counts]: [Value; 3]) -> Result<()> {
        let (units, frames) = (self.run.max_units, self.run.network.frames);
        let Some(batch) = &mut self.host else {
            return Err(Error::graph("there is no memory for detected territories"));
        };
        let samples = self.training.samples(step * self.run.batch as u64, &mut batch.recordings);
        let each = batch.recordings.len() / self.run.batch;
        let pixels = batch.masks.len() / (self.run.batch * units);
        batch.masks.fill(0.0);
        batch.targets.fill(0.0);
        let mut draw = Stream::new(key_of(self.run.seed), [0x7717_c400, step as u32, 0]);
        for (index, sample) in samples.iter().enumerate() {
            let recording = &batch.recordings[index * each..(index + 1) * each];
            let territories: Vec<(Vec<u8>, Option<usize>)> = match &mut self.detector {
                Some(detector) if draw.uniform() < self.run.detected_share => detected(detector, recording, sample)?,
                _ => sample.units.iter().enumerate().map(|(i, unit)| (unit.mask.clone(), Some(i))).collect(),
            };
            batch.counts[index] = territories.len().min(units) as i32;
            for (slot, (mask, unit)) in territories.iter().take(units).enumerate() {
                let row = index * units + slot;
                let plane = &mut batch.masks[row * pixels..(row + 1) * pixels];
                plane.iter_mut().zip(mask).for_each(|(to, from)| *to = f32::from(*from));
                if let Some(unit) = unit {
                    let target = &mut batch.targets[row * frames..(row + 1) * frames];
                    let train = &sample.units[*unit].twitch_train;
                    target.iter_mut().zip(train).for_each(|(to, from)| *to = from / sample.deviation);
                }
            }
        }
        self.training.feed(recordings, &batch.recordings)?;
        self.training.feed(masks, &batch.masks)?;
        self.training.feed(counts, &batch.counts)?;
        self.training.feed(self.target, &batch.targets)
    }

    /// Hands in one crop round the true territory of a random unit of each of `batch` recordings.
    fn feed_crops(&mut self, step: u64, crops: Value) -> Result<()> {
        let mut draw = Stream::new(key_of(self.run.seed), [0x7717_c401, step as u32, 0]);
        let first = step * self.run.batch as u64;
        self.training.feed_crops(first, self.run.max_units, [crops, self.target], |units| draw.below(units))
    }
}

/// Detected territories, each with the true unit that it overlaps most, if by more than half.
fn detected(detector: &mut Detector, recording: &[f32], sample: &Sample) -> Result<Vec<(Vec<u8>, Option<usize>)>> {
    let found = detector.detect(recording)?;
    let pair = |mask: Vec<u8>| {
        let overlaps = sample.units.iter().map(|unit| Overlap::of(&mask, &unit.mask).iou()).enumerate();
        let best = overlaps.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, iou)| *iou > 0.5);
        (mask, best.map(|(index, _)| index))
    };
    Ok(found.into_iter().map(|unit| pair(unit.mask)).collect())
}

impl Task for TwitchTask {
    type Config = TwitchRun;

    fn config(&self) -> &TwitchRun {
        &self.run
    }

    fn batch(&self) -> usize {
        self.run.batch
    }

    fn step(&mut self, step: u64) -> Result<Figures> {
        self.training.enter(step)?;
        match self.network.input {
            TwitchInput::Crops(crops) => self.feed_crops(step, crops)?,
            TwitchInput::Recordings { recordings, masks, counts } if self.host.is_some() => {
                self.feed_detected(step, [recordings, masks, counts])?;
            }
            TwitchInput::Recordings { recordings, masks, counts } => {
                self.feed_recordings(step, [recordings, masks, counts])?;
            }
        }
        self.training.run(step)
    }

    fn validate(&mut self) -> Result<Figures> {
        self.validation.copy_weights_from(self.training.executor())?;
        let (test, recordings) =
            (TestCell { units: 25, noise: Noise::Snr { db: 10.0 } }, self.run.validation_recordings);
        let mut figures: Figures = vec![("score", 0.0)];
        for preset in ["paper", "hard"] {
            let names = match preset {
                "paper" => ["paper_agreement", "paper_least_squares"],
                _ => ["hard_agreement", "hard_least_squares"],
            };
            let report = signal_cell(&mut self.validation, preset, test, recordings, Split::Validation, self.run.seed)?;
            for (method, name) in [crate::evaluate::NETWORK, crate::evaluate::LEAST_SQUARES].into_iter().zip(names) {
                let signals = report.given_territories.get(method);
                let mean = signals.and_then(|report| report.rate_of_agreement).map_or(0.0, |value| value.mean);
                figures.push((name, mean));
                if method == crate::evaluate::NETWORK {
                    figures[0].1 += 0.5 * mean;
                }
            }
        }
        Ok(figures)
    }

    fn training(&self) -> &TrainingStep {
        &self.training
    }

    fn training_mut(&mut self) -> &mut TrainingStep {
        &mut self.training
    }

    fn weights(&self) -> Result<Weights> {
        self.training.weights(twitch::KIND, &self.run.network)
    }
}
