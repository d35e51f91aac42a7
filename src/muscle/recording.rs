//! Recordings with their truth.

use serde::{Deserialize, Serialize};

use super::background;
use super::config::{Noise, Profile, SimulatorConfig, SnrReference};
use super::draw::{Draw, Quantity, Split};
use super::firing::firings;
use super::layer::{Layer, layers, margins};
use super::noise::{Smoothing, add_smoothed, add_white};
use super::render::{Power, render};
use super::territory::Territory;
use super::twitch::{Scaled, Waveform};
use crate::device::Cpu;
use crate::device::cpu::Isa;
use crate::ops::random::wide::exp;
use crate::{Error, Result};

/// A single firing's amplitude and duration never fall below this share of the MU's own.
const SMALLEST_VARIATION: f32 = 0.2;
/// ln 10 / 10: a decibel of power as a natural logarithm.
pub(super) const NEPERS_PER_DB: f64 = std::f64::consts::LN_10 / 10.0;

/// One motor unit as the simulator made it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SimulatedUnit {
    /// Where it lies.
    pub territory: Territory,
    /// How it moves the tissue.
    pub waveform: Waveform,
    /// How the motion is spread inside the territory.
    pub profile: Profile,
    /// Lag at the territory's rim.
    pub rim_lag_s: f32,
    /// Its own rate; the recording may show a little more or less.
    pub firing_rate_hz: f32,
    /// Firing instants within the recording, rising, in seconds from the first frame.
    pub firings_s: Vec<f32>,
    /// Firing instants before the first frame (negative), rising; the first frames carry their tails.
    pub earlier_firings_s: Vec<f32>,
    /// The whole territory `[height * width]`, 1 inside; overlaps do not cut it. (Left out of files: follows from `territory`.)
    #[serde(skip)]
    pub mask: Vec<u8>,
    /// The true signal `[frames]` in mm/s: velocity at the centre due to this MU alone. (Left out of files.)
    #[serde(skip)]
    pub twitch_train: Vec<f32>,
}

/// Everything known about a simulated recording; serialises to its labels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Truth {
    /// Part of the data set.
    pub split: Split,
    /// Number within the split.
    pub index: u32,
    /// Seed of the data set.
    pub seed: u64,
    /// Number of frames.
    pub frames: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels a row.
    pub width: usize,
    /// Frames a second.
    pub fs_hz: f32,
    /// Edge of a pixel.
    pub mm_per_pixel: f32,
    /// Signal-to-noise ratio; none where there is no noise.
    pub snr_db: Option<f32>,
    /// Standard deviation of the noise in mm/s.
    pub noise_mm_s: f32,
    /// The motor units.
    pub units: Vec<SimulatedUnit>,
}

impl Truth {
    /// All masks one after the other, `[units, height, width]`.
    pub fn masks(&self) -> Vec<u8> {
        self.units.iter().flat_map(|unit| unit.mask.iter().copied()).collect()
    }

    /// All true signals one after the other, `[units, frames]`, in mm/s.
    pub fn twitch_trains(&self) -> Vec<f32> {
        self.units.iter().flat_map(|unit| unit.twitch_train.iter().copied()).collect()
    }
}

/// A recording with its truth.
#[derive(Clone, Debug)]
pub struct SimulatedRecording {
    /// Tissue velocity `[frames, height, width]` in mm/s.
    pub velocity: Vec<f32>,
    /// What it was made of.
    pub truth: Truth,
}

/// Makes recordings. Cheap to clone, may be shared among threads; every call is a pure function of its arguments.
#[derive(Clone, Debug)]
pub struct Simulator {
    config: SimulatorConfig,
    pub(super) smoothing: Option<Smoothing>,
    isa: Isa,
}

