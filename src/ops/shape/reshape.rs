//! Reshape: a view.

use crate::Result;
use crate::device::Cpu;
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{Shape, TensorType};

/// The same values in the same order under another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// The new shape, of the same size.
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        ensure(self.name(), inputs[0].len() == self.shape.len(), || {
            format!("cannot view {} as {}: {} and {} values", inputs[0], self.shape, inputs[0].len(), self.shape.len())
        })?;
        Ok(vec![TensorType::new(inputs[0].dtype, self.shape.clone())])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let shape = context.graph.shape(context.inputs[0]).clone();
        Ok(vec![Some(context.graph.reshape(dy, shape)?)])
    }

    fn cost(&self, _: &[TensorType], _: &[TensorType]) -> Cost {
        Cost::default()
    }

    fn is_view(&self) -> bool {
        true
    }

    fn cpu_run(&self, _: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        args.outputs[0].bytes().copy_from_slice(args.inputs[0].bytes());
        Ok(())
    }
}
