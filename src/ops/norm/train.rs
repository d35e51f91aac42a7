//! Batch norm with the batch's own statistics.

use std::sync::Arc;

use super::blocks::Blocks;
use super::{BatchNormFrozen, BatchNormGrad, cpu, expect_channels};
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, Workspace, expect_inputs};
use crate::tensor::TensorType;
use crate::{Error, Result};

/// Attributes of batch norm in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormAttrs {
    /// Added to the variance.
    pub eps: f32,
    /// Weight of the old value in the moving statistics.
    pub momentum: f32,
    /// Whether the moving variance is fed `var * n / (n - 1)` (as fused kernels do) or the biased variance.
    pub unbiased_moving_variance: bool,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Default for BatchNormAttrs {
    fn default() -> Self {
        Self { eps: 1e-3, momentum: 0.99, unbiased_moving_variance: true, relu: false }
    }
}

/// `(x, gamma, beta, moving_mean, moving_var, counts?) -> (y, mean, 1/std, moving_mean', moving_var')`; the last two
/// overwrite their variables. Without any valid row nothing is updated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormTrain {
    /// Attributes.
    pub attrs: BatchNormAttrs,
}

impl Op for BatchNormTrain {
    fn name(&self) -> &'static str {
        "batch_norm_train"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 5..=6)?;
        expect_channels(self.name(), &inputs[0], &inputs[1..5], inputs.get(5))?;
        let channels = inputs[1].clone();
        Ok(vec![inputs[0].clone(), channels.clone(), channels.clone(), channels.clone(), channels])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        if context.output_gradients[1..].iter().any(Option::is_some) {
            return Err(Error::op(self.name(), "its statistics cannot be differentiated, only y"));
        }
        let dy = context.dy()?;
        let (inputs, outputs) = (context.inputs, context.outputs);
        let op = BatchNormGrad { eps: None, relu: self.attrs.relu };
        let mut arguments = vec![inputs[0], inputs[1], inputs[2], outputs[1], outputs[2], dy];
        arguments.extend(inputs.get(5));
        let gradients = context.graph.apply(op, &arguments)?;
        let mut all = vec![Some(gradients[0]), Some(gradients[1]), Some(gradients[2]), None, None];
        all.resize(inputs.len(), None);
        Ok(all)
    }

    fn again(&self, inputs: &[Value], outputs: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        let mut arguments = vec![inputs[0], inputs[1], inputs[2], outputs[1], outputs[2]];
        arguments.extend(inputs.get(5));
        Some((Arc::new(BatchNormFrozen { eps: None, relu: self.attrs.relu }), arguments))
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        // x is read twice: once for the statistics.
        Cost::new(7 * inputs[0].len() as u64, &inputs[..1], &[inputs[0].clone(), inputs[0].clone()])
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        vec![(3, 3), (4, 4)]
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::scratch_bytes(cpu, &Blocks::new(&inputs[0].shape)) }
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::train(self.name(), &self.attrs, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        let [y, mean, inverse_std, moving_mean, moving_var] = &mut *args.outputs else {
            return Err(Error::op(self.name(), "has 5 outputs"));
        };
        let (x, gamma, beta) = (inputs[0].f32(), inputs[1].f32(), inputs[2].f32());
        let blocks = Blocks::new(inputs[0].shape());
        let counts = inputs.get(5).map(|counts| counts.i32());
        let mut work = cpu::Work::new(cpu, &blocks, args.scratch);
        let (mean, inverse_std) = (mean.f32(), inverse_std.f32());
        let n = cpu::moments(cpu, &blocks, counts, x, mean, inverse_std, &mut work);
        if n > 0 {
            // `inverse_std` holds the biased variance up to here.
            let unbias = if self.attrs.unbiased_moving_variance { n as f32 / (n.max(2) - 1) as f32 } else { 1.0 };
            let keep = self.attrs.momentum;
            let blend = |moving: &mut f32, batch: f32| *moving = keep * *moving + (1.0 - keep) * batch;
            moving_mean.f32().iter_mut().zip(&*mean).for_each(|(moving, batch)| blend(moving, *batch));
            moving_var.f32().iter_mut().zip(&*inverse_std).for_each(|(moving, batch)| blend(moving, unbias * batch));
        }
        inverse_std.iter_mut().for_each(|value| *value = 1.0 / (*value + self.attrs.eps).sqrt());
        cpu::normalise(cpu, &blocks, counts, x, [mean, inverse_std, gamma, beta], self.attrs.relu, y.f32(), &mut work);
        Ok(())
    }
}
