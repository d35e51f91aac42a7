//! Rounding to bf16.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Precision, Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{CpuArgs, Narrow, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// The nearest bf16 of every value. Its gradient is rounded too.
#[derive(Clone, Copy, Debug)]
struct RoundBf16;

impl Op for RoundBf16 {
    fn name(&self) -> &'static str {
        "round_bf16"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        ensure(self.name(), inputs[0].dtype == DType::F32, || format!("takes f32, got {}", inputs[0]))?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        Ok(vec![Some(context.graph.round_bf16(dy)?)])
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], []), Narrow::new([], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::round_bf16(types))
    }

    fn cpu_run(&self, _: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let x = args.inputs[0].f32();
        args.outputs[0].f32().iter_mut().zip(x).for_each(|(y, x)| *y = Precision::Bf16.round(*x));
        Ok(())
    }
}

impl Graph {
    /// Every value rounded to the nearest bf16, ties to even.
    pub fn round_bf16(&mut self, x: Value) -> Result<Value> {
        self.apply1(RoundBf16, &[x])
    }
}
