//! Samples to mean 0 and standard deviation 1.

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// `y = (x - mean) / std` over everything but the first axis; `std` has divisor n. A sample whose deviation is within
/// rounding of zero (`std <= 1e-6 |mean|`, or 0) becomes zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standardise;

/// Gradient of [`Standardise`]: `(x, dy) -> (dy - mean(dy) - y mean(dy y)) / std`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandardiseGrad;

fn expect_samples(op: &str, x: &TensorType) -> Result<()> {
    let ok = x.dtype == DType::F32 && x.shape.rank() >= 1;
    ensure(op, ok, || format!("x must be f32 with samples along the first axis, got {x}"))
}

fn workspace(x: &TensorType) -> Workspace {
    Workspace { packed: 0, scratch: Scratch::bytes::<f32>(super::cpu::standardise_scratch(&x.shape)) }
}

impl Op for Standardise {
    fn name(&self) -> &'static str {
        "standardise"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        expect_samples(self.name(), &inputs[0])?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        Ok(vec![Some(context.graph.apply1(StandardiseGrad, &[context.inputs[0], dy])?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(5 * outputs[0].len() as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        workspace(&inputs[0])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::standardise(types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let x = &args.inputs[0];
        let scratch = Scratch::new(args.scratch).take::<f32>(super::cpu::standardise_scratch(x.shape()));
        super::cpu::standardise(cpu, x.f32(), x.shape(), args.outputs[0].f32(), scratch);
        Ok(())
    }
}

impl Op for StandardiseGrad {
    fn name(&self) -> &'static str {
        "standardise_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_samples(self.name(), &inputs[0])?;
        let (x, dy) = (&inputs[0], &inputs[1]);
        ensure(self.name(), x == dy, || format!("x and dy must be of one type, got {x} and {dy}"))?;
        Ok(vec![x.clone()])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(10 * outputs[0].len() as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        workspace(&inputs[0])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::standardise_grad(types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let x = &args.inputs[0];
        let scratch = Scratch::new(args.scratch).take::<f32>(super::cpu::standardise_scratch(x.shape()));
        super::cpu::standardise_grad(cpu, x.f32(), x.shape(), args.inputs[1].f32(), args.outputs[0].f32(), scratch);
        Ok(())
    }
}
