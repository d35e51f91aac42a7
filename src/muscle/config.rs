//! What the simulator can be told: one field an option, presets by name.

use serde::{Deserialize, Serialize};

use crate::ops::random::approx::{exp, ln};
use crate::{Error, Result};

/// An interval that a quantity is drawn from; `min == max` fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

impl Range {
    /// From `min` to `max`.
    pub const fn new(min: f32, max: f32) -> Self {
        Self { min, max }
    }

    /// One value.
    pub const fn fixed(value: f32) -> Self {
        Self { min: value, max: value }
    }

    /// The value at `u` in [0, 1): uniform if `u` is.
    pub(super) fn at(self, u: f32) -> f32 {
        self.min + (self.max - self.min) * u
    }

    /// The value at `u` on a logarithmic scale.
    pub(super) fn log_at(self, u: f32) -> f32 {
        self.min * exp(u * ln(self.max / self.min))
    }
}

/// An interval of whole numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountRange {
    /// Smallest number.
    pub min: u32,
    /// Largest number.
    pub max: u32,
}

/// The recording's raster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grid {
    /// Number of frames.
    pub frames: usize,
    /// Rows of pixels (depth).
    pub height: usize,
    /// Pixels a row (width).
    pub width: usize,
    /// Frames a second.
    pub fs_hz: f32,
    /// Edge of a square pixel.
    pub mm_per_pixel: f32,
}

impl Default for Grid {
    fn default() -> Self {
        Self { frames: 400, height: 64, width: 64, fs_hz: 400.0, mm_per_pixel: 0.625 }
    }
}

/// How motion is spread inside a territory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Profile {
    /// 1 everywhere.
    Flat,
    /// exp(-rho^2), rho the distance from the centre as a share of the rim's.
    Gaussian,
    /// A Poisson number of fibres in each pixel, divided by its mean.
    Fibres {
        /// Mean number of fibres in a square millimetre.
        per_mm2: f32,
    },
}

/// Territories: where MUs lie and how they move what is in and round them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Territories {
    /// Diameter, uniform; of an ellipse: of the circle of the same area.
    pub diameter_mm: Range,
    /// Long over short axis, uniform; 1 is a circle. The angle is uniform.
    pub axis_ratio: Range,
    /// Whether only the centre must lie in the field, or the whole territory.
    pub may_cross_edge: bool,
    /// Each MU takes one of these, all equally likely.
    pub profiles: Vec<Profile>,
    /// Lag at the rim, uniform; it grows in proportion to the distance from the centre, and stays the rim's beyond.
    pub rim_lag_ms: Range,
    /// Motion just outside the rim as a share of the MU's amplitude; 0 for none.
    pub halo_share: f32,
    /// Distance over which the halo falls by a factor e.
    pub halo_decay_mm: f32,
}

impl Default for Territories {
    fn default() -> Self {
        Self {
            diameter_mm: Range::new(2.5, 10.0),
            axis_ratio: Range::fixed(1.0),
            may_cross_edge: false,
            profiles: vec![Profile::Flat],
            rim_lag_ms: Range::fixed(0.0),
            halo_share: 0.0,
            halo_decay_mm: 2.0,
        }
    }
}

/// When MUs fire.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Firing {
    /// Firing rate, uniform, one for each MU.
    pub rate_hz: Range,
    /// Standard deviation of an interval as a share of its mean.
    pub interval_variation: f32,
    /// Shortest interval as a share of the mean.
    pub interval_floor: f32,
    /// Every MU fires since this long before the first frame, at least.
    pub warm_up_s: f32,
    /// Probability of a firing to be moved onto another MU's nearest firing; uniform, one for each recording.
    pub synchrony: Range,
}

impl Default for Firing {
    fn default() -> Self {
        Self {
            rate_hz: Range::new(8.0, 13.0),
            interval_variation: 0.2,
            interval_floor: 0.25,
            warm_up_s: 0.75,
            synchrony: Range::new(0.0, 0.1),
        }
    }
}

/// What a firing does to the tissue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Twitch {
    /// Contraction time Tc, from onset to the peak of the displacement; uniform.
    pub contraction_ms: Range,
    /// Th / Tc, Th the instant after onset when half of the displacement is left; uniform.
    pub half_relaxation_ratio: Range,
    /// From firing to onset; uniform.
    pub lead_ms: Range,
    /// Peak displacement, uniform on a logarithmic scale.
    pub amplitude_um: Range,
    /// Standard deviation of a single firing's amplitude as a share of its MU's.
    pub amplitude_variation: f32,
    /// Standard deviation of a single firing's times (Tc and Th together) as a share of its MU's.
    pub duration_variation: f32,
}

impl Default for Twitch {
    fn default() -> Self {
        Self {
            contraction_ms: Range::new(40.0, 75.0),
            half_relaxation_ratio: Range::new(1.6, 1.9),
            lead_ms: Range::new(4.0, 6.0),
            amplitude_um: Range::new(12.0, 60.0),
            amplitude_variation: 0.0,
            duration_variation: 0.0,
        }
    }
}

