//! Signals scaled by the peak of one of them.

use super::{cpu, cuda};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// `signals [R,T,C] -> (scaled [R,T,C], peaks [R])`: each row divided by its peak, the largest absolute value of channel
/// 0. A row whose peak is below 1e-6 becomes zeros, and its peak is given as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleToPeak;

impl Op for ScaleToPeak {
    fn name(&self) -> &'static str {
        "scale_to_peak"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let signals = &inputs[0];
        let ok = signals.dtype == DType::F32 && signals.shape.rank() == 3 && signals.shape[2] > 0;
        ensure(self.name(), ok, || format!("signals must be f32 [R,T,C], got {signals}"))?;
        Ok(vec![signals.clone(), TensorType::f32([signals.shape[0]])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None; context.inputs.len()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let signals = &inputs[0];
        Cost::new((signals.len() + signals.shape[0] * signals.shape[1]) as u64, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::scale_to_peak(types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let signals = &args.inputs[0];
        let [scaled, peaks] = args.outputs else { unreachable!("two outputs were inferred") };
        let row = signals.shape()[1] * signals.shape()[2];
        cpu::scale_to_peak(cpu, signals.f32(), row, signals.shape()[2], scaled.f32(), peaks.f32());
        Ok(())
    }
}
