//! Correlation of every pixel's signal with those of its neighbours: what a motor unit's territory looks like before
//! anything is learned. Pixels of one territory move together, so their signals are proportional.

mod cpu;
mod cuda;
mod grad_cpu;
mod plan;
pub mod problem;

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{Cost, CpuArgs, Op, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use plan::Plan;

/// Added to the relative energy before its logarithm: the map of a silent pixel is `ln(1e-3)`.
pub const LOG_ENERGY_FLOOR: f32 = 1e-3;

/// Attributes of [`Graph::neighbour_correlation`].
#[derive(Clone, Debug, PartialEq)]
pub struct NeighbourCorrelationAttrs {
    /// Where the neighbours are: (dy, dx) in pixels, one map each. Computing an offset and its opposite costs as much as
    /// computing one of them.
    pub offsets: Vec<(i32, i32)>,
    /// Frames of the running mean, odd.
    pub smooth_frames: usize,
    /// Part of the mean energy that is added to every pixel's energy, so that silent pixels do not blow up.
    pub floor: f32,
}

#[derive(Clone, Debug, PartialEq)]
struct NeighbourCorrelation {
    attrs: NeighbourCorrelationAttrs,
}

#[derive(Clone, Debug, PartialEq)]
struct NeighbourCorrelationGrad {
    attrs: NeighbourCorrelationAttrs,
}

impl Graph {
    /// Correlation of each pixel with its neighbours, and each pixel's energy: `f32 [N, T, H, W, 1]` ->
    /// `f32 [N, H, W, offsets + 1]`.
    ///
    /// `y` is the recording after a running mean over `smooth_frames` frames (centred; at both ends the mean of the frames
    /// that exist), less each pixel's mean over time. With the energy `e(p)`, the mean over time of `y(p)^2`, `E` its mean
    /// over the pixels, and `sd(p)^2 = e(p) + floor E`:
    ///
    /// - map `o` at `p` is the mean over time of `y(p) y(p + o) / (sd(p) sd(p + o))`; 0 if `p + o` is outside the field or
    ///   either `sd` is 0;
    /// - the last map is `ln(e(p) / E + 1e-3)`, with `e / E` taken as 0 where the whole recording is silent.
    ///
    /// Recordings whose squares stay finite give finite maps. Errors: `recordings` of another type, an even or zero
    /// `smooth_frames`, a floor that is negative or not finite.
    pub fn neighbour_correlation(&mut self, recordings: Value, attrs: NeighbourCorrelationAttrs) -> Result<Value> {
        self.apply1(NeighbourCorrelation { attrs }, &[recordings])
    }
}

impl NeighbourCorrelationAttrs {
    /// The maps' type.
    fn infer(&self, op: &str, x: &TensorType) -> Result<TensorType> {
        let ok =
            x.dtype == DType::F32 && x.shape.rank() == 5 && x.shape.last() == 1 && (1..4).all(|axis| x.shape[axis] > 0);
        ensure(op, ok, || format!("recordings must be f32 [N, T, H, W, 1], T, H and W not 0, got {x}"))?;
        ensure(op, self.smooth_frames % 2 == 1, || {
            format!("smooth_frames must be odd, so that the running mean has a centre, got {}", self.smooth_frames)
        })?;
        ensure(op, self.floor.is_finite() && self.floor >= 0.0, || {
            format!("floor is a part of the mean energy, finite and not negative, got {}", self.floor)
        })?;
        Ok(TensorType::f32([x.shape[0], x.shape[2], x.shape[3], self.offsets.len() + 1]))
    }
}

impl Op for NeighbourCorrelation {
    fn name(&self) -> &'static str {
        "neighbour_correlation"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        Ok(vec![self.attrs.infer(self.name(), &inputs[0])?])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let inputs = [context.inputs[0], context.outputs[0], context.dy()?];
        let op = NeighbourCorrelationGrad { attrs: self.attrs.clone() };
        Ok(vec![Some(context.graph.apply1(op, &inputs)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let plan = Plan::new(&self.attrs, &inputs[0].shape);
        // A product for each pair of pixels; the running mean, its centring.
        let per_value = 2 * plan.pairs.len() + self.attrs.smooth_frames + 2;
        Cost::new((per_value * inputs[0].len()) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let plan = Plan::new(&self.attrs, &inputs[0].shape);
        Workspace { packed: 0, scratch: cpu::scratch_bytes(&plan, cpu) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::forward(&self.attrs, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let x = &args.inputs[0];
        let plan = Plan::new(&self.attrs, x.shape());
        cpu::run(cpu, &plan, x.f32(), args.outputs[0].f32(), args.scratch);
        Ok(())
    }
}

impl Op for NeighbourCorrelationGrad {
    fn name(&self) -> &'static str {
        "neighbour_correlation_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        let maps = self.attrs.infer(self.name(), &inputs[0])?;
        ensure(self.name(), inputs[1] == maps && inputs[2] == maps, || {
            format!("maps and their gradient must be {maps}, got {} and {}", inputs[1], inputs[2])
        })?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let per_value = 4 * (self.attrs.offsets.len() + 1) + 2 * self.attrs.smooth_frames;
        Cost::new((per_value * inputs[0].len()) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let plan = Plan::new(&self.attrs, &inputs[0].shape);
        Workspace { packed: 0, scratch: grad_cpu::scratch_bytes(&plan, cpu) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::backward(&self.attrs, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let [x, maps, gradient] = args.inputs else { return Err(Error::op(self.name(), "takes 3 inputs")) };
        let plan = Plan::new(&self.attrs, x.shape());
        grad_cpu::run(cpu, &plan, x.f32(), maps.f32(), gradient.f32(), args.outputs[0].f32(), args.scratch);
        Ok(())
    }
}
