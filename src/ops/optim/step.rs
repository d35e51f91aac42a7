//! The update rules.

use super::cpu;
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::ops::{Cost, CpuArgs, Op, ensure};
use crate::tensor::TensorType;

/// Attributes of gradient descent with momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdAttrs {
    /// Share of the old velocity kept.
    pub momentum: f32,
}

/// Gradient descent with momentum on `n` parameters: `v = momentum v - rate g; p += v` with `g` the gradient, with that of an L2
/// penalty added (`factor p`), times `scale`. Inputs: rate `[1]`, scale `[1]`, `n` parameters, `n` gradients, `n` velocities; outputs: parameters, velocities, updated in
/// place.
#[derive(Clone, Debug)]
pub struct Sgd {
    /// The attributes.
    pub attrs: SgdAttrs,
    /// For each parameter, the factor of its penalty.
    pub factors: Vec<f32>,
}

/// Attributes of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamAttrs {
    /// Share of the old mean kept.
    pub beta1: f32,
    /// Share of the old mean square kept.
    pub beta2: f32,
    /// Added to the root mean square, outside the bias correction (Keras's form).
    pub epsilon: f32,
}

impl Default for AdamAttrs {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }
    }
}

/// Adam on `n` parameters, in Keras's form: `m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
/// p -= rate sqrt(1-b2^t) / (1-b1^t) m / (sqrt(v) + epsilon)` with `g` the gradient times `scale`; before it `p -= rate decay p`.
/// Inputs: rate `[1]`, scale `[1]`, step `t` `i32 [1]` counted from 1, `n` parameters, `n` gradients, `n` means, `n` mean
/// squares; outputs: parameters, means, mean squares, updated in place.
#[derive(Clone, Debug)]
pub struct Adam {
    /// The attributes.
    pub attrs: AdamAttrs,
    /// For each parameter, the share lost per step at rate 1, apart from the gradient (AdamW); 0 for Adam.
    pub decays: Vec<f32>,
}

/// Checks that `first` scalars are followed by `groups` groups of `n` tensors of equal types.
fn expect_groups(op: &str, inputs: &[TensorType], first: usize, groups: usize, n: usize) -> Result<()> {
    let fits = n > 0 && inputs.len() == first + groups * n && inputs[..2].iter().all(|ty| *ty == TensorType::f32([1]));
    ensure(op, fits, || {
        format!("takes {first} scalars and {groups} groups of {n} tensors, got {} inputs", inputs.len())
    })?;
    for i in 0..n {
        for group in 1..groups {
            let (parameter, other) = (&inputs[first + i], &inputs[first + group * n + i]);
            let same = parameter == other && parameter.dtype == crate::tensor::DType::F32;
            ensure(op, same, || format!("parameter {i} is {parameter}, group {group} has {other}"))?;
        }
    }
    Ok(())
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd_momentum"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let n = self.factors.len();
        expect_groups(self.name(), inputs, 2, 3, n)?;
        Ok([&inputs[2..2 + n], &inputs[2 + 2 * n..]].concat())
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        let n = self.factors.len();
        (0..n).map(|i| (i, 2 + i)).chain((0..n).map(|i| (n + i, 2 + 2 * n + i))).collect()
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(5 * outputs.iter().map(|ty| ty.len() as u64).sum::<u64>() / 2, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::sgd(self.name(), &self.attrs, &self.factors, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        let (rate, scale, momentum) = (inputs[0].f32()[0], inputs[1].f32()[0], self.attrs.momentum);
        let n = args.outputs.len() / 2;
        cpu::for_each_chunk(cpu, args.outputs, n, |tensor, range, [parameter, velocity]| {
            let gradient = &inputs[2 + n + tensor].f32()[range];
            let factor = self.factors[tensor];
            for ((p, v), g) in parameter.iter_mut().zip(velocity).zip(gradient) {
                let penalised = if factor == 0.0 { *g } else { g + factor * *p };
                *v = momentum * *v - rate * (scale * penalised);
                *p += *v;
            }
        });
        Ok(())
    }
}

impl Op for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let n = self.decays.len();
        expect_groups(self.name(), inputs, 3, 4, n)?;
        ensure(self.name(), inputs[2] == TensorType::i32([1]), || format!("step must be i32 [1], got {}", inputs[2]))?;
        Ok([&inputs[3..3 + n], &inputs[3 + 2 * n..]].concat())
    }

    fn updates(&self) -> Vec<(usize, usize)> {
        let n = self.decays.len();
        let parameters = (0..n).map(|i| (i, 3 + i));
        parameters.chain((0..2 * n).map(|i| (n + i, 3 + 2 * n + i))).collect()
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(12 * outputs.iter().map(|ty| ty.len() as u64).sum::<u64>() / 3, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::adam(self.name(), &self.attrs, &self.decays, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs = args.inputs;
        let AdamAttrs { beta1, beta2, epsilon } = self.attrs;
        let (rate, scale, step) = (inputs[0].f32()[0], inputs[1].f32()[0], inputs[2].i32()[0].max(1));
        let correction = (1.0 - f64::from(beta2).powi(step)).sqrt() / (1.0 - f64::from(beta1).powi(step));
        let step_size = (f64::from(rate) * correction) as f32;
        let n = args.outputs.len() / 3;
        cpu::for_each_chunk(cpu, args.outputs, n, |tensor, range, [parameter, mean, square]| {
            let gradient = &inputs[3 + n + tensor].f32()[range];
            let keep = 1.0 - rate * self.decays[tensor];
            for (((p, m), v), g) in parameter.iter_mut().zip(mean).zip(square).zip(gradient) {
                let g = scale * g;
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *p = keep * *p - step_size * *m / (v.sqrt() + epsilon);
            }
        });
        Ok(())
    }
}
