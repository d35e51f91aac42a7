//! Max pooling in any number of spatial axes.

mod cpu;
mod cuda;
pub mod problem;

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, ensure, expect_inputs};
use crate::tensor::{DType, Shape, TensorType};
use crate::{Error, Result};

/// The largest value in every window of `x [N, spatial..., C]`; one entry of each list for every spatial axis. Padding
/// (less than the window) is never selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Extent of the window.
    pub window: Vec<usize>,
    /// Distance between windows.
    pub stride: Vec<usize>,
    /// Entries before and after.
    pub padding: Vec<[usize; 2]>,
}

/// Gradient of [`MaxPool`]: `(x, dy) -> dx`; of equal values the first (in row-major order) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPoolGrad {
    /// The pooling.
    pub pool: MaxPool,
}

impl Graph {
    /// Max pooling of `x [N, spatial..., C]`; see [`MaxPool`].
    pub fn max_pool(&mut self, x: Value, window: &[usize], stride: &[usize], padding: &[[usize; 2]]) -> Result<Value> {
        let pool = MaxPool { window: window.to_vec(), stride: stride.to_vec(), padding: padding.to_vec() };
        self.apply1(pool, &[x])
    }
}

impl MaxPool {
    fn output(&self, op: &str, x: &TensorType) -> Result<TensorType> {
        let spatial = x.shape.rank().saturating_sub(2);
        let lists = [self.window.len(), self.stride.len(), self.padding.len()];
        ensure(op, x.dtype == DType::F32 && spatial >= 1 && lists == [spatial; 3], || {
            format!("x must be f32 [N,spatial...,C] with one window, stride and padding an axis, got {x} and {self:?}")
        })?;
        let mut dims = x.shape.to_vec();
        for axis in 0..spatial {
            let ([before, after], window, stride) = (self.padding[axis], self.window[axis], self.stride[axis]);
            let padded = dims[axis + 1] + before + after;
            let ok = stride > 0 && before < window && after < window && padded >= window && dims[axis + 1] > 0;
            ensure(op, ok, || {
                format!(
                    "spatial axis {axis} of {x}: window {window}, stride {stride}, padding {before}, {after} do not fit"
                )
            })?;
            dims[axis + 1] = (padded - window) / stride + 1;
        }
        Ok(TensorType::f32(dims))
    }

    fn flops(&self, y: &Shape) -> u64 {
        self.window.iter().product::<usize>() as u64 * y.len() as u64
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        Ok(vec![self.output(self.name(), &inputs[0])?])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        Ok(vec![Some(context.graph.apply1(MaxPoolGrad { pool: self.clone() }, &[context.inputs[0], dy])?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(self.flops(&outputs[0].shape), inputs, outputs)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        let geometry = cpu::Geometry::new(self, &types.inputs[0].shape, &types.outputs[0].shape);
        cuda::max_pool(self.name(), &geometry, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, y) = (&args.inputs[0], &mut args.outputs[0]);
        let geometry = cpu::Geometry::new(self, x.shape(), y.shape());
        cpu::max_pool(cpu, &geometry, x.f32(), y.f32());
        Ok(())
    }
}

impl Op for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "max_pool_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let expected = self.pool.output(self.name(), &inputs[0])?;
        ensure(self.name(), inputs[1] == expected, || format!("dy must be {expected}, got {}", inputs[1]))?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(self.pool.flops(&inputs[1].shape), inputs, outputs)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0, 1], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        let geometry = cpu::Geometry::new(&self.pool, &types.inputs[0].shape, &types.inputs[1].shape);
        cuda::max_pool_grad(self.name(), &geometry, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, dy) = (&args.inputs[0], &args.inputs[1]);
        let geometry = cpu::Geometry::new(&self.pool, x.shape(), dy.shape());
        cpu::max_pool_grad(cpu, &geometry, x.f32(), dy.f32(), args.outputs[0].f32());
        Ok(())
    }
}
