//! Training the detector from the simulator's stream.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::data::{DataMix, Stock};
use super::optimizer::{Clip, Optimizer, OptimizerValues, append_optimizer};
use super::run::{Figures, Task};
use super::schedule::Schedule;
use crate::Result;
use crate::detector::{self, Detector, DetectorConfig, DetectorTraining, TrainingOptions};
use crate::device::{Cpu, Device};
use crate::evaluate::detect_cell;
use crate::graph::{Executor, Graph, Value};
use crate::metrics::Statistic;
use crate::muscle::{Noise, Split, TestCell, mask_box};
use crate::nn::{self, Weights};
use crate::ops::random::philox::{Stream, key_of};

/// A training run of the detector: with the same values it makes the same weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorRun {
    /// The network.
    pub network: DetectorConfig,
    /// The recordings.
    pub data: DataMix,
    /// Recordings a step.
    pub batch: usize,
    /// Steps in all.
    pub steps: u64,
    /// Learning rate.
    pub schedule: Schedule,
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Largest norm of all gradients together.
    pub clip_norm: f32,
    /// Parts that stay as they are: variables whose names begin so.
    pub frozen: Vec<String>,
    /// Seed of weights, recordings and sampling.
    pub seed: u64,
    /// Validation recordings in each of its cells.
    pub validation_recordings: u32,
}

impl DetectorRun {
    /// The run that made the shipped weights, with that many steps.
    pub fn lite(steps: u64) -> Self {
        Self {
            network: DetectorConfig::lite(),
            data: DataMix::default(),
            batch: 8,
            steps,
            schedule: Schedule::Cosine { peak: 1e-3, warmup: 100, steps },
            optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 1e-4 },
            clip_norm: 5.0,
            frozen: Vec::new(),
            seed: 1,
            validation_recordings: 8,
        }
    }

    /// The paper's schedule on noise-free recordings of the `paper` preset (its first phase trains all but the ResNet).
    pub fn paper(steps: u64) -> Self {
        Self {
            network: DetectorConfig::paper(),
            data: DataMix {
                presets: vec![("paper".to_owned(), 1.0)],
                clean_share: 1.0,
                flips: true,
                recordings: Some(Split::Train.recordings()),
            },
            schedule: Schedule::Steps { starts: vec![0, 20_000, 200_000], rates: vec![1e-3, 1e-4, 1e-5] },
            optimizer: Optimizer::Sgd { momentum: 0.9, decay: 1e-4 },
            ..Self::lite(steps)
        }
    }
}

/// A detector in training.
pub struct DetectorTask {
    run: DetectorRun,
    executor: Executor,
    values: DetectorTraining,
    optimizer: OptimizerValues,
    network_variables: Vec<String>,
    stock: Stock,
    validation: Detector,
    cpu: Arc<Cpu>,
    batch: Batch,
}

/// Host copies of the inputs, reused from step to step.
struct Batch {
    recordings: Vec<f32>,
    boxes: Vec<f32>,
    classes: Vec<i32>,
    masks: Vec<f32>,
    counts: Vec<i32>,
    rpn_keys: Vec<f32>,
    roi_keys: Vec<f32>,
}

impl DetectorTask {
    /// Builds the training graph and initialises the weights.
    pub fn new(device: &Device, run: DetectorRun) -> Result<Self> {
        let cpu = device.host();
        let mut g = Graph::new();
        let values = detector::training(&mut g, &run.network, run.batch, TrainingOptions::default())?;
        let network_variables: Vec<String> = g.variables().iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut trained = nn::trainable(&g);
        trained.retain(|name| !run.frozen.iter().any(|part| name.starts_with(part.as_str())));
        let optimizer = append_optimizer(&mut g, values.total, &trained, &run.optimizer, Clip::Global(run.clip_norm))?;
        let mut targets: Vec<Value> = values.losses.iter().map(|(_, value)| *value).collect();
        targets.extend([values.total, optimizer.gradient_norm]);
        targets.extend(&optimizer.updates);
        let len = |value: Value| g.ty(value).len();
        let batch = Batch {
            recordings: vec![0.0; len(values.recordings)],
            boxes: vec![0.0; len(values.boxes_px)],
            classes: vec![0; len(values.classes)],
            masks: vec![0.0; values.masks.map_or(0, len)],
            counts: vec![0; run.batch],
            rpn_keys: vec![0.0; values.rpn_keys.map_or(0, len)],
            roi_keys: vec![0.0; len(values.roi_keys)],
        };
        let mut executor = Executor::new(device, Arc::new(g), &targets)?;
        nn::initialise(&mut executor, &network_variables, run.seed)?;
        let stock = Stock::new(&run.data, run.seed, Split::Train)?;
        let validation = Detector::new(device, &run.network)?;
        Ok(Self { cpu: cpu.clone(), executor, values, optimizer, network_variables, stock, validation, batch, run })
    }

