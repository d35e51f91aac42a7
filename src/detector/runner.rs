//! The detector ready to use: weights loaded, one recording at a time.

use std::sync::Arc;

use super::config::DetectorConfig;
use super::model::{DetectorInference, inference};
use crate::device::Device;
use crate::graph::{Executor, Graph, Value};
use crate::nn::Weights;
use crate::{Error, Result};

/// Name of this kind of network in weights files.
pub const KIND: &str = "detector";

/// One detected motor unit on the detector's grid.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectedUnit {
    /// Probability of being a motor unit.
    pub score: f32,
    /// Box (y1, x1, y2, x2) in pixels.
    pub box_px: [f32; 4],
    /// Territory `[height * width]`, 1 inside. Without a mask head: the ellipse that fills the box.
    pub mask: Vec<u8>,
}

/// Runs the detector on recordings.
#[derive(Debug)]
pub struct Detector {
    config: DetectorConfig,
    executor: Executor,
    values: DetectorInference,
}

impl Detector {
    /// A detector without weights (all zero): load them before use.
    pub fn new(device: &Device, config: &DetectorConfig) -> Result<Self> {
        let (graph, values, targets) = Self::graph(config)?;
        let executor = Executor::new(device, Arc::new(graph), &targets)?;
        Ok(Self { config: config.clone(), executor, values })
    }

    /// A detector with the weights and configuration of a file.
    pub fn from_weights(device: &Device, weights: &Weights) -> Result<Self> {
        let mut detector = Self::new(device, &weights.config()?).map_err(|error| weights.named(error))?;
        weights.load_into(&mut detector.executor)?;
        Ok(detector)
    }

    /// The inference graph for one recording, rewritten for speed, its values and its targets.
    pub fn graph(config: &DetectorConfig) -> Result<(Graph, DetectorInference, Vec<Value>)> {
        let mut graph = Graph::new();
        let values = inference(&mut graph, config, 1)?;
        let mut targets = vec![values.detections, values.counts];
        targets.extend(values.masks);
        graph.fuse(&targets)?;
        graph.fuse_elementwise(&targets);
        Ok((graph, values, targets))
    }

    /// The configuration.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// Runs the graph.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Takes the weights of a network in training.
    pub fn copy_weights_from(&mut self, training: &Executor) -> Result<()> {
        self.executor.copy_variables_from(training).map(drop)
    }

    /// Finds the units of a standardised recording `[T, H, W]` of the configuration's size, best first.
    pub fn detect(&mut self, recording: &[f32]) -> Result<Vec<DetectedUnit>> {
        let expected = self.executor.graph().ty(self.values.recordings).len();
        if recording.len() != expected {
            let (found, [h, w], t) = (recording.len(), self.config.image, self.config.frames);
            return Err(Error::value("recording", format!("has {found} values, the detector takes {t} x {h} x {w}")));
        }
        self.executor.feed_values(self.values.recordings, recording)?;
        self.executor.run_fed()?;
        let count = self.executor.values::<i32>(self.values.counts)?[0].max(0) as usize;
        let rows = self.executor.values::<f32>(self.values.detections)?;
        let [height, width] = self.config.image;
        let masks = self.values.masks.map(|masks| self.executor.values::<u8>(masks)).transpose()?;
        let mut units = Vec::with_capacity(count);
        for (index, row) in rows.chunks_exact(6).take(count).enumerate() {
            let scale = [height, width, height, width].map(|n| n as f32 - 1.0);
            let box_px = [0, 1, 2, 3].map(|i| row[i] * scale[i] + if i < 2 { 0.0 } else { 1.0 });
            let mask = match masks {
                Some(masks) => masks[index * height * width..(index + 1) * height * width].to_vec(),
                None => ellipse(box_px, height, width),
            };
            // A mask without a pixel is no territory.
            if mask.iter().any(|m| *m != 0) {
                units.push(DetectedUnit { score: row[5], box_px, mask });
            }
        }
        Ok(units)
    }
}

/// Pixels whose centre lies in the ellipse that fills a box.
fn ellipse([y1, x1, y2, x2]: [f32; 4], height: usize, width: usize) -> Vec<u8> {
    let (cy, cx) = ((y1 + y2) / 2.0, (x1 + x2) / 2.0);
    let (ry, rx) = (((y2 - y1) / 2.0).max(0.5), ((x2 - x1) / 2.0).max(0.5));
    let inside = |i: usize| {
        let (dy, dx) = (((i / width) as f32 + 0.5 - cy) / ry, ((i % width) as f32 + 0.5 - cx) / rx);
        u8::from(dy * dy + dx * dx <= 1.0)
    };
    (0..height * width).map(inside).collect()
}
