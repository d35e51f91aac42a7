//! A frozen batch norm folded into the weights of the layer before it.

use std::sync::Arc;

use super::{cpu_fold as cpu, expect_channels};
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{Cost, CpuArgs, Input, Op, Workspace, ensure, expect_inputs};
use crate::tensor::{Tensor, TensorType};
use crate::{Error, Result};

/// `(weight [.., C], gamma, beta, mean, variance, bias?) -> (weight', bias')`, so that `x weight' + bias'` is the batch norm of
/// `x weight + bias` with these statistics: with `s = gamma / sqrt(variance + eps)`, `weight' = weight s` and
/// `bias' = (bias - mean) s + beta`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormFold {
    /// Added to the variance.
    pub eps: f32,
}

/// `(weight, gamma, mean, variance, dweight', dbias', bias?) -> (dweight, dgamma, dbias)`: the gradient of [`BatchNormFold`]; that
/// of beta is `dbias'`. The statistics are constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormFoldGrad {
    /// Added to the variance.
    pub eps: f32,
}

impl Graph {
    /// Weights and bias with a frozen batch norm (`[gamma, beta, mean, variance]`) folded in: see [`BatchNormFold`].
    pub fn batch_norm_fold(
        &mut self,
        weight: Value,
        bias: Option<Value>,
        norm: [Value; 4],
        eps: f32,
    ) -> Result<(Value, Value)> {
        let [gamma, beta, mean, variance] = norm;
        let mut inputs = vec![weight, gamma, beta, mean, variance];
        inputs.extend(bias);
        let outputs = self.apply(BatchNormFold { eps }, &inputs)?;
        Ok((outputs[0], outputs[1]))
    }
}

impl Op for BatchNormFold {
    fn name(&self) -> &'static str {
        "batch_norm_fold"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 5..=6)?;
        expect_channels(self.name(), &inputs[0], &inputs[1..], None)?;
        Ok(vec![inputs[0].clone(), inputs[1].clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let &[weight, gamma, _, mean, variance, ref bias @ ..] = context.inputs else {
            return Err(Error::op(self.name(), "takes 5 or 6 inputs"));
        };
        let g = &mut *context.graph;
        let mut given = |index: usize| {
            let zeros = |g: &mut Graph| {
                let ty = g.ty(context.outputs[index]).clone();
                g.constant(Tensor::zeros(ty.dtype, ty.shape))
            };
            context.output_gradients[index].unwrap_or_else(|| zeros(g))
        };
        let (dweight, dbias) = (given(0), given(1));
        let inputs = [&[weight, gamma, mean, variance, dweight, dbias][..], bias].concat();
        let made = g.apply(BatchNormFoldGrad { eps: self.eps }, &inputs)?;
        let mut all = vec![Some(made[0]), Some(made[1]), Some(dbias), None, None];
        all.extend(bias.first().map(|_| Some(made[2])));
        Ok(all)
    }

    /// Its inputs are weights, which are kept anyway.
    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(*self), inputs.to_vec()))
    }

    fn optional_outputs(&self) -> Vec<usize> {
        vec![0, 1]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::fold(self.name(), self.eps, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let [weight, gamma, beta, mean, variance, bias @ ..] = args.inputs else {
            return Err(Error::op(self.name(), "takes 5 or 6 inputs"));
        };
        let [folded, folded_bias] = &mut *args.outputs else { return Err(Error::op(self.name(), "has 2 outputs")) };
        let deviation = |c: usize| (variance.f32()[c] + self.eps).sqrt();
        let scales: Vec<f32> = gamma.f32().iter().enumerate().map(|(c, gamma)| gamma / deviation(c)).collect();
        for (c, to) in folded_bias.f32().iter_mut().enumerate() {
            *to = centred(bias.first(), mean, c) * scales[c] + beta.f32()[c];
        }
        cpu::scale(cpu, weight.f32(), &scales, folded.f32());
        Ok(())
    }
}

/// The bias less the mean.
fn centred(bias: Option<&Input<'_>>, mean: &Input<'_>, channel: usize) -> f32 {
    bias.map_or(0.0, |bias| bias.f32()[channel]) - mean.f32()[channel]
}

impl Op for BatchNormFoldGrad {
    fn name(&self) -> &'static str {
        "batch_norm_fold_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 6..=7)?;
        expect_channels(self.name(), &inputs[0], &[&inputs[1..4], &inputs[5..]].concat(), None)?;
        let (weight, dweight) = (&inputs[0], &inputs[4]);
        ensure(self.name(), weight == dweight, || format!("dweight' must be {weight}, got {dweight}"))?;
        Ok(vec![weight.clone(), inputs[1].clone(), inputs[1].clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(3 * inputs[0].len() as u64, inputs, outputs)
    }

    fn optional_outputs(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn in_place(&self) -> &'static [usize] {
        &[4]
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::sums_bytes(&inputs[0].shape) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::fold_grad(self.name(), self.eps, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let [weight, gamma, mean, variance, dfolded, dfolded_bias, bias @ ..] = args.inputs else {
            return Err(Error::op(self.name(), "takes 6 or 7 inputs"));
        };
        let [dweight, dgamma, dbias] = &mut *args.outputs else { return Err(Error::op(self.name(), "has 3 outputs")) };
        let deviation = |c: usize| (variance.f32()[c] + self.eps).sqrt();
        let scales: Vec<f32> = gamma.f32().iter().enumerate().map(|(c, gamma)| gamma / deviation(c)).collect();
        let dfolded_bias = dfolded_bias.f32();
        let sums = cpu::scale_and_sum(cpu, weight.f32(), &scales, dfolded.f32(), dweight.f32(), args.scratch);
        for (c, to) in dgamma.f32().iter_mut().enumerate() {
            *to = (sums[c] + dfolded_bias[c] * centred(bias.first(), mean, c)) / deviation(c);
        }
        for (c, to) in dbias.f32().iter_mut().enumerate() {
            *to = dfolded_bias[c] * scales[c];
        }
        Ok(())
    }
}
