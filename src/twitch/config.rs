//! Every number of the twitch estimator.

use serde::{Deserialize, Serialize};

use crate::ops::recurrent::RecurrentActivation;
use crate::{Error, Result};

/// What the estimator reads, and its convolutions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Front {
    /// A crop of the recording round the territory, 3-D convolutions with batch norm and ReLU (the paper's).
    Crop {
        /// Height and width of the crop, pixels.
        size: [usize; 2],
        /// Filters of each layer.
        filters: Vec<usize>,
        /// Kernel of each layer: time, height, width.
        kernels: Vec<[usize; 3]>,
        /// Stride of the first layer.
        stride: [usize; 3],
    },
    /// Signals unmixed from the whole recording with all territories, a 1-D convolution and residual ones; the network's output
    /// is added to the first of them.
    Unmixed {
        /// Height and width of the recording, pixels.
        grid: [usize; 2],
        /// Side of the square round a territory's centre whose remaining pixels make the surround signal.
        surround: usize,
        /// Rounds that refine the least-squares signals ([`crate::ops::unmix::Refinement`]); without any they are read as
        /// they are.
        #[serde(default)]
        rounds: usize,
        /// Cosines that refined signals are made of: of 400 frames at 400 Hz, each adds half a hertz.
        #[serde(default)]
        cosines: usize,
        /// Filters.
        width: usize,
        /// Frames of the first convolution's window.
        kernel: usize,
        /// Frames of the residual convolutions' windows.
        residual_kernel: usize,
        /// Dilation of each residual convolution.
        dilations: Vec<usize>,
    },
}

/// Every number of the twitch estimator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwitchConfig {
    /// Frames of a recording.
    pub frames: usize,
    /// Input and convolutions.
    pub front: Front,
    /// Widths of the dense layers before the GRU, each frame by itself.
    pub features: Vec<usize>,
    /// Units of the GRU in each direction.
    pub gru: usize,
    /// Whether the reset gate is applied after the recurrent product.
    pub reset_after: bool,
    /// Activation of the gates.
    pub recurrent_activation: RecurrentActivation,
    /// Widths of the dense layers after the GRU; a linear layer of one value follows.
    pub head: Vec<usize>,
    /// Batch norm: added to the variance.
    pub bn_epsilon: f32,
    /// Batch norm: share of the old moving statistics kept at each step.
    pub bn_momentum: f32,
}

impl TwitchConfig {
    /// The paper's network.
    pub fn paper() -> Self {
        let mut kernels = vec![[15, 5, 5]];
        kernels.extend([[15, 3, 3]; 4]);
        Self {
            frames: 400,
            front: Front::Crop { size: [16, 16], filters: vec![16; 5], kernels, stride: [1, 2, 2] },
            features: vec![1024, 512, 256],
            gru: 512,
            reset_after: true,
            recurrent_activation: RecurrentActivation::Sigmoid,
            head: vec![1024, 512],
            bn_epsilon: 1e-3,
            bn_momentum: 0.99,
        }
    }

    /// The network that ships: a small one on unmixed signals.
    pub fn lite() -> Self {
        Self {
            front: Front::Unmixed {
                grid: [64, 64],
                surround: 16,
                rounds: 2,
                cosines: 70,
                width: 64,
                kernel: 15,
                residual_kernel: 9,
                dilations: vec![1, 2, 4, 8],
            },
            features: vec![],
            gru: 64,
            head: vec![],
            ..Self::paper()
        }
    }

    /// A preset by name: `paper` or `lite`.
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "paper" => Ok(Self::paper()),
            "lite" => Ok(Self::lite()),
            other => Err(Error::value("twitch preset", format!("'{other}' is not one; use paper or lite"))),
        }
    }

    /// Checks the numbers against each other; an error names the field.
    pub fn validate(&self) -> Result<()> {
        // Far beyond any use: a size from a damaged file must not fill the memory.
        let (side, frames, wide, kernel) = (1024, 10_000, 1 << 14, 64);
        let mut limits = vec![("frames", self.frames, frames), ("gru", self.gru, wide)];
        limits.extend(self.features.iter().map(|width| ("features", *width, wide)));
        limits.extend(self.head.iter().map(|width| ("head", *width, wide)));
        match &self.front {
            Front::Crop { filters, kernels, size, stride } => {
                if filters.len() != kernels.len() || filters.is_empty() {
                    return Err(Error::value("twitch.front.crop", "needs as many filters as kernels, at least one"));
                }
                limits.extend(size.map(|size| ("front.crop.size", size, side)));
                limits.extend(filters.iter().map(|width| ("front.crop.filters", *width, wide)));
                limits.extend(kernels.iter().flatten().map(|size| ("front.crop.kernels", *size, kernel)));
                limits.extend(stride.map(|step| ("front.crop.stride", step, kernel)));
            }
            Front::Unmixed { grid, surround, rounds, cosines, width, kernel: first, residual_kernel, dilations } => {
                limits.extend(grid.map(|size| ("front.unmixed.grid", size, side)));
                limits.extend([
                    ("front.unmixed.surround", *surround, side),
                    ("front.unmixed.width", *width, wide),
                    ("front.unmixed.kernel", *first, frames),
                    ("front.unmixed.residual_kernel", *residual_kernel, frames),
                ]);
                limits.extend(dilations.iter().map(|step| ("front.unmixed.dilations", *step, frames)));
                if *rounds > 0 {
                    limits.push(("front.unmixed.rounds", *rounds, 16));
                    limits.push(("front.unmixed.cosines", *cosines, self.frames));
                }
            }
        }
        for (field, value, most) in limits {
            if !(1..=most).contains(&value) {
                let message = format!("expected 1 to {most}, got {value}");
                return Err(Error::value(format!("twitch.{field}"), message));
            }
        }
        Ok(())
    }
}
