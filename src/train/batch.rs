//! Samples and crops of them, made as graphs on the device that trains: recordings and truth never pass through the host.

use std::sync::Arc;

use super::data::{Choice, Stock};
use crate::device::Device;
use crate::graph::{Executor, Graph, Value};
use crate::tensor::TensorType;
use crate::{Error, Result};

/// A graph that makes an `M` of values.
pub(super) struct Batch<M> {
    executor: Executor,
    choice: ChoiceInputs,
    /// What is made.
    pub made: M,
    samples: usize,
    max_units: usize,
}

/// The inputs that say which samples are made, each `i32 [N]`.
#[derive(Clone, Debug)]
struct ChoiceInputs {
    /// For each simulator of the stock: which recordings it makes, -1 for those of others.
    indices: Vec<Value>,
    flips: Value,
}

/// Samples, with R rows for the units of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeSamples {
    /// Standardised, `[N, T, H, W, 1]`.
    pub recordings: Value,
    /// `[N, R, H, W]`.
    pub masks: Value,
    /// In pixels, `[N, R, 4]`.
    pub boxes: Value,
    /// True signals in units of the standardised recording, `[N R, T]`.
    pub signals: Value,
}

/// Crops of samples, each round one of its units.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeCrops {
    /// Of the standardised recordings, `[N, T, h, w, 1]`.
    pub crops: Value,
    /// The units' true signals, in the same units, `[N, T]`.
    pub signals: Value,
    /// Which unit of each sample, `i32 [N]`: an input.
    units: Value,
}

/// Samples whose recordings a graph of crops holds at a time.
const HELD: usize = 4;

impl ChoiceInputs {
    fn new(g: &mut Graph, stock: &Stock, samples: usize) -> Result<Self> {
        let ty = TensorType::i32([samples]);
        let input = |number| g.input(&format!("indices{number}"), ty.clone());
        let indices = (0..stock.simulators.len()).map(input).collect::<Result<_>>()?;
        Ok(Self { indices, flips: g.input("flips", ty)? })
    }

    /// Those of `len` samples from `first` on.
    fn some(&self, g: &mut Graph, first: usize, len: usize) -> Result<Self> {
        let mut slice = |value: &Value| g.slice(*value, 0, first, len, 1);
        Ok(Self { indices: self.indices.iter().map(&mut slice).collect::<Result<_>>()?, flips: slice(&self.flips)? })
    }
}

/// Appends the samples that the inputs choose to a graph.
fn append_samples(g: &mut Graph, stock: &Stock, choice: &ChoiceInputs, max_units: usize) -> Result<MadeSamples> {
    let mut sum: Option<[Value; 4]> = None;
    for ((simulator, _), own) in stock.simulators.iter().zip(&choice.indices) {
        let made = g.simulate(simulator.config(), (stock.split, stock.seed), *own, Some(choice.flips), max_units)?;
        let made = [made.velocity, made.masks, made.boxes, made.signals];
        // What others make is zero here.
        sum = Some(match sum {
            None => made,
            Some(mut sum) => {
                for (sum, made) in sum.iter_mut().zip(made) {
                    *sum = g.add(*sum, made)?;
                }
                sum
            }
        });
    }
    let [velocity, masks, boxes, signals] =
        sum.ok_or_else(|| Error::value("data.presets", "needs at least one preset"))?;
    let (samples, [frames, height, width]) = (g.shape(velocity)[0], stock.shape());
    let mean = g.reduce_mean(velocity, &[1, 2, 3], true)?;
    let centred = g.sub(velocity, mean)?;
    let squares = g.square(centred)?;
    let variance = g.reduce_mean(squares, &[1, 2, 3], false)?;
    let deviation = g.sqrt(variance)?;
    let deviation = g.reshape(deviation, [samples, 1, 1])?;
    let signals = g.div(signals, deviation)?;
    let standardised = g.standardise(velocity)?;
    Ok(MadeSamples {
        recordings: g.reshape(standardised, [samples, frames, height, width, 1])?,
        masks,
        boxes,
        signals: g.reshape(signals, [samples * max_units, frames])?,
    })
}