impl Simulator {
    /// Checks the config. Fails with the name of the field that cannot be used.
    pub fn new(config: SimulatorConfig) -> Result<Self> {
        config.validate()?;
        let sigma = config.background.noise_correlation_pixels;
        let smoothing = (sigma > 0.0).then(|| Smoothing::new(sigma, config.grid.height, config.grid.width));
        Ok(Self { config, smoothing, isa: Isa::detect() })
    }

    /// The same with another instruction set (or the best one there is, if that is less). Results have the same bits.
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa.min(Isa::detect());
        self
    }

    /// What it was told.
    pub fn config(&self) -> &SimulatorConfig {
        &self.config
    }

    /// Number of samples of a recording: frames * height * width.
    pub fn samples(&self) -> usize {
        let grid = &self.config.grid;
        grid.frames * grid.height * grid.width
    }

    /// Recording `index` of a split under a seed.
    pub fn simulate(&self, split: Split, index: u32, seed: u64) -> SimulatedRecording {
        let mut velocity = vec![0.0; self.samples()];
        let truth = self.make(split, index, seed, &mut velocity);
        SimulatedRecording { velocity, truth }
    }

    /// The same into memory of the caller's, `[frames, height, width]`. Fails if its length is not [`Simulator::samples`].
    pub fn simulate_into(&self, split: Split, index: u32, seed: u64, velocity: &mut [f32]) -> Result<Truth> {
        if velocity.len() != self.samples() {
            let message = format!("has {} elements; a recording has {}", velocity.len(), self.samples());
            return Err(Error::value("velocity", message));
        }
        Ok(self.make(split, index, seed, velocity))
    }

    /// Several recordings at once, one task each, in the order of `indices`.
    pub fn simulate_many(&self, cpu: &Cpu, split: Split, indices: &[u32], seed: u64) -> Vec<SimulatedRecording> {
        let mut slots: Vec<Option<SimulatedRecording>> = vec![None; indices.len()];
        cpu.parallel_chunks(&mut slots, 1, |task, slot| slot[0] = Some(self.simulate(split, indices[task], seed)));
        slots.into_iter().flatten().collect()
    }

    /// How many MUs recording `index` of a split has under a seed.
    pub fn unit_count(&self, split: Split, index: u32, seed: u64) -> usize {
        self.count(&Draw::new(split, index, seed))
    }

    fn count(&self, draw: &Draw) -> usize {
        let units = self.config.units;
        (units.min + draw.recording(Quantity::Count).below(units.max - units.min + 1)) as usize
    }

    fn make(&self, split: Split, index: u32, seed: u64, velocity: &mut [f32]) -> Truth {
        let (config, draw) = (&self.config, Draw::new(split, index, seed));
        let grid = &config.grid;
        let (units, layers) = self.units(&draw);
        let mut inside = vec![0f32; grid.height * grid.width];
        for unit in &units {
            inside.iter_mut().zip(&unit.mask).for_each(|(inside, mask)| *inside = inside.max(f32::from(*mask)));
        }
        let power = render(self.isa, &layers, &inside, velocity);
        let modes = background::modes(&config.background, grid, &draw, power.territories.sqrt() as f32);
        background::add(self.isa, &modes, inside.len(), velocity);
        let (snr_db, noise_mm_s) = self.noise_level(&draw, power);
        if noise_mm_s > 0.0 {
            match &self.smoothing {
                Some(smoothing) => add_smoothed(self.isa, &draw, noise_mm_s, smoothing, velocity),
                None => add_white(self.isa, &draw, noise_mm_s, inside.len(), velocity),
            }
        }
        Truth {
            split,
            index,
            seed,
            frames: grid.frames,
            height: grid.height,
            width: grid.width,
            fs_hz: grid.fs_hz,
            mm_per_pixel: grid.mm_per_pixel,
            snr_db,
            noise_mm_s,
            units,
        }
    }

    /// The MUs of a recording and what each adds to it.
    fn units(&self, draw: &Draw) -> (Vec<SimulatedUnit>, Vec<Layer>) {
        let (config, grid) = (&self.config, &self.config.grid);
        let count = self.count(draw);
        let rates: Vec<f32> =
            (0..count).map(|unit| config.firing.rate_hz.at(draw.unit(Quantity::Rate, unit).uniform())).collect();
        let all_firings = firings(&config.firing, draw, &rates, grid.frames as f32 / grid.fs_hz);
        let mut units = Vec::with_capacity(count);
        let mut all_layers = Vec::with_capacity(2 * count);
        for (index, firings) in all_firings.iter().enumerate() {
            let territory = Territory::draw(config, draw, index);
            let waveform = Waveform::draw(&config.twitch, draw, index);
            let profiles = &config.territories.profiles;
            let profile = profiles[draw.unit(Quantity::Profile, index).below(profiles.len() as u32) as usize];
            let rim_lag_s = 1e-3 * config.territories.rim_lag_ms.at(draw.unit(Quantity::Lag, index).uniform());
            let rim_lag_frames = rim_lag_s * grid.fs_hz;
            let (before, after) = margins(rim_lag_frames);
            let train = self.train(draw, index, &waveform, firings, (before, after));
            let twitch_train = train[before..before + grid.frames].to_vec();
            all_layers.extend(layers(config, draw, (index, &territory, profile), rim_lag_frames, train));
            let first = firings.partition_point(|t| *t < 0.0);
            units.push(SimulatedUnit {
                mask: territory.mask(grid),
                territory,
                waveform,
                profile,
                rim_lag_s,
                firing_rate_hz: rates[index],
                firings_s: firings[first..].to_vec(),
                earlier_firings_s: firings[..first].to_vec(),
                twitch_train,
            });
        }
        (units, all_layers)
    }

    /// The twitch train of one MU, with margins in frames before and after the recording.
    fn train(
        &self,
        draw: &Draw,
        unit: usize,
        waveform: &Waveform,
        firings: &[f32],
        margins: (usize, usize),
    ) -> Vec<f32> {
        let (grid, twitch) = (&self.config.grid, &self.config.twitch);
        let mut train = vec![0.0; margins.0 + grid.frames + margins.1];
        let mut variation = draw.unit(Quantity::Variation, unit);
        for &instant_s in firings {
            let amplitude = (1.0 + twitch.amplitude_variation * variation.normal()).max(SMALLEST_VARIATION);
            let duration = (1.0 + twitch.duration_variation * variation.normal()).max(SMALLEST_VARIATION);
            let firing = Scaled { instant_s, amplitude, duration };
            waveform.add(self.isa, &mut train, margins.0, grid.fs_hz, firing);
        }
        train
    }

    /// The signal-to-noise ratio (none without noise) and the noise's standard deviation.
    fn noise_level(&self, draw: &Draw, power: Power) -> (Option<f32>, f32) {
        let mut stream = draw.recording(Quantity::Snr);
        let (clean, place) = (stream.uniform(), stream.uniform());
        let db = match self.config.background.noise {
            Noise::Clean => None,
            Noise::Snr { db } => Some(db),
            Noise::Mixed { clean_share, .. } if clean < clean_share => None,
            Noise::Mixed { min_db, max_db, .. } => Some(min_db + (max_db - min_db) * place),
        };
        let reference = match self.config.background.snr_reference {
            SnrReference::Recording => power.recording,
            SnrReference::Territories => power.territories,
        };
        let sigma = db.map_or(0.0, |db| (reference / exp(f64::from(db) * NEPERS_PER_DB)).sqrt());
        (db, sigma as f32)
    }
}

/// Recording `index` of a split under a seed. Fails with the name of the config's field that cannot be used.
pub fn simulate(config: &SimulatorConfig, split: Split, index: u32, seed: u64) -> Result<SimulatedRecording> {
    Ok(Simulator::new(config.clone())?.simulate(split, index, seed))
}
