//! Simulated recordings as test problems: the op against the simulator itself.

use super::config::{CountRange, Noise, Profile, Range, SimulatorConfig};
use super::dataset::Flip;
use super::draw::Split;
use super::prepare::mask_box;
use super::recording::Simulator;
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Where they are from: both words of the key matter.
const SOURCE: (Split, u64) = (Split::Validation, 0x9e37_79b9_7f4a_7c15);

/// Some recordings on a small raster.
#[derive(Clone, Debug)]
pub struct SimulateProblem {
    /// What is simulated.
    pub config: SimulatorConfig,
    /// Numbers of the recordings; negative for none.
    pub indices: Vec<i32>,
    /// How each is mirrored, if at all: 1 columns, 2 rows, 3 both.
    pub flips: Option<Vec<i32>>,
    /// Rows for units.
    pub max_units: usize,
}

impl SimulateProblem {
    /// A preset, with up to eight units on a small raster.
    pub fn small(preset: &str, noise: Noise) -> Result<Self> {
        let mut config = SimulatorConfig::from_name(preset)?.with_noise(noise);
        (config.grid.frames, config.grid.height, config.grid.width) = (22, 12, 10);
        config.grid.mm_per_pixel = 2.0;
        config.units = CountRange { min: 1, max: 8 };
        config.territories.diameter_mm = Range::new(4.5, 10.0);
        Ok(Self { config, indices: vec![3, -1, 70_000], flips: None, max_units: 6 })
    }

    /// Either preset, and what the presets leave alone.
    pub fn random(numbers: &mut Numbers) -> Self {
        let noises =
            [Noise::Clean, Noise::Snr { db: 12.0 }, Noise::Mixed { min_db: 5.0, max_db: 25.0, clean_share: 0.3 }];
        let preset = SimulatorConfig::PRESETS[numbers.integer(0, 1)];
        // The names are the presets' own.
        let made = Self::small(preset, noises[numbers.integer(0, 2)]);
        let Ok(mut problem) = made else { unreachable!("a preset") };
        let Self { config, indices, flips, max_units } = &mut problem;
        let maybe = |numbers: &mut Numbers| numbers.integer(0, 2) == 0;
        config.grid.frames = numbers.integer(1, 40);
        config.grid.width = numbers.integer(8, 20);
        if maybe(numbers) {
            config.background.noise_correlation_pixels = numbers.uniform(0.3, 4.0);
        }
        if maybe(numbers) {
            let fibres = Profile::Fibres { per_mm2: numbers.uniform(0.5, 20.0) };
            config.territories.profiles = vec![Profile::Flat, fibres, Profile::Gaussian];
        }
        if maybe(numbers) {
            config.territories.rim_lag_ms = Range::new(0.0, numbers.uniform(1.0, 50.0));
        }
        if maybe(numbers) {
            config.firing.synchrony = Range::new(0.5, 1.0);
            config.firing.rate_hz = Range::new(5.0, 40.0);
        }
        if maybe(numbers) {
            config.background.drift_level = numbers.uniform(0.0, 0.5);
            config.background.pulse_level = 0.0;
        }
        if maybe(numbers) {
            config.background.pulse_level = numbers.uniform(0.0, 0.5);
        }
        *indices = (0..numbers.integer(1, 3)).map(|_| numbers.integer(0, 1000) as i32 - 50).collect();
        *flips = maybe(numbers).then(|| indices.iter().map(|_| numbers.integer(0, 3) as i32).collect());
        *max_units = numbers.integer(1, 10);
        problem
    }
}

impl Problem for SimulateProblem {
    fn inputs(&self, _: u64) -> Vec<Tensor> {
        [&self.indices].into_iter().chain(&self.flips).map(|values| Numbers::ints(values)).collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let flips = inputs.get(1).copied();
        let made = graph.simulate(&self.config, SOURCE, inputs[0], flips, self.max_units)?;
        Ok(vec![made.velocity, made.masks, made.signals, made.counts, made.boxes])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let simulator = Simulator::new(self.config.clone()).expect("problems are made of configs that can be used");
        let grid = &self.config.grid;
        let (rows, pixels) = (self.max_units, grid.height * grid.width);
        let sizes = [grid.frames * pixels, rows * pixels, rows * grid.frames, 1, rows * 4];
        let mut outputs: [Vec<R>; 5] = Default::default();
        for (n, index) in inputs[0].int().iter().enumerate() {
            let mut own: [Vec<f32>; 5] = Default::default();
            if let Ok(index) = u32::try_from(*index) {
                let mut made = simulator.simulate(SOURCE.0, index, SOURCE.1);
                let flip = inputs.get(1).map_or(0, |flips| flips.int()[n]);
                Flip { y: flip & 2 != 0, x: flip & 1 != 0 }.recording(&mut made);
                let units = &made.truth.units[..rows.min(made.truth.units.len())];
                own[1] = units.iter().flat_map(|unit| &unit.mask).map(|inside| f32::from(*inside)).collect();
                own[2] = units.iter().flat_map(|unit| &unit.twitch_train).copied().collect();
                own[3] = vec![units.len() as f32];
                own[4] = units.iter().flat_map(|unit| mask_box(&unit.mask, grid.width).unwrap_or_default()).collect();
                own[0] = made.velocity;
            }
            for ((all, mut own), size) in outputs.iter_mut().zip(own).zip(sizes) {
                own.resize(size, 0.0);
                all.extend(own.into_iter().map(|value| R::of(f64::from(value))));
            }
        }
        outputs.into()
    }
}
