//! Softmax over the last axis.

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// `y = e^x / sum(e^x)` over the last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax;

/// Gradient of [`Softmax`]: `(dy, y) -> y (dy - sum(dy y))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxGrad;

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let x = &inputs[0];
        let ok = x.dtype == DType::F32 && x.shape.rank() >= 1;
        ensure(self.name(), ok, || format!("x must be f32 of rank 1 or more, got {x}"))?;
        Ok(vec![x.clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        Ok(vec![Some(context.graph.apply1(SoftmaxGrad, &[dy, context.outputs[0]])?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(24 * outputs[0].len() as u64, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::softmax("softmax_f32", types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        super::cpu::softmax(cpu, args.inputs[0].f32(), args.outputs[0].f32(), args.inputs[0].shape().last());
        Ok(())
    }
}

impl Op for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let (dy, y) = (&inputs[0], &inputs[1]);
        let ok = y.dtype == DType::F32 && y.shape.rank() >= 1 && dy == y;
        ensure(self.name(), ok, || format!("dy and y must be f32 of one shape, got {dy} and {y}"))?;
        Ok(vec![y.clone()])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(4 * outputs[0].len() as u64, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::softmax("softmax_grad_f32", types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (dy, y) = (args.inputs[0].f32(), args.inputs[1].f32());
        super::cpu::softmax_grad(cpu, dy, y, args.outputs[0].f32(), args.inputs[0].shape().last());
        Ok(())
    }
}
