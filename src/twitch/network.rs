//! The twitch estimator as a graph.

use std::collections::BTreeMap;

use super::config::{Front, TwitchConfig};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::nn::{self, After, Norm, Statistics};
use crate::ops::conv::ConvAttrs;
use crate::ops::recurrent::{GruAttrs, GruWeights};
use crate::tensor::TensorType;

/// What the network reads.
#[derive(Clone, Copy, Debug)]
pub enum TwitchInput {
    /// Crops of the standardised recording, `[N, T, H, W, 1]`, one for each unit.
    Crops(Value),
    /// Standardised recordings and all their territories.
    Recordings {
        /// `[N, T, H, W, 1]`, standardised.
        recordings: Value,
        /// `[N, U, H, W]`, 0 or 1.
        masks: Value,
        /// Units of each recording, `i32 [N]`.
        counts: Value,
    },
}

/// The network's values in a graph.
#[derive(Clone, Debug)]
pub struct TwitchNetwork {
    /// Inputs.
    pub input: TwitchInput,
    /// Twitch trains `[rows, T]` in units of the standardised recording; rows are crops, or units of recordings in order.
    pub signal: Value,
    /// As `signal`, but divided by `peak`: what the loss sees.
    pub normalised: Value,
    /// Peak of the unmixed signal `[rows]` that the network's input was divided by; none for crops.
    pub peak: Option<Value>,
    /// Outputs of the stages by name.
    pub stages: BTreeMap<String, Value>,
}

impl TwitchNetwork {
    /// Valid rows of the signals, where the network reads recordings.
    pub fn counts(&self) -> Option<Value> {
        match self.input {
            TwitchInput::Recordings { counts, .. } => Some(counts),
            TwitchInput::Crops(_) => None,
        }
    }

    /// Appends the network for `batch` crops or recordings (of at most `max_units` units each) to a graph. With `training`, batch
    /// norms use the statistics of the batch.
    pub fn build(g: &mut Graph, config: &TwitchConfig, batch: usize, max_units: usize, training: bool) -> Result<Self> {
        config.validate()?;
        let statistics = if training { Statistics::Batch } else { Statistics::Frozen };
        let norm = Norm { statistics, epsilon: config.bn_epsilon, momentum: config.bn_momentum };
        let mut stages = BTreeMap::new();
        let (input, mut x, skip, counts) = match &config.front {
            Front::Crop { size, filters, kernels, stride } => {
                let crops = g.input("crops", TensorType::f32([batch, config.frames, size[0], size[1], 1]))?;
                let x = crop_front(g, crops, filters, kernels, *stride, norm, &mut stages)?;
                (TwitchInput::Crops(crops), x, None, None)
            }
            Front::Unmixed { grid, width, kernel, residual_kernel, dilations, .. } => {
                let [h, w] = *grid;
                let recordings = g.input("recordings", TensorType::f32([batch, config.frames, h, w, 1]))?;
                let masks = g.input("masks", TensorType::f32([batch, max_units, h, w]))?;
                let counts = g.input("counts", TensorType::i32([batch]))?;
                let unmixing = config.front.unmixing().ok_or_else(|| crate::Error::graph("signals of crops"))?;
                let (signals, peak) = g.unmixed_signals(recordings, masks, counts, &unmixing)?;
                stages.insert("unmixed".to_owned(), signals);
                let mut x = conv_1d(g, "conv1", signals, *kernel, *width, 1, None, counts)?;
                for (index, &dilation) in dilations.iter().enumerate() {
                    let name = format!("conv{}", index + 2);
                    x = conv_1d(g, &name, x, *residual_kernel, *width, dilation, Some(x), counts)?;
                }
                let input = TwitchInput::Recordings { recordings, masks, counts };
                (input, x, Some((signals, peak)), Some(counts))
            }
        };
        for (index, &width) in config.features.iter().enumerate() {
            x = nn::dense(g, &format!("features.fc{}", index + 1), x, width, true, counts)?;
            stages.insert(format!("features{}", index + 1), x);
        }
        x = bidirectional_gru(g, config, x, counts)?;
        stages.insert("gru".to_owned(), x);
        for (index, &width) in config.head.iter().enumerate() {
            x = nn::dense(g, &format!("head.fc{}", index + 1), x, width, true, counts)?;
            stages.insert(format!("head{}", index + 1), x);
        }
        let last = format!("head.fc{}", config.head.len() + 1);
        let mut y = nn::dense(g, &last, x, 1, false, counts)?;
        let rows = g.shape(y)[0];
        if let Some((signals, peak)) = skip {
            let first = g.slice(signals, 2, 0, 1, 1)?;
            y = g.add(y, first)?;
            let normalised = g.reshape(y, [rows, config.frames])?;
            let column = g.reshape(peak, [rows, 1])?;
            let signal = g.mul(normalised, column)?;
            return Ok(Self { input, signal, normalised, peak: Some(peak), stages });
        }
        let signal = g.reshape(y, [rows, config.frames])?;
        stages.insert("signal".to_owned(), signal);
        Ok(Self { input, signal, normalised: signal, peak: None, stages })
    }
}