    /// Starts counting the time of every node: see [`Executor::profile`].
    pub fn start_profile(&mut self) {
        self.executor.start_profile();
    }

    /// Starts from given weights instead of random ones.
    pub fn start_from(&mut self, weights: &Weights) -> Result<()> {
        weights.set_into(&mut self.executor, &self.network_variables)
    }

    fn fill_batch(&mut self, step: u64) {
        let batch = &mut self.batch;
        let units = self.run.network.max_units;
        let [height, width] = self.run.network.image;
        let first = step * self.run.batch as u64;
        let samples = self.stock.fill(&self.cpu, first, &mut batch.recordings);
        batch.boxes.fill(0.0);
        batch.classes.fill(0);
        batch.masks.fill(0.0);
        for (index, sample) in samples.iter().enumerate() {
            let mut count = 0;
            for unit in &sample.units {
                let Some(bounds) = mask_box(&unit.mask, width).filter(|_| count < units) else { continue };
                let row = index * units + count;
                batch.boxes[row * 4..row * 4 + 4].copy_from_slice(&bounds);
                batch.classes[row] = 1;
                if !batch.masks.is_empty() {
                    let mask = &mut batch.masks[row * height * width..(row + 1) * height * width];
                    mask.iter_mut().zip(&unit.mask).for_each(|(to, from)| *to = f32::from(*from));
                }
                count += 1;
            }
            batch.counts[index] = count as i32;
        }
        for (slot, keys) in [&mut batch.rpn_keys, &mut batch.roi_keys].into_iter().enumerate() {
            let mut draw = Stream::new(key_of(self.run.seed), [0x5a3b_1e00 + slot as u32, step as u32, 0]);
            keys.iter_mut().for_each(|key| *key = draw.uniform());
        }
    }
}

impl Task for DetectorTask {
    type Config = DetectorRun;

    fn config(&self) -> &DetectorRun {
        &self.run
    }

    fn steps(&self) -> u64 {
        self.run.steps
    }

    fn batch(&self) -> usize {
        self.run.batch
    }

    fn step(&mut self, step: u64) -> Result<Figures> {
        self.fill_batch(step);
        let (executor, values, batch) = (&mut self.executor, &self.values, &self.batch);
        executor.feed_values(values.recordings, &batch.recordings)?;
        executor.feed_values(values.boxes_px, &batch.boxes)?;
        executor.feed_values(values.classes, &batch.classes)?;
        executor.feed_values(values.counts, &batch.counts)?;
        executor.feed_values(values.roi_keys, &batch.roi_keys)?;
        if let Some(masks) = values.masks {
            executor.feed_values(masks, &batch.masks)?;
        }
        if let Some(keys) = values.rpn_keys {
            executor.feed_values(keys, &batch.rpn_keys)?;
        }
        let rate = self.run.schedule.rate(step);
        executor.feed_values(self.optimizer.rate, &[rate])?;
        executor.feed_values(self.optimizer.step, &[step as i32 + 1])?;
        executor.run_fed()?;
        let mut figures: Figures = vec![("loss", f64::from(executor.scalar(values.total)?))];
        for (name, value) in &values.losses {
            figures.push((name, f64::from(executor.scalar(*value)?)));
        }
        figures.push(("gradient_norm", f64::from(executor.scalar(self.optimizer.gradient_norm)?)));
        figures.push(("learning_rate", f64::from(rate)));
        Ok(figures)
    }

    fn validate(&mut self) -> Result<Figures> {
        self.validation.copy_weights_from(&self.executor)?;
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

    fn executor(&self) -> &Executor {
        &self.executor
    }

    fn executor_mut(&mut self) -> &mut Executor {
        &mut self.executor
    }

    fn weights(&self) -> Result<Weights> {
        Weights::from_executor(detector::KIND, &self.run.network, &self.executor, &self.network_variables)
    }
}
