//! Stretching axes of extent 1.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, Shape, TensorType};

/// `x` repeated along axes of extent 1 (or missing in front) to a shape, by NumPy's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastTo {
    /// The shape to fill.
    pub shape: Shape,
}

impl Op for BroadcastTo {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let x = &inputs[0];
        let pairs = x.shape.iter().rev().zip(self.shape.iter().rev());
        let fits = x.shape.rank() <= self.shape.rank() && pairs.into_iter().all(|(from, to)| *from == 1 || from == to);
        ensure(self.name(), fits && x.dtype == DType::F32, || format!("cannot stretch {x} to f32{}", self.shape))?;
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let shape = context.graph.shape(context.inputs[0]).clone();
        Ok(vec![Some(context.graph.sum_to(dy, &shape)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        crate::ops::elementwise::cuda_stretch(self.name(), &types.inputs[0].shape, &self.shape)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let x = &args.inputs[0];
        crate::ops::elementwise::stretch(cpu, x.f32(), x.shape(), args.outputs[0].f32(), &self.shape);
        Ok(())
    }
}