/// 3-D convolutions over crops; returns the flattened maps `[N, T, H*W*C]`.
fn crop_front(
    g: &mut Graph,
    crops: Value,
    filters: &[usize],
    kernels: &[[usize; 3]],
    stride: [usize; 3],
    norm: Norm,
    stages: &mut BTreeMap<String, Value>,
) -> Result<Value> {
    const NORMS: [&str; 8] = ["bn1", "bn2", "bn3", "bn4", "bn5", "bn6", "bn7", "bn8"];
    let mut x = crops;
    for (index, (&filters, kernel)) in filters.iter().zip(kernels).enumerate() {
        let norm_name = NORMS.get(index).copied().ok_or_else(|| {
            crate::Error::value(
                "twitch.front.crop.filters",
                format!("has {} layers, at most {}", index + 1, NORMS.len()),
            )
        })?;
        let stride = if index == 0 { stride } else { [1; 3] };
        let attrs = ConvAttrs::same(&g.shape(x).dims()[1..4], kernel, &stride);
        let after = After { norm: Some((norm_name, norm)), relu: true, ..After::default() };
        x = nn::conv(g, &format!("conv{}", index + 1), x, kernel, filters, &attrs, after)?;
        stages.insert(format!("block{}", index + 1), x);
    }
    let shape = g.shape(x).clone();
    g.reshape(x, [shape[0], shape[1], shape[2] * shape[3] * shape[4]])
}

/// A 1-D convolution over time with ReLU, after adding the residual if there is one.
fn conv_1d(
    g: &mut Graph,
    name: &str,
    x: Value,
    kernel: usize,
    filters: usize,
    dilation: usize,
    residual: Option<Value>,
    counts: Value,
) -> Result<Value> {
    let reach = (kernel - 1) * dilation;
    let attrs =
        ConvAttrs { padding: vec![[reach / 2, reach - reach / 2]], dilation: vec![dilation], ..ConvAttrs::valid(1) };
    let after = After { residual, relu: true, counts: Some(counts), norm: None };
    nn::conv(g, name, x, &[kernel], filters, &attrs, after)
}

/// `gru.forward`, `gru.backward`, concatenated in that order.
fn bidirectional_gru(g: &mut Graph, config: &TwitchConfig, x: Value, counts: Option<Value>) -> Result<Value> {
    let (inputs, units) = (g.shape(x).last(), config.gru);
    g.scoped("gru", |g| {
        let mut direction = |name: &str| {
            g.scoped(name, |g| {
                let bias = if config.reset_after { vec![2, 3 * units] } else { vec![3 * units] };
                Ok(GruWeights {
                    weight: g.variable("weight", TensorType::f32([inputs, 3 * units]))?,
                    recurrent_weight: g.variable("recurrent_weight", TensorType::f32([units, 3 * units]))?,
                    bias: g.variable("bias", TensorType::f32(bias))?,
                })
            })
        };
        let (forward, backward) = (direction("forward")?, direction("backward")?);
        let attrs = GruAttrs {
            reset_after: config.reset_after,
            reverse: false,
            recurrent_activation: config.recurrent_activation,
        };
        Ok(g.bigru(x, forward, backward, attrs, None, counts)?.0)
    })
}