/// How strong the Gaussian noise is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Noise {
    /// None (an infinite signal-to-noise ratio).
    Clean,
    /// The same ratio in every recording.
    Snr {
        /// Signal-to-noise ratio.
        db: f32,
    },
    /// A ratio for each recording.
    Mixed {
        /// Smallest ratio; uniform in dB.
        min_db: f32,
        /// Largest ratio.
        max_db: f32,
        /// Share of the recordings that get no noise at all.
        clean_share: f32,
    },
}

impl Noise {
    /// From a ratio in dB; infinity means none.
    pub fn from_snr_db(db: f32) -> Self {
        if db == f32::INFINITY { Noise::Clean } else { Noise::Snr { db } }
    }

    /// What the paper trains with: uniform in 10..30 dB, after a share of noise-free recordings.
    pub fn training(clean_share: f32) -> Self {
        Noise::Mixed { min_db: 10.0, max_db: 30.0, clean_share }
    }
}

/// Where the signal's mean square is taken for the signal-to-noise ratio. Drift and pulse are neither signal nor noise here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnrReference {
    /// All pixels.
    Recording,
    /// The pixels that belong to a territory.
    Territories,
}

/// What is on top of the MUs' motion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Background {
    /// Strength of the Gaussian noise.
    pub noise: Noise,
    /// What the noise is measured against.
    pub snr_reference: SnrReference,
    /// Standard deviation of the Gaussian that noise is smoothed with in space (its variance is kept); 0 leaves it white.
    pub noise_correlation_pixels: f32,
    /// Root mean square of the slow drift as a share of the MUs' inside territories; 0 for none.
    pub drift_level: f32,
    /// Frequencies of the drift, uniform.
    pub drift_hz: Range,
    /// Root mean square of the arterial pulse round the artery as a share of the MUs' inside territories; 0 for none.
    pub pulse_level: f32,
    /// Heart rate, uniform.
    pub pulse_hz: Range,
    /// Standard deviation of the Gaussian patch that pulsates round the artery; uniform.
    pub pulse_radius_mm: Range,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            noise: Noise::Clean,
            snr_reference: SnrReference::Recording,
            noise_correlation_pixels: 0.0,
            drift_level: 0.0,
            drift_hz: Range::new(0.2, 5.0),
            pulse_level: 0.0,
            pulse_hz: Range::new(0.8, 1.3),
            pulse_radius_mm: Range::new(4.0, 10.0),
        }
    }
}

/// Everything the simulator can be told. Fields left out of a file have the `paper` preset's values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorConfig {
    /// The raster.
    pub grid: Grid,
    /// Number of MUs, uniform.
    pub units: CountRange,
    /// Territories.
    pub territories: Territories,
    /// Firing.
    pub firing: Firing,
    /// Twitches.
    pub twitch: Twitch,
    /// Noise, drift, pulse.
    pub background: Background,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self::paper()
    }
}

impl SimulatorConfig {
    /// Names of the presets.
    pub const PRESETS: [&'static str; 2] = ["paper", "hard"];

    /// The paper's recordings (sections IV.A and IV.B), its gaps filled: flat circles, one twitch a MU, noise-free until
    /// [`SimulatorConfig::with_noise`] says otherwise.
    pub fn paper() -> Self {
        Self {
            grid: Grid::default(),
            units: CountRange { min: 5, max: 30 },
            territories: Territories::default(),
            firing: Firing::default(),
            twitch: Twitch::default(),
            background: Background::default(),
        }
    }

    /// What real muscle adds to `paper`. Drift and pulse are about as strong as the weakest MUs.
    pub fn hard() -> Self {
        let paper = Self::paper();
        Self {
            territories: Territories {
                axis_ratio: Range::new(1.0, 2.0),
                may_cross_edge: true,
                profiles: vec![Profile::Gaussian, Profile::Fibres { per_mm2: 6.0 }],
                rim_lag_ms: Range::fixed(10.0),
                halo_share: 0.1,
                ..paper.territories
            },
            twitch: Twitch {
                amplitude_um: Range::new(4.0, 60.0),
                amplitude_variation: 0.1,
                duration_variation: 0.1,
                ..paper.twitch
            },
            background: Background {
                snr_reference: SnrReference::Territories,
                noise_correlation_pixels: 1.0,
                drift_level: 0.1,
                pulse_level: 0.1,
                ..paper.background
            },
            ..paper
        }
    }

    /// A preset by its name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "paper" => Ok(Self::paper()),
            "hard" => Ok(Self::hard()),
            other => Err(Error::value(
                "preset",
                format!("'{other}' is not a preset; use one of {}", Self::PRESETS.join(", ")),
            )),
        }
    }

    /// The same with a fixed number of MUs.
    pub fn with_units(mut self, count: u32) -> Self {
        self.units = CountRange { min: count, max: count };
        self
    }

    /// The same with other noise.
    pub fn with_noise(mut self, noise: Noise) -> Self {
        self.background.noise = noise;
        self
    }
}
