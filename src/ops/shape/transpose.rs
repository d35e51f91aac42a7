//! Reordering axes.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::TensorType;

/// Axis `i` of the result is axis `permutation[i]` of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// Every axis once.
    pub permutation: Vec<usize>,
}

impl Op for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        super::expect_movable(self.name(), &inputs[0])?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        ensure(self.name(), sorted.into_iter().eq(0..inputs[0].shape.rank()), || {
            format!("{:?} is not a permutation of the axes of {}", self.permutation, inputs[0])
        })?;
        let dims: Vec<usize> = self.permutation.iter().map(|axis| inputs[0].shape[*axis]).collect();
        Ok(vec![TensorType::new(inputs[0].dtype, dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let mut inverse = vec![0; self.permutation.len()];
        self.permutation.iter().enumerate().for_each(|(to, from)| inverse[*from] = to);
        Ok(vec![Some(context.graph.transpose(dy, &inverse)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::transpose(self.name(), &self.permutation, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, y) = (&args.inputs[0], &mut args.outputs[0]);
        let to = bytemuck::cast_slice_mut(y.bytes());
        super::cpu::transpose(cpu, bytemuck::cast_slice(x.bytes()), x.shape(), &self.permutation, to);
        Ok(())
    }
}
