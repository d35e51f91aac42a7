//! The sum of several tensors of one shape: what gradients that meet in one value are added with.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, ensure};
use crate::tensor::{DType, TensorType};

/// `x0 + x1 + ...`, two or more `f32` tensors of one shape, added from first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumOf;

impl Op for SumOf {
    fn name(&self) -> &'static str {
        "sum_of"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        ensure(self.name(), !inputs.is_empty(), || "takes at least one input, got none".to_owned())?;
        let first = &inputs[0];
        for ty in inputs {
            ensure(self.name(), ty == first && ty.dtype == DType::F32, || {
                format!("inputs must be f32 of one shape, got {first} and {ty}")
            })?;
        }
        Ok(vec![first.clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        Ok(vec![Some(dy); context.inputs.len()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new((inputs.len() as u64 - 1) * outputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [usize] {
        &[0, 1]
    }

    fn narrow(&self, inputs: &[TensorType]) -> Vec<Narrow> {
        // More terms take several launches, each of which would round.
        let single = inputs.len() <= super::cuda::TERMS;
        single.then(|| Narrow::new(0..inputs.len(), [0])).into_iter().collect()
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::sum_of(types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        super::cpu::sum_of(cpu, args.inputs, args.outputs[0].f32());
        Ok(())
    }
}
