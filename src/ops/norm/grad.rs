//! Gradients of batch norm, in both modes.

use super::blocks::Blocks;
use super::{cpu, expect_channels};
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, Workspace, ensure, expect_inputs};
use crate::tensor::TensorType;
use crate::{Error, Result};

/// `(x, gamma, beta, mean, spread, dy, counts?) -> (dx, dgamma, dbeta)`. With `h = (x - mean) / std` and `d = dy` (where
/// the output is positive, if ReLU followed):
///
/// `dbeta = sum d`, `dgamma = sum d h`, `dx = gamma / std (d - [dbeta + h dgamma] / n)`, the bracket with batch
/// statistics only. Whether the output was positive is found again from x, with the forward's own arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormGrad {
    /// With frozen statistics their epsilon, and `spread` is the variance. `None` with batch statistics: `spread` is
    /// `1 / std`.
    pub eps: Option<f32>,
    /// Whether ReLU followed.
    pub relu: bool,
}

impl Op for BatchNormGrad {
    fn name(&self) -> &'static str {
        if self.eps.is_some() { "batch_norm_frozen_grad" } else { "batch_norm_train_grad" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 6..=7)?;
        expect_channels(self.name(), &inputs[0], &inputs[1..5], inputs.get(6))?;
        ensure(self.name(), inputs[5] == inputs[0], || format!("dy must be {}, got {}", inputs[0], inputs[5]))?;
        Ok(vec![inputs[0].clone(), inputs[1].clone(), inputs[1].clone()])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"))
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        let x = &inputs[0];
        // x and dy are read twice, dx written once.
        let moved = vec![x.clone(); 5];
        Cost::new(9 * x.len() as u64, &moved, &[])
    }

    fn optional_outputs(&self) -> Vec<usize> {
        vec![0, 1, 2]
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::scratch_bytes(cpu, &Blocks::new(&inputs[0].shape)) }
    }

    fn in_place(&self) -> &'static [usize] {
        &[5]
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0, 5], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::grad(self.name(), self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        let [dx, dgamma, dbeta] = &mut *args.outputs else { return Err(Error::op(self.name(), "has 3 outputs")) };
        let blocks = Blocks::new(inputs[0].shape());
        let counts = inputs.get(6).map(|counts| counts.i32());
        let mut work = cpu::Work::new(cpu, &blocks, args.scratch);
        let inverse_std = work.take_channels();
        cpu::inverse_std(inputs[4].f32(), self.eps, inverse_std);
        let parameters = [inputs[3].f32(), inverse_std, inputs[1].f32(), inputs[2].f32()];
        let (x, dy) = (inputs[0].f32(), inputs[5].f32());
        let (sum, dot) = (work.take_channels(), work.take_channels());
        let sums_needed = self.eps.is_none() || !dgamma.bytes().is_empty() || !dbeta.bytes().is_empty();
        if sums_needed {
            let dy = if dy.is_empty() { &*dx.f32() } else { dy };
            cpu::products(cpu, &blocks, counts, x, dy, parameters, self.relu, sum, dot, &mut work);
        }
        if !dgamma.bytes().is_empty() {
            dgamma.f32().copy_from_slice(dot);
        }
        if !dbeta.bytes().is_empty() {
            dbeta.f32().copy_from_slice(sum);
        }
        if !dx.bytes().is_empty() {
            let n = blocks.valid_rows(counts);
            let share = if self.eps.is_none() && n > 0 { 1.0 / n as f32 } else { 0.0 };
            if !sums_needed {
                sum.fill(0.0);
                dot.fill(0.0);
            }
            sum.iter_mut().chain(dot.iter_mut()).for_each(|value| *value *= share);
            cpu::input_gradient(cpu, &blocks, counts, x, dy, parameters, self.relu, sum, dot, dx.f32(), &mut work);
        }
        Ok(())
    }
}
