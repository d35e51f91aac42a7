//! Every number of the twitch estimator.

use serde::{Deserialize, Serialize};

use crate::ops::recurrent::RecurrentActivation;
use crate::ops::unmix::{MAX_RADIUS, NoiseWhitening, ProfileUnmix, Refinement, Unmixing};
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
        /// Ridge of the least-squares signals.
        #[serde(default = "default_ridge")]
        ridge: f32,
        /// Singular vectors of the territory's pixels among the signals.
        #[serde(default = "default_components")]
        components: usize,
        /// Rounds that refine the least-squares signals ([`crate::ops::unmix::Refinement`]); without any they are read as
        /// they are.
        #[serde(default)]
        rounds: usize,
        /// Cosines that refined signals are made of: of 400 frames at 400 Hz, each adds half a hertz.
        #[serde(default)]
        cosines: usize,
        /// How refinement measures the noise and whitens it.
        #[serde(default)]
        noise: NoiseWhitening,
        /// What a round of refinement expects of profiles, lags and errors.
        #[serde(default)]
        profiles: ProfileUnmix,
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

// Files older than a field mean what was then the constant.
fn default_ridge() -> f32 {
    Unmixing::RIDGE
}

fn default_components() -> usize {
    Unmixing::COMPONENTS
}

impl Front {
    /// How the signals that an unmixed front reads are made; none for crops.
    pub fn unmixing(&self) -> Option<Unmixing> {
        let Front::Unmixed { surround, ridge, components, rounds, cosines, noise, profiles, .. } = *self else {
            return None;
        };
        let refinement = Refinement { cosines, rounds, noise, round: profiles };
        Some(Unmixing { surround, ridge, components, refinement: (rounds > 0).then_some(refinement) })
    }
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
                ridge: Unmixing::RIDGE,
                components: Unmixing::COMPONENTS,
                rounds: 2,
                cosines: 70,
                noise: NoiseWhitening::default(),
                profiles: ProfileUnmix::default(),
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

    /// [`validate`](Self::validate), and refuses recordings `[T, H, W]` of another size than the network reads; an error names the field. A network that reads
    /// crops takes any height and width.
    pub fn expect_recordings(&self, [frames, height, width]: [usize; 3]) -> Result<()> {
        self.validate()?;
        if self.frames != frames {
            let message = format!("expected {frames}, the frames of the recordings it is to read, got {}", self.frames);
            return Err(Error::value("twitch.frames", message));
        }
        match self.front {
            Front::Unmixed { grid, .. } if grid != [height, width] => {
                let expected = [height, width];
                let message =
                    format!("expected {expected:?}, the pixels of the recordings it is to read, got {grid:?}");
                Err(Error::value("twitch.front.unmixed.grid", message))
            }
            _ => Ok(()),
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
            Front::Unmixed {
                grid,
                surround,
                components,
                rounds,
                cosines,
                width,
                kernel: first,
                residual_kernel,
                dilations,
                ..
            } => {
                limits.extend(grid.map(|size| ("front.unmixed.grid", size, side)));
                limits.extend([
                    ("front.unmixed.surround", *surround, side),
                    ("front.unmixed.components", *components, Unmixing::MAX_COMPONENTS),
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
        self.front.unmixing().map_or(Ok(()), |unmixing| check_unmixing(&unmixing))
    }
}

/// Checks the numbers that are not counts; an error names the field.
fn check_unmixing(unmixing: &Unmixing) -> Result<()> {
    let check = |field: &str, ok: bool, expected: &str, value: f32| {
        let message = || format!("expected {expected}, got {value}");
        if ok { Ok(()) } else { Err(Error::value(format!("twitch.front.unmixed.{field}"), message())) }
    };
    let ridge = unmixing.ridge;
    check("ridge", ridge >= 0.0 && ridge.is_finite(), "a finite number that is not negative", ridge)?;
    let Some(Refinement { noise, round, .. }) = &unmixing.refinement else { return Ok(()) };
    let radius = noise.radius;
    check("noise.radius", radius <= MAX_RADIUS, &format!("0 to {MAX_RADIUS}"), radius as f32)?;
    check("noise.floor", noise.floor > 0.0 && noise.floor <= 1.0, "more than 0, at most 1", noise.floor)?;
    let positive = [
        ("profiles.profile_variance", round.profile_variance),
        ("profiles.lag_variance", round.lag_variance),
        ("profiles.mismatch", round.mismatch),
        ("profiles.ridge", round.ridge),
    ];
    positive
        .into_iter()
        .try_for_each(|(field, value)| check(field, value > 0.0 && value.is_finite(), "a finite number above 0", value))
}
