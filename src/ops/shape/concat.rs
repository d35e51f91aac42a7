//! Joining tensors along an axis.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure};
use crate::tensor::{DType, TensorType};

/// Tensors one after another along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis that grows.
    pub axis: usize,
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        ensure(self.name(), !inputs.is_empty(), || "takes at least one input, got none".to_owned())?;
        let first = &inputs[0];
        super::expect_movable(self.name(), first)?;
        super::expect_axis(self.name(), self.axis, first)?;
        let mut dims = first.shape.to_vec();
        dims[self.axis] = 0;
        for ty in inputs {
            let same = ty.dtype == first.dtype
                && ty.shape.rank() == dims.len()
                && (0..dims.len()).all(|axis| axis == self.axis || ty.shape[axis] == first.shape[axis]);
            ensure(self.name(), same, || format!("{first} and {ty} differ off axis {}", self.axis))?;
            dims[self.axis] += ty.shape[self.axis];
        }
        Ok(vec![TensorType::new(first.dtype, dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let mut start = 0;
        let mut gradients = Vec::new();
        for (&input, &needed) in context.inputs.iter().zip(context.needed) {
            let ty = context.graph.ty(input);
            let (len, float) = (ty.shape[self.axis], ty.dtype == DType::F32);
            let wanted = needed && float;
            gradients.push(if wanted { Some(context.graph.slice(dy, self.axis, start, len, 1)?) } else { None });
            start += len;
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::concat(self.axis, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let y = &mut args.outputs[0];
        let whole = super::around(y.shape(), self.axis);
        let to: &mut [u32] = bytemuck::cast_slice_mut(y.bytes());
        let mut start = 0;
        for x in args.inputs {
            let (_, len, _) = super::around(x.shape(), self.axis);
            super::cpu::insert(cpu, bytemuck::cast_slice(x.bytes()), to, whole, start, len);
            start += len;
        }
        Ok(())
    }
}
