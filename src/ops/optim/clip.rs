//! Norms of gradients, and clipping by them.

use super::cpu;
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::ops::{Cost, CpuArgs, Input, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// Norm of all values of all gradients together, `[1]`; summed in `f64`, in an order fixed by the shapes. Inputs: gradients, and
/// where they are penalised the parameters in the same order.
#[derive(Clone, Debug)]
pub struct GlobalNorm {
    /// For each gradient, the factor of its parameter that is added to it: an L2 penalty. Empty if there are none.
    pub factors: Vec<f32>,
}

impl Op for GlobalNorm {
    fn name(&self) -> &'static str {
        "global_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_penalised(self.name(), inputs, &self.factors)?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(2 * inputs.iter().map(|ty| ty.len() as u64).sum::<u64>(), inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        // Sums are f64: two f32 each.
        let sums = 2 * cpu::chunks(gradients(inputs, &self.factors).iter().map(TensorType::len));
        Workspace { packed: 0, scratch: Scratch::bytes::<f32>(sums) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::global_norm(self.name(), &self.factors, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (inputs, n) = (args.inputs, gradients(args.inputs, &self.factors).len());
        let count = cpu::chunks(cpu::lengths(&inputs[..n]));
        let sums: &mut [f64] = bytemuck::cast_slice_mut(Scratch::new(args.scratch).take::<f32>(2 * count));
        cpu.parallel_chunks(sums, 1, |task, sum| {
            let (tensor, range) = cpu::locate(task, cpu::lengths(&inputs[..n]));
            sum[0] = squares(inputs, &self.factors, tensor, range);
        });
        args.outputs[0].f32()[0] = sums.iter().sum::<f64>().sqrt() as f32;
        Ok(())
    }
}

/// `min(1, limit / norm)`.
#[derive(Clone, Copy, Debug)]
pub struct ClipScale {
    /// Largest norm wanted.
    pub limit: f32,
}

impl Op for ClipScale {
    fn name(&self) -> &'static str {
        "clip_scale"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        ensure(self.name(), self.limit > 0.0, || format!("the limit must be positive, got {}", self.limit))?;
        ensure(self.name(), inputs[0] == TensorType::f32([1]), || format!("takes a norm f32 [1], got {}", inputs[0]))?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cuda(&self, _: &Target, _: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::clip_scale(self.limit))
    }

    fn cpu_run(&self, _: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let norm = args.inputs[0].f32()[0];
        args.outputs[0].f32()[0] = if norm > self.limit { self.limit / norm } else { 1.0 };
        Ok(())
    }
}

/// Each gradient multiplied by `min(1, limit / its own norm)`. Inputs as of [`GlobalNorm`].
#[derive(Clone, Debug)]
pub struct ClipPerTensor {
    /// Largest norm wanted.
    pub limit: f32,
    /// As of [`GlobalNorm`].
    pub factors: Vec<f32>,
}

impl Op for ClipPerTensor {
    fn name(&self) -> &'static str {
        "clip_per_tensor"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_penalised(self.name(), inputs, &self.factors)?;
        ensure(self.name(), self.limit > 0.0, || format!("the limit must be positive, got {}", self.limit))?;
        Ok(gradients(inputs, &self.factors).to_vec())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(3 * inputs.iter().map(|ty| ty.len() as u64).sum::<u64>(), inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::clip_per_tensor(self.name(), self.limit, &self.factors, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        cpu.parallel_chunks(args.outputs, 1, |tensor, output| {
            let (input, y) = (inputs[tensor].f32(), output[0].f32());
            let starts = (0..input.len()).step_by(cpu::CHUNK);
            let chunk = |start: usize| start..(start + cpu::CHUNK).min(input.len());
            let sum: f64 = starts.map(|start| squares(inputs, &self.factors, tensor, chunk(start))).sum();
            let norm = sum.sqrt() as f32;
            let scale = if norm > self.limit { self.limit / norm } else { 1.0 };
            match self.factors.get(tensor) {
                Some(&factor) if factor != 0.0 => {
                    cpu::penalise(input, inputs[self.factors.len() + tensor].f32(), factor, y);
                }
                _ => y.copy_from_slice(input),
            }
            y.iter_mut().for_each(|y| *y *= scale);
        });
        Ok(())
    }
}

/// The gradients among the inputs: all of them, or the first half if they are penalised.
fn gradients<'a, T>(inputs: &'a [T], factors: &[f32]) -> &'a [T] {
    if factors.is_empty() { inputs } else { &inputs[..factors.len()] }
}

/// Sum of squares of a part of a gradient.
fn squares(inputs: &[Input<'_>], factors: &[f32], tensor: usize, range: std::ops::Range<usize>) -> f64 {
    let gradient = &inputs[tensor].f32()[range.clone()];
    match factors.get(tensor) {
        None => cpu::sum_of_squares(gradient),
        Some(factor) => cpu::sum_of_penalised_squares(gradient, &inputs[factors.len() + tensor].f32()[range], *factor),
    }
}

/// Checks gradients, and that parameters of the same types follow where they are penalised.
fn expect_penalised(op: &str, inputs: &[TensorType], factors: &[f32]) -> Result<()> {
    ensure(op, !inputs.is_empty(), || "needs at least one tensor".to_owned())?;
    inputs.iter().try_for_each(|ty| ensure(op, ty.dtype == DType::F32, || format!("takes f32 tensors, got {ty}")))?;
    let n = factors.len();
    ensure(op, n == 0 || inputs.len() == 2 * n && inputs[..n] == inputs[n..], || {
        format!("takes {n} gradients and as many parameters of the same types, got {} tensors", inputs.len())
    })
}
