//! Picking rows by index.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// `(x [R,...], indices i32 [I...]) -> [I...,...]`: the rows named; zeros for an index outside `0..R`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherRows;

/// Gradient of [`GatherRows`]: `(dy [I...,...], indices i32 [I...]) -> dx [rows,...]`, rows that were picked several
/// times summed in the order of the indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherRowsGrad {
    /// Number of rows picked from.
    pub rows: usize,
}

impl Op for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let (x, indices) = (&inputs[0], &inputs[1]);
        super::expect_movable(self.name(), x)?;
        let ok = x.shape.rank() >= 1 && indices.dtype == DType::I32;
        ensure(self.name(), ok, || format!("takes x [R,...] and i32 indices, got {x} and {indices}"))?;
        let dims = [indices.shape.dims(), &x.shape.dims()[1..]].concat();
        Ok(vec![TensorType::new(x.dtype, dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let rows = context.graph.shape(context.inputs[0])[0];
        let dx = context.graph.apply1(GatherRowsGrad { rows }, &[dy, context.inputs[1]])?;
        Ok(vec![Some(dx), None])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, &[&inputs[1..], outputs].concat(), outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::gather_rows(types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, indices) = (&args.inputs[0], args.inputs[1].i32());
        let rows = x.shape()[0];
        let to = bytemuck::cast_slice_mut(args.outputs[0].bytes());
        super::cpu::gather_rows(cpu, bytemuck::cast_slice(x.bytes()), rows, indices, to);
        Ok(())
    }
}

impl Op for GatherRowsGrad {
    fn name(&self) -> &'static str {
        "gather_rows_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let (dy, indices) = (&inputs[0], &inputs[1]);
        let ok = dy.dtype == DType::F32 && indices.dtype == DType::I32 && dy.shape.starts_with(&indices.shape);
        ensure(self.name(), ok, || format!("takes f32 dy [I...,...] and i32 indices [I...], got {dy} and {indices}"))?;
        let dims = [&[self.rows], &dy.shape.dims()[indices.shape.rank()..]].concat();
        Ok(vec![TensorType::f32(dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let ddx = context.dy()?;
        Ok(vec![Some(context.graph.gather_rows(ddx, context.inputs[1])?), None])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::gather_rows_grad(self.rows, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        super::cpu::gather_rows_grad(cpu, args.inputs[0].f32(), args.inputs[1].i32(), args.outputs[0].f32(), self.rows);
        Ok(())
    }
}
