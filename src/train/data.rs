//! Training data straight from the simulator: recordings as functions of a seed and their number.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::device::{Cpu, Device};
use crate::graph::{Executor, Graph, Value};
use crate::muscle::standardise;
use crate::muscle::{Flip, Noise, SimulatedUnit, Simulator, SimulatorConfig, Split};
use crate::ops::random::philox::{Stream, key_of};
use crate::tensor::TensorType;
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
struct Choice {
    simulator: usize,
    index: u32,
    flip: Flip,
}

/// Makes samples.
#[derive(Debug)]
pub struct Stock {
    simulators: Vec<(Simulator, f32)>,
    mix: DataMix,
    seed: u64,
    split: Split,
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
    fn choose(&self, number: u64) -> Choice {
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

/// Samples made as graphs on the device that trains: recordings and truth never pass through the host.
pub(super) struct Batch {
    executor: Executor,
    /// For each simulator of the stock: which recordings it makes, -1 for those of others.
    indices: Vec<Value>,
    flips: Value,
    /// Standardised, `[N, T, H, W, 1]`.
    pub recordings: Value,
    /// `[N, R, H, W]` and `[N, R, 4]`, in rows for the units.
    pub masks: Value,
    /// See above.
    pub boxes: Value,
    samples: usize,
    max_units: usize,
}

impl Batch {
    /// Plans batches of `samples` of the stock with `max_units` rows for units.
    pub fn new(device: &Device, stock: &Stock, samples: usize, max_units: usize) -> Result<Self> {
        let mut g = Graph::new();
        let flips = g.input("flips", TensorType::i32([samples]))?;
        let (mut indices, mut sum): (Vec<Value>, Option<[Value; 3]>) = (Vec::new(), None);
        for (number, (simulator, _)) in stock.simulators.iter().enumerate() {
            let own = g.input(&format!("indices{number}"), TensorType::i32([samples]))?;
            indices.push(own);
            let made = g.simulate(simulator.config(), (stock.split, stock.seed), own, Some(flips), max_units)?;
            let made = [made.velocity, made.masks, made.boxes];
            // What others make is zero here.
            sum = Some(match sum {
                None => made,
                Some([velocity, masks, boxes]) => {
                    [g.add(velocity, made[0])?, g.add(masks, made[1])?, g.add(boxes, made[2])?]
                }
            });
        }
        let [velocity, masks, boxes] = sum.ok_or_else(|| Error::value("data.presets", "needs at least one preset"))?;
        let [frames, height, width] = stock.shape;
        let standardised = g.standardise(velocity)?;
        let recordings = g.reshape(standardised, [samples, frames, height, width, 1])?;
        let executor = Executor::new(device, Arc::new(g), &[recordings, masks, boxes])?;
        Ok(Self { executor, indices, flips, recordings, masks, boxes, samples, max_units })
    }

    /// Makes the samples from number `first` on; returns how many units each has rows for.
    pub fn make(&mut self, stock: &Stock, first: u64) -> Result<Vec<i32>> {
        let chosen: Vec<Choice> = (first..).take(self.samples).map(|number| stock.choose(number)).collect();
        for (number, input) in self.indices.iter().enumerate() {
            let own = |choice: &Choice| if choice.simulator == number { choice.index as i32 } else { -1 };
            self.executor.feed_values(*input, &chosen.iter().map(own).collect::<Vec<i32>>())?;
        }
        let flips = chosen.iter().map(|choice| i32::from(choice.flip.x) + 2 * i32::from(choice.flip.y));
        self.executor.feed_values(self.flips, &flips.collect::<Vec<i32>>())?;
        self.executor.run_fed()?;
        let count = |choice: &Choice| {
            let simulator = &stock.simulators[choice.simulator].0;
            simulator.unit_count(stock.split, choice.index, stock.seed).min(self.max_units) as i32
        };
        Ok(chosen.iter().map(count).collect())
    }

    /// Holds what was made.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::muscle::mask_box;

    #[test]
    fn batches_made_as_graphs_are_those_made_on_the_host() -> Result<()> {
        let (samples, max_units) = (4, 20);
        let stock = Stock::new(&DataMix::default(), 7, Split::Train)?;
        let device = Device::cpu();
        let mut batch = Batch::new(&device, &stock, samples, max_units)?;
        let each: usize = stock.shape().iter().product();
        let mut recordings = vec![0.0; samples * each];
        for first in [0, 40] {
            let expected = stock.fill(&device.host(), first, &mut recordings);
            let counts = batch.make(&stock, first)?;
            let made = batch.executor();
            // Standardised by another order of sums.
            let worst = made.values::<f32>(batch.recordings)?.iter().zip(&recordings).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f32::max);
            assert!(worst < 1e-4, "{worst}");
            let (masks, boxes) = (made.values::<f32>(batch.masks)?, made.values::<f32>(batch.boxes)?);
            let pixels = each / stock.shape()[0];
            for (n, sample) in expected.iter().enumerate() {
                assert_eq!(counts[n] as usize, sample.units.len().min(max_units));
                for row in 0..max_units {
                    let (at, unit) = (n * max_units + row, sample.units.get(row));
                    let mask = &masks[at * pixels..(at + 1) * pixels];
                    let inside = |pixel: usize| unit.map_or(0.0, |unit| f32::from(unit.mask[pixel]));
                    assert!((0..pixels).all(|pixel| mask[pixel] == inside(pixel)));
                    let bounds = unit.and_then(|unit| mask_box(&unit.mask, stock.shape()[2])).unwrap_or_default();
                    assert_eq!(boxes[4 * at..4 * at + 4], bounds);
                }
            }
        }
        let chosen: Vec<usize> = (0..44).map(|number| stock.choose(number).simulator).collect();
        assert!(chosen.contains(&0) && chosen.contains(&1));
        Ok(())
    }
}
