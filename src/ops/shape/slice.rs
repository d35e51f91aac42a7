//! Every `step`-th entry of an axis, and its gradient.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// Entries `start, start + step, ...`, `len` of them, along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The axis.
    pub axis: usize,
    /// First entry taken.
    pub start: usize,
    /// Number of entries taken.
    pub len: usize,
    /// Distance between them, at least 1.
    pub step: usize,
}

/// Gradient of a [`Slice`] from an axis of `extent`: `dy -> dx`, zero where nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceGrad {
    /// The slice.
    pub slice: Slice,
    /// Extent of the sliced axis before.
    pub extent: usize,
}

impl Slice {
    fn fits(&self, extent: usize) -> bool {
        self.step > 0 && (self.len == 0 || self.start + (self.len - 1) * self.step < extent)
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        super::expect_movable(self.name(), &inputs[0])?;
        super::expect_axis(self.name(), self.axis, &inputs[0])?;
        let mut dims = inputs[0].shape.to_vec();
        ensure(self.name(), self.fits(dims[self.axis]), || {
            let Self { axis, start, len, step } = self;
            format!("{len} entries from {start} in steps of {step} do not lie on axis {axis} of {}", inputs[0])
        })?;
        dims[self.axis] = self.len;
        Ok(vec![TensorType::new(inputs[0].dtype, dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let extent = context.graph.shape(context.inputs[0])[self.axis];
        Ok(vec![Some(context.graph.apply1(SliceGrad { slice: *self, extent }, &[dy])?)])
    }

    fn cost(&self, _: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, outputs, outputs)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::slice(self, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, y) = (&args.inputs[0], &mut args.outputs[0]);
        let whole = super::around(x.shape(), self.axis);
        super::cpu::extract(cpu, bytemuck::cast_slice(x.bytes()), bytemuck::cast_slice_mut(y.bytes()), whole, *self);
        Ok(())
    }
}

impl Op for SliceGrad {
    fn name(&self) -> &'static str {
        "slice_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let Slice { axis, len, .. } = self.slice;
        super::expect_axis(self.name(), axis, &inputs[0])?;
        let ok = inputs[0].dtype == DType::F32 && inputs[0].shape[axis] == len && self.slice.fits(self.extent);
        ensure(self.name(), ok, || format!("dy must be f32 with {len} entries on axis {axis}, got {}", inputs[0]))?;
        let mut dims = inputs[0].shape.to_vec();
        dims[axis] = self.extent;
        Ok(vec![TensorType::f32(dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let Slice { axis, start, len, step } = self.slice;
        let ddx = context.dy()?;
        Ok(vec![Some(context.graph.slice(ddx, axis, start, len, step)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::slice_grad(&self.slice, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let dx = &mut args.outputs[0];
        let whole = super::around(dx.shape(), self.slice.axis);
        super::cpu::spread(cpu, args.inputs[0].f32(), dx.f32(), whole, self.slice);
        Ok(())
    }
}
