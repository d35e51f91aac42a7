//! Norms of gradients, and clipping by them.

use super::cpu;
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::ops::{Cost, CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// Norm of all values of all inputs together, `[1]`; summed in `f64`, in an order fixed by the shapes.
#[derive(Clone, Copy, Debug)]
pub struct GlobalNorm;

impl Op for GlobalNorm {
    fn name(&self) -> &'static str {
        "global_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_floats(self.name(), inputs)?;
        Ok(vec![TensorType::f32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(2 * inputs.iter().map(|ty| ty.len() as u64).sum::<u64>(), inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        // Sums are f64: two f32 each.
        let sums = 2 * cpu::chunks(inputs.iter().map(TensorType::len));
        Workspace { packed: 0, scratch: Scratch::bytes::<f32>(sums) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::global_norm(self.name(), types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        let count = cpu::chunks(cpu::lengths(inputs));
        let sums: &mut [f64] = bytemuck::cast_slice_mut(Scratch::new(args.scratch).take::<f32>(2 * count));
        cpu.parallel_chunks(sums, 1, |task, sum| {
            let (tensor, range) = cpu::locate(task, cpu::lengths(inputs));
            sum[0] = cpu::sum_of_squares(&inputs[tensor].f32()[range]);
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

/// Each input multiplied by `min(1, limit / its own norm)`.
#[derive(Clone, Copy, Debug)]
pub struct ClipPerTensor {
    /// Largest norm wanted.
    pub limit: f32,
}

impl Op for ClipPerTensor {
    fn name(&self) -> &'static str {
        "clip_per_tensor"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_floats(self.name(), inputs)?;
        ensure(self.name(), self.limit > 0.0, || format!("the limit must be positive, got {}", self.limit))?;
        Ok(inputs.to_vec())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(3 * inputs.iter().map(|ty| ty.len() as u64).sum::<u64>(), inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::clip_per_tensor(self.name(), self.limit, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        cpu.parallel_chunks(args.outputs, 1, |tensor, output| {
            let input = inputs[tensor].f32();
            let sum: f64 = input.chunks(cpu::CHUNK).map(cpu::sum_of_squares).sum();
            let norm = sum.sqrt() as f32;
            let scale = if norm > self.limit { self.limit / norm } else { 1.0 };
            output[0].f32().iter_mut().zip(input).for_each(|(y, x)| *y = scale * x);
        });
        Ok(())
    }
}

fn expect_floats(op: &str, inputs: &[TensorType]) -> Result<()> {
    ensure(op, !inputs.is_empty(), || "needs at least one tensor".to_owned())?;
    inputs.iter().try_for_each(|ty| ensure(op, ty.dtype == DType::F32, || format!("takes f32 tensors, got {ty}")))
}
