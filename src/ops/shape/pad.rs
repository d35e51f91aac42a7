//! Adding a border of a constant.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// `padding[axis] = [before, after]` entries of `value` added at both ends of every axis (rounded for `i32`).
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Entries added before and after, for every axis.
    pub padding: Vec<[usize; 2]>,
    /// What they hold.
    pub value: f32,
}

impl Pad {
    /// The value as a word of a tensor.
    fn bits(&self, dtype: DType) -> u32 {
        if dtype == DType::I32 { self.value.round() as i32 as u32 } else { self.value.to_bits() }
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        super::expect_movable(self.name(), &inputs[0])?;
        ensure(self.name(), self.padding.len() == inputs[0].shape.rank(), || {
            format!("needs one [before, after] for every axis of {}, got {:?}", inputs[0], self.padding)
        })?;
        let padded = |(extent, [before, after]): (&usize, &[usize; 2])| extent + before + after;
        let dims: Vec<usize> = inputs[0].shape.iter().zip(&self.padding).map(padded).collect();
        Ok(vec![TensorType::new(inputs[0].dtype, dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let mut dx = context.dy()?;
        let shape = context.graph.shape(context.inputs[0]).clone();
        for (axis, [before, after]) in self.padding.iter().enumerate() {
            if before + after > 0 {
                dx = context.graph.slice(dx, axis, *before, shape[axis], 1)?;
            }
        }
        Ok(vec![Some(dx)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::pad(self.name(), &self.padding, self.bits(types.inputs[0].dtype), types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, y) = (&args.inputs[0], &mut args.outputs[0]);
        let bits = self.bits(x.ty().dtype);
        let to_shape = y.shape().clone();
        let to = bytemuck::cast_slice_mut(y.bytes());
        super::cpu::pad(cpu, bytemuck::cast_slice(x.bytes()), x.shape(), to, &to_shape, &self.padding, bits);
        Ok(())
    }
}