impl<M> Batch<M> {
    fn plan(
        device: &Device,
        stock: &Stock,
        (samples, max_units): (usize, usize),
        append: impl FnOnce(&mut Graph, &ChoiceInputs) -> Result<(M, Vec<Value>)>,
    ) -> Result<Self> {
        let mut g = Graph::new();
        let choice = ChoiceInputs::new(&mut g, stock, samples)?;
        let (made, targets) = append(&mut g, &choice)?;
        let executor = Executor::new(device, Arc::new(g), &targets)?;
        Ok(Self { executor, choice, made, samples, max_units })
    }

    /// Chooses the samples from number `first` on; returns how many units each has rows for.
    fn choose(&mut self, stock: &Stock, first: u64) -> Result<Vec<i32>> {
        let chosen: Vec<Choice> = (first..).take(self.samples).map(|number| stock.choose(number)).collect();
        for (number, input) in self.choice.indices.iter().enumerate() {
            let own = |choice: &Choice| if choice.simulator == number { choice.index as i32 } else { -1 };
            self.executor.feed_values(*input, &chosen.iter().map(own).collect::<Vec<i32>>())?;
        }
        let flips = chosen.iter().map(|choice| i32::from(choice.flip.x) + 2 * i32::from(choice.flip.y));
        self.executor.feed_values(self.choice.flips, &flips.collect::<Vec<i32>>())?;
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

impl Batch<MadeSamples> {
    /// Plans batches of `samples` of the stock with `max_units` rows for units; only what is `wanted` of them is made.
    pub fn of_samples(
        device: &Device,
        stock: &Stock,
        (samples, max_units): (usize, usize),
        wanted: impl FnOnce(&MadeSamples) -> Vec<Value>,
    ) -> Result<Self> {
        Self::plan(device, stock, (samples, max_units), |g, choice| {
            let made = append_samples(g, stock, choice, max_units)?;
            let wanted = wanted(&made);
            Ok((made, wanted))
        })
    }

    /// Makes the samples from number `first` on; returns how many units each has rows for.
    pub fn make(&mut self, stock: &Stock, first: u64) -> Result<Vec<i32>> {
        let counts = self.choose(stock, first)?;
        self.executor.run_fed()?;
        Ok(counts)
    }
}

impl Batch<MadeCrops> {
    /// Plans crops of `size` from `samples` samples of the stock, of whose units the first `max_units` are taken.
    pub fn of_crops(
        device: &Device,
        stock: &Stock,
        (samples, max_units): (usize, usize),
        size: [usize; 2],
    ) -> Result<Self> {
        Self::plan(device, stock, (samples, max_units), |g, choice| {
            let units = g.input("units", TensorType::i32([samples]))?;
            let [frames, height, width] = stock.shape();
            let (mut crops, mut signals) = (Vec::new(), Vec::new());
            for first in (0..samples).step_by(HELD) {
                let held = HELD.min(samples - first);
                let some = choice.some(g, first, held)?;
                let made = append_samples(g, stock, &some, max_units)?;
                // Rows among those of all samples that are held.
                let units = g.slice(units, 0, first, held, 1)?;
                let boxes = g.reshape(made.boxes, [held * max_units, 4])?;
                let boxes = g.gather_rows(boxes, units)?;
                let recordings = g.reshape(made.recordings, [held, frames, height, width])?;
                crops.push(g.crop_windows(recordings, boxes, size)?);
                signals.push(g.gather_rows(made.signals, units)?);
            }
            let (crops, signals) = (g.concat(&crops, 0)?, g.concat(&signals, 0)?);
            let crops = g.reshape(crops, [samples, frames, size[0], size[1], 1])?;
            Ok((MadeCrops { crops, signals, units }, vec![crops, signals]))
        })
    }

    /// Makes crops of the samples from number `first` on, each round the unit that `pick` says, given their number.
    pub fn make(&mut self, stock: &Stock, first: u64, mut pick: impl FnMut(u32) -> u32) -> Result<()> {
        let counts = self.choose(stock, first)?;
        let row = |(sample, count): (usize, &i32)| match u32::try_from(*count) {
            Ok(count) if count > 0 => (sample % HELD * self.max_units) as i32 + pick(count) as i32,
            // Without a unit there is neither crop nor signal: zeros.
            _ => -1,
        };
        let units: Vec<i32> = counts.iter().enumerate().map(row).collect();
        self.executor.feed_values(self.made.units, &units)?;
        self.executor.run_fed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::DataMix;
    use super::*;
    use crate::muscle::{Split, mask_box};
    use crate::ops::random::philox::{Stream, key_of};
    use crate::twitch;

    #[test]
    fn batches_made_as_graphs_are_those_made_on_the_host() -> Result<()> {
        let (samples, max_units) = (4, 20);
        let stock = Stock::new(&DataMix::default(), 7, Split::Train)?;
        let device = Device::cpu();
        let all = |made: &MadeSamples| vec![made.recordings, made.masks, made.boxes, made.signals];
        let mut batch = Batch::of_samples(&device, &stock, (samples, max_units), all)?;
        let each: usize = stock.shape().iter().product();
        let mut recordings = vec![0.0; samples * each];
        for first in [0, 40] {
            let expected = stock.fill(&device.host(), first, &mut recordings);
            let counts = batch.make(&stock, first)?;
            let (made, values) = (batch.executor(), batch.made);
            // Standardised by another order of sums.
            let worst = made.values::<f32>(values.recordings)?.iter().zip(&recordings).map(|(a, b)| (a - b).abs());
            let worst = worst.fold(0.0, f32::max);
            assert!(worst < 1e-4, "{worst}");
            let (masks, boxes) = (made.values::<f32>(values.masks)?, made.values::<f32>(values.boxes)?);
            let (frames, pixels) = (stock.shape()[0], each / stock.shape()[0]);
            let signals = made.values::<f32>(values.signals)?;
            for (n, sample) in expected.iter().enumerate() {
                assert_eq!(counts[n] as usize, sample.units.len().min(max_units));
                for row in 0..max_units {
                    let (at, unit) = (n * max_units + row, sample.units.get(row));
                    let mask = &masks[at * pixels..(at + 1) * pixels];
                    let inside = |pixel: usize| unit.map_or(0.0, |unit| f32::from(unit.mask[pixel]));
                    assert!((0..pixels).all(|pixel| mask[pixel] == inside(pixel)));
                    let bounds = unit.and_then(|unit| mask_box(&unit.mask, stock.shape()[2])).unwrap_or_default();
                    assert_eq!(boxes[4 * at..4 * at + 4], bounds);
                    let signal = &signals[at * frames..(at + 1) * frames];
                    let train = |t: usize| unit.map_or(0.0, |unit| unit.twitch_train[t] / sample.deviation);
                    let worst = (0..frames).map(|t| (signal[t] - train(t)).abs()).fold(0.0, f32::max);
                    assert!(worst < 1e-4, "{worst}");
                }
            }
        }
        let chosen: Vec<usize> = (0..44).map(|number| stock.choose(number).simulator).collect();
        assert!(chosen.contains(&0) && chosen.contains(&1));
        Ok(())
    }

    #[test]
    fn crops_made_as_graphs_are_those_made_on_the_host() -> Result<()> {
        // Not a multiple of what is held at a time.
        let (samples, max_units, size) = (6, 20, [16, 12]);
        let stock = Stock::new(&DataMix::default(), 7, Split::Train)?;
        let device = Device::cpu();
        let [frames, height, width] = stock.shape();
        let mut batch = Batch::of_crops(&device, &stock, (samples, max_units), size)?;
        let mut recordings = vec![0.0; samples * frames * height * width];
        let expected = stock.fill(&device.host(), 30, &mut recordings);
        let mut draw = Stream::new(key_of(3), [1, 2, 3]);
        batch.make(&stock, 30, |count| draw.below(count))?;
        let crops = batch.executor().values::<f32>(batch.made.crops)?;
        let signals = batch.executor().values::<f32>(batch.made.signals)?;
        let mut draw = Stream::new(key_of(3), [1, 2, 3]);
        let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
        for (n, sample) in expected.iter().enumerate() {
            let unit = &sample.units[draw.below(sample.units.len().min(max_units) as u32) as usize];
            let recording = &recordings[n * frames * height * width..][..frames * height * width];
            let crop = twitch::crop(recording, [height, width], twitch::box_centre(&unit.mask, width), size);
            assert!(close(&crops[n * crop.len()..][..crop.len()], &crop), "sample {n}");
            let signal: Vec<f32> = unit.twitch_train.iter().map(|v| v / sample.deviation).collect();
            assert!(close(&signals[n * frames..][..frames], &signal), "sample {n}");
        }
        Ok(())
    }
}
