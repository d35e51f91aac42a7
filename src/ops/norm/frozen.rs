//! Batch norm with given statistics.

use std::sync::Arc;

use super::blocks::Blocks;
use super::{BatchNormGrad, cpu, expect_channels};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, Workspace, expect_inputs};
use crate::tensor::TensorType;

/// `(x, gamma, beta, mean, spread, counts?) -> y`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormFrozen {
    /// Added to the variance, which is `spread` then. `None`: `spread` is `1 / std`.
    pub eps: Option<f32>,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Op for BatchNormFrozen {
    fn name(&self) -> &'static str {
        "batch_norm_frozen"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 5..=6)?;
        expect_channels(self.name(), &inputs[0], &inputs[1..5], inputs.get(5))?;
        Ok(vec![inputs[0].clone()])
    }

    /// To x, gamma and beta; the statistics are constants.
    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        if self.eps.is_none() {
            return Err(crate::Error::op(self.name(), "has no gradient where 1 / std is given"));
        }
        let dy = context.dy()?;
        let inputs = context.inputs;
        let op = BatchNormGrad { eps: self.eps, relu: self.relu };
        let mut arguments = vec![inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], dy];
        arguments.extend(inputs.get(5));
        let gradients = context.graph.apply(op, &arguments)?;
        let mut all = vec![Some(gradients[0]), Some(gradients[1]), Some(gradients[2]), None, None];
        all.resize(inputs.len(), None);
        Ok(all)
    }

    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(*self), inputs.to_vec()))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(3 * inputs[0].len() as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::scratch_bytes(cpu, &Blocks::new(&inputs[0].shape)) }
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::frozen(self.name(), self.eps, self.relu, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        let blocks = Blocks::new(inputs[0].shape());
        let counts = inputs.get(5).map(|counts| counts.i32());
        let mut work = cpu::Work::new(cpu, &blocks, args.scratch);
        let inverse_std = work.take_channels();
        cpu::inverse_std(inputs[4].f32(), self.eps, inverse_std);
        let parameters = [inputs[3].f32(), inverse_std, inputs[1].f32(), inputs[2].f32()];
        let y = args.outputs[0].f32();
        cpu::normalise(cpu, &blocks, counts, inputs[0].f32(), parameters, self.relu, y, &mut work);
        Ok(())
    }
}
