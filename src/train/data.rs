//! Training data straight from the simulator: recordings as functions of a seed and their number.

use serde::{Deserialize, Serialize};

use crate::device::Cpu;
use crate::muscle::standardise;
use crate::muscle::{Flip, Noise, SimulatedUnit, Simulator, SimulatorConfig, Split};
use crate::ops::random::philox::{Stream, key_of};
use crate::{Error, Result};

/// Which recordings a run trains on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataMix {
    /// Simulator presets and their weights.
    pub presets: Vec<(String, f32)>,
    /// Share of recordings without noise; the others get 10 to 30 dB.
    pub clean_share: f32,
    /// Whether recordings are mirrored at random in both axes.
    pub flips: bool,
    /// Number of different recordings, or none for a new one every time.
    pub recordings: Option<u32>,
}

impl Default for DataMix {
    fn default() -> Self {
        Self {
            presets: vec![("paper".to_owned(), 1.0), ("hard".to_owned(), 1.0)],
            clean_share: 0.3,
            flips: true,
            recordings: None,
        }
    }
}

/// A standardised recording with its units.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Standard deviation that the recording was divided by, mm/s.
    pub deviation: f32,
    /// The units, masks flipped as the recording.
    pub units: Vec<SimulatedUnit>,
}

/// Which recording a sample is: the simulator's place in the stock, the recording's number, and how it is mirrored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub simulator: usize,
    pub index: u32,
    pub flip: Flip,
}

/// Makes samples.
#[derive(Debug)]
pub struct Stock {
    pub(super) simulators: Vec<(Simulator, f32)>,
    mix: DataMix,
    pub(super) seed: u64,
    pub(super) split: Split,
    shape: [usize; 3],
}

impl Stock {
    /// The recordings of a mix. Fails if a preset is unknown, or two presets' recordings differ in shape.
    pub fn new(mix: &DataMix, seed: u64, split: Split) -> Result<Self> {
        let noise = Noise::training(mix.clean_share);
        let simulator = |(name, weight): &(String, f32)| -> Result<(Simulator, f32)> {
            Ok((Simulator::new(SimulatorConfig::from_name(name)?.with_noise(noise))?, *weight))
        };
        let simulators: Vec<_> = mix.presets.iter().map(simulator).collect::<Result<_>>()?;
        if !simulators.iter().map(|(_, weight)| *weight).sum::<f32>().is_normal() {
            return Err(Error::value("data.presets", "needs at least one preset with a positive weight"));
        }
        let shape = |(simulator, _): &(Simulator, f32)| {
            let grid = &simulator.config().grid;
            [grid.frames, grid.height, grid.width]
        };
        let first = shape(&simulators[0]);
        if simulators.iter().any(|simulator| shape(simulator) != first) {
            return Err(Error::value("data.presets", "expected presets whose recordings have one shape"));
        }
        Ok(Self { simulators, mix: mix.clone(), seed, split, shape: first })
    }

    /// `[T, H, W]` of every recording.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Fills `recordings`, `[N, T, H, W]`, with the samples from number `first` on, one task each.
    pub fn fill(&self, cpu: &Cpu, first: u64, recordings: &mut [f32]) -> Vec<Sample> {
        let each = self.shape.iter().product();
        let mut slots: Vec<(Option<Sample>, &mut [f32])> =
            recordings.chunks_exact_mut(each).map(|recording| (None, recording)).collect();
        cpu.parallel_chunks(&mut slots, 1, |task, slot| {
            slot[0].0 = Some(self.sample(first + task as u64, slot[0].1));
        });
        slots.into_iter().filter_map(|(sample, _)| sample).collect()
    }

    /// Which recording sample `number` is.
    pub(super) fn choose(&self, number: u64) -> Choice {
        let mut draw = Stream::new(key_of(self.seed), [0x0da7a, number as u32, (number >> 32) as u32]);
        let total: f32 = self.simulators.iter().map(|(_, weight)| weight).sum();
        let mut left = draw.uniform() * total;
        let chosen = self.simulators.iter().position(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        let simulator = chosen.unwrap_or(self.simulators.len() - 1);
        // A graph numbers recordings below 2^31.
        let recordings = self.mix.recordings.map_or(1 << 31, |most| most.clamp(1, 1 << 31));
        let index = (number % u64::from(recordings)) as u32;
        let flips = self.mix.flips.then(|| Flip { y: draw.uniform() < 0.5, x: draw.uniform() < 0.5 });
        Choice { simulator, index, flip: flips.unwrap_or_default() }
    }

    /// Sample `number` into `velocity`, `[T, H, W]`.
    fn sample(&self, number: u64, velocity: &mut [f32]) -> Sample {
        let Choice { simulator, index, flip } = self.choose(number);
        let simulator = &self.simulators[simulator].0;
        // The length is the simulator's own: it cannot refuse.
        let truth = simulator.simulate_into(self.split, index, self.seed, velocity);
        let mut units = truth.map(|truth| truth.units).unwrap_or_default();
        let grid = &simulator.config().grid;
        flip.images(velocity, grid.height, grid.width);
        units.iter_mut().for_each(|unit| flip.images(&mut unit.mask, grid.height, grid.width));
        let deviation = standardise(velocity);
        Sample { deviation, units }
    }
}
