//! The twitch estimator ready to use: weights loaded, all territories of one recording at a time.

use std::sync::Arc;

use super::config::{Front, TwitchConfig};
use super::network::{TwitchInput, TwitchNetwork};
use crate::device::Device;
use crate::graph::{Executor, Graph, Value};
use crate::nn::Weights;
use crate::{Error, Result};

/// Name of this kind of network in weights files.
pub const KIND: &str = "twitch";

/// Most units of one run; more are done in several where units do not need each other.
pub const MAX_UNITS: usize = 48;

/// Runs the twitch estimator on recordings.
#[derive(Debug)]
pub struct TwitchEstimator {
    config: TwitchConfig,
    executor: Executor,
    network: TwitchNetwork,
}

impl TwitchEstimator {
    /// An estimator without weights (all zero): load them before use.
    pub fn new(device: &Device, config: &TwitchConfig) -> Result<Self> {
        let (graph, network, targets) = Self::graph(config)?;
        let executor = Executor::new(device, Arc::new(graph), &targets)?;
        Ok(Self { config: config.clone(), executor, network })
    }

    /// An estimator with the weights and configuration of a file.
    pub fn from_weights(device: &Device, weights: &Weights) -> Result<Self> {
        let mut estimator = Self::new(device, &weights.config()?).map_err(|error| weights.named(error))?;
        weights.load_into(&mut estimator.executor)?;
        Ok(estimator)
    }

    /// The inference graph, rewritten for speed, its values and its targets: one recording with up to [`MAX_UNITS`] territories, or
    /// one crop.
    pub fn graph(config: &TwitchConfig) -> Result<(Graph, TwitchNetwork, Vec<Value>)> {
        let mut graph = Graph::new();
        let network = TwitchNetwork::build(&mut graph, config, 1, MAX_UNITS, false)?;
        let targets = vec![network.signal];
        graph.fuse(&targets)?;
        graph.fuse_elementwise(&targets);
        Ok((graph, network, targets))
    }

    /// The configuration.
    pub fn config(&self) -> &TwitchConfig {
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

    /// Twitch trains `[T]` of territories `[height * width]` (0 or 1) in a standardised recording `[T, height, width]`, in units of
    /// the standardised recording. At most [`MAX_UNITS`] territories.
    pub fn estimate(
        &mut self,
        recording: &[f32],
        [height, width]: [usize; 2],
        masks: &[&[u8]],
    ) -> Result<Vec<Vec<f32>>> {
        let (frames, pixels) = (self.config.frames, height * width);
        if recording.len() != frames * pixels {
            let found = recording.len();
            let message = format!("has {found} values, the twitch estimator takes {frames} frames of {pixels} pixels");
            return Err(Error::value("recording", message));
        }
        if masks.len() > MAX_UNITS || masks.iter().any(|mask| mask.len() != pixels) {
            return Err(Error::value("masks", format!("expected at most {MAX_UNITS} masks of {pixels} pixels each")));
        }
        match (self.network.input, &self.config.front) {
            (TwitchInput::Recordings { recordings, masks: input, counts }, _) => {
                let mut planes = vec![0.0f32; MAX_UNITS * pixels];
                for (plane, mask) in planes.chunks_exact_mut(pixels).zip(masks) {
                    plane.iter_mut().zip(*mask).for_each(|(to, from)| *to = f32::from(*from != 0));
                }
                self.executor.feed_values(recordings, recording)?;
                self.executor.feed_values(input, &planes)?;
                self.executor.feed_values(counts, &[masks.len() as i32])?;
                self.executor.run_fed()?;
                let signals = self.executor.values::<f32>(self.network.signal)?;
                Ok(signals.chunks_exact(frames).take(masks.len()).map(<[f32]>::to_vec).collect())
            }
            (TwitchInput::Crops(input), Front::Crop { size, .. }) => {
                let size = *size;
                let mut signals = Vec::with_capacity(masks.len());
                for mask in masks {
                    let crop = crop(recording, [height, width], box_centre(mask, width), size);
                    self.executor.feed_values(input, &crop)?;
                    self.executor.run_fed()?;
                    signals.push(self.executor.values::<f32>(self.network.signal)?.to_vec());
                }
                Ok(signals)
            }
            (TwitchInput::Crops(_), Front::Unmixed { .. }) => Err(Error::graph("an unmixed front takes recordings")),
        }
    }
}

/// Centre (row, column) of the box round a mask, rounded down; the grid's corner for an empty one.
pub fn box_centre(mask: &[u8], width: usize) -> [usize; 2] {
    match crate::muscle::mask_box(mask, width) {
        Some([y1, x1, y2, x2]) => [((y1 + y2) / 2.0) as usize, ((x1 + x2) / 2.0) as usize],
        None => [0, 0],
    }
}

/// The crop `[T, size, size]` of a recording `[T, height, width]` round a centre; zero outside the recording.
pub fn crop(recording: &[f32], [height, width]: [usize; 2], centre: [usize; 2], size: [usize; 2]) -> Vec<f32> {
    let frames = recording.len() / (height * width).max(1);
    let mut crop = vec![0.0; frames * size[0] * size[1]];
    for (frame, plane) in recording.chunks_exact(height * width).zip(crop.chunks_exact_mut(size[0] * size[1])) {
        for (i, row) in plane.chunks_exact_mut(size[1]).enumerate() {
            let y = (centre[0] + i).wrapping_sub(size[0] / 2);
            for (j, value) in row.iter_mut().enumerate() {
                let x = (centre[1] + j).wrapping_sub(size[1] / 2);
                if y < height && x < width {
                    *value = frame[y * width + x];
                }
            }
        }
    }
    crop
}
