//! The simulator as an op: recordings made where they are used, a tensor of numbers in, velocities and truth out.

use super::config::SimulatorConfig;
use super::dataset::Flip;
use super::draw::Split;
use super::prepare::mask_box;
use super::recording::Simulator;
use super::{cuda, recording::Truth};
use crate::Result;
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::TensorType;

/// Recordings `indices` of a split under a seed, with their truth: what [`Simulator::simulate`] makes, the same bits on every
/// device.
///
/// Inputs: `indices i32 [N]` (a negative one makes no recording: zeros, no units) and, if recordings are to be mirrored, `flips i32
/// [N]`: 1 columns, 2 rows, 3 both. Outputs, with R rows for units (units beyond are in the velocity alone; rows without a unit are
/// zero): velocity `f32 [N, T, H, W]` in mm/s; masks `f32 [N, R, H, W]`, 1 in the territory; true signals `f32 [N, R, T]` in mm/s;
/// numbers of units `i32 [N]`, R at most; boxes of the masks (y1, x1, y2, x2) in pixels, ends excluded, `f32 [N, R, 4]`. All but the
/// velocity are left out where nothing reads them. No gradient.
#[derive(Clone, Debug)]
pub struct Simulate {
    /// Its config says what is simulated.
    pub simulator: Simulator,
    /// Part of the data set.
    pub split: Split,
    /// Seed of the data set.
    pub seed: u64,
    /// R, the rows for units.
    pub max_units: usize,
}

impl Op for Simulate {
    fn name(&self) -> &'static str {
        "simulate"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=2)?;
        let recordings = inputs[0].len();
        let ok = inputs.iter().all(|input| *input == TensorType::i32([recordings]));
        ensure(self.name(), ok, || format!("indices and flips must be i32 [N], got {inputs:?}"))?;
        ensure(self.name(), self.max_units > 0, || "max_units is 0; expected a row for one unit at least".to_owned())?;
        let grid = &self.simulator.config().grid;
        let (rows, [frames, height, width]) = (self.max_units, [grid.frames, grid.height, grid.width]);
        Ok(vec![
            TensorType::f32([recordings, frames, height, width]),
            TensorType::f32([recordings, rows, height, width]),
            TensorType::f32([recordings, rows, frames]),
            TensorType::i32([recordings]),
            TensorType::f32([recordings, rows, 4]),
        ])
    }

    fn optional_outputs(&self) -> Vec<usize> {
        vec![1, 2, 3, 4]
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // Some 25 operations a noise sample; what units add is less.
        Cost::new(25 * outputs[0].len() as u64, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::simulate(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (indices, flips) = (args.inputs[0].i32(), args.inputs.get(1).map(|flips| flips.i32()));
        let simulator = self.simulator.clone().with_isa(cpu.isa());
        let [velocity, masks, signals, counts, boxes] = args.outputs else { unreachable!("as many as inferred") };
        let parts =
            [velocity.f32(), masks.f32(), signals.f32(), boxes.f32()].map(|part| Part::new(part, indices.len()));
        let counts = Part::new(counts.i32(), indices.len());
        cpu.parallel(indices.len(), |n, _| {
            // SAFETY: every recording is one task's.
            let [velocity, masks, signals, boxes] = parts.each_ref().map(|part| unsafe { part.of(n) });
            // SAFETY: as above.
            let count = unsafe { counts.of(n) };
            [&mut *masks, signals, boxes].into_iter().for_each(|part| part.fill(0.0));
            let flip = flips.map_or(0, |flips| flips[n]);
            let flip = Flip { y: flip & 2 != 0, x: flip & 1 != 0 };
            let Ok(index) = u32::try_from(indices[n]) else {
                velocity.fill(0.0);
                count.fill(0);
                return;
            };
            // The length is the simulator's own: it cannot refuse.
            let Ok(truth) = simulator.simulate_into(self.split, index, self.seed, velocity) else { return };
            flip.images(velocity, truth.height, truth.width);
            count.fill(truth.units.len().min(self.max_units) as i32);
            write_truth(truth, flip, masks, signals, boxes);
        });
        Ok(())
    }
}

/// What belongs to each recording of an output; nothing where nothing reads the output.
struct Part<T> {
    first: SendPtr<T>,
    each: usize,
}

impl<T> Part<T> {
    fn new(values: &mut [T], recordings: usize) -> Self {
        Self { each: values.len() / recordings.max(1), first: SendPtr(values.as_mut_ptr()) }
    }

    /// Of recording `n`.
    ///
    /// # Safety
    /// `n` is one of the recordings, and no one else holds its part.
    #[allow(clippy::mut_from_ref)]
    unsafe fn of(&self, n: usize) -> &mut [T] {
        // SAFETY: the parts are disjoint and inside the output, which the op borrows while it runs.
        unsafe { std::slice::from_raw_parts_mut(self.first.get().add(n * self.each), self.each) }
    }
}

/// Masks, signals and boxes of the units that there are rows for; empty slices are left out.
fn write_truth(truth: Truth, flip: Flip, masks: &mut [f32], signals: &mut [f32], boxes: &mut [f32]) {
    let (pixels, frames) = (truth.height * truth.width, truth.frames);
    let mut masks = masks.chunks_exact_mut(pixels);
    let mut signals = signals.chunks_exact_mut(frames);
    let mut boxes = boxes.chunks_exact_mut(4);
    for mut unit in truth.units {
        flip.images(&mut unit.mask, truth.height, truth.width);
        if let Some(mask) = masks.next() {
            mask.iter_mut().zip(&unit.mask).for_each(|(to, from)| *to = f32::from(*from));
        }
        if let Some(signal) = signals.next() {
            signal.copy_from_slice(&unit.twitch_train);
        }
        if let (Some(bounds), Some(found)) = (boxes.next(), mask_box(&unit.mask, truth.width)) {
            bounds.copy_from_slice(&found);
        }
    }
}

/// What [`Graph::simulate`] gives; see [`Simulate`].
#[derive(Clone, Copy, Debug)]
pub struct SimulatedValues {
    /// Tissue velocity in mm/s: `f32 [N, T, H, W]`.
    pub velocity: Value,
    /// Territories, 1 inside: `f32 [N, R, H, W]`.
    pub masks: Value,
    /// True signals in mm/s: `f32 [N, R, T]`.
    pub signals: Value,
    /// Numbers of units: `i32 [N]`.
    pub counts: Value,
    /// Boxes of the masks in pixels: `f32 [N, R, 4]`.
    pub boxes: Value,
}

impl Graph {
    /// Simulates recordings `indices` (`i32 [N]`) of a split under a seed, mirrored as `flips` (`i32 [N]`) say, with their truth in
    /// `max_units` rows: see [`Simulate`]. Fails with the name of the config's field that cannot be used.
    pub fn simulate(
        &mut self,
        config: &SimulatorConfig,
        (split, seed): (Split, u64),
        indices: Value,
        flips: Option<Value>,
        max_units: usize,
    ) -> Result<SimulatedValues> {
        let simulator = Simulator::new(config.clone())?;
        let inputs: Vec<Value> = [indices].into_iter().chain(flips).collect();
        let outputs = self.apply(Simulate { simulator, split, seed, max_units }, &inputs)?;
        let [velocity, masks, signals, counts, boxes] = outputs[..] else { unreachable!("as many as inferred") };
        Ok(SimulatedValues { velocity, masks, signals, counts, boxes })
    }
}
