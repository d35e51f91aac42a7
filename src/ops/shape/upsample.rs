//! Nearest-neighbour upsampling of images by 2.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// `[N,H,W,C] -> [N,2H,2W,C]`: `y[n,i,j,c] = x[n,i/2,j/2,c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsampleNearest2x;

/// Gradient of [`UpsampleNearest2x`]: sums over blocks of 2 x 2, `[N,2H,2W,C] -> [N,H,W,C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsampleNearest2xGrad;

impl Op for UpsampleNearest2x {
    fn name(&self) -> &'static str {
        "upsample_nearest_2x"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let x = &inputs[0];
        let ok = x.dtype == DType::F32 && x.shape.rank() == 4;
        ensure(self.name(), ok, || format!("x must be f32 [N,H,W,C], got {x}"))?;
        Ok(vec![TensorType::f32([x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        Ok(vec![Some(context.graph.apply1(UpsampleNearest2xGrad, &[dy])?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::upsample("upsample_nearest_2x", &types.inputs[0].shape, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let x = &args.inputs[0];
        super::cpu::upsample(cpu, x.f32(), args.outputs[0].f32(), x.shape()[2], x.shape()[3]);
        Ok(())
    }
}

impl Op for UpsampleNearest2xGrad {
    fn name(&self) -> &'static str {
        "upsample_nearest_2x_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let dy = &inputs[0];
        let ok = dy.dtype == DType::F32 && dy.shape.rank() == 4 && dy.shape[1] % 2 == 0 && dy.shape[2] % 2 == 0;
        ensure(self.name(), ok, || format!("dy must be f32 [N,2H,2W,C], got {dy}"))?;
        Ok(vec![TensorType::f32([dy.shape[0], dy.shape[1] / 2, dy.shape[2] / 2, dy.shape[3]])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let ddx = context.dy()?;
        Ok(vec![Some(context.graph.upsample_nearest_2x(ddx)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(3 * outputs[0].len() as u64, inputs, outputs)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::upsample("upsample_nearest_2x_grad", &types.outputs[0].shape, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let dx = &mut args.outputs[0];
        let (w, c) = (dx.shape()[2], dx.shape()[3]);
        super::cpu::upsample_grad(cpu, args.inputs[0].f32(), dx.f32(), w, c);
        Ok(())
    }
}
