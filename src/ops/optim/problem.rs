//! One step of an optimizer as a problem: clipping, rule, updates in place.

use super::{AdamAttrs, Penalty, SgdAttrs};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// How gradients become a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Gradient descent with momentum.
    Sgd(SgdAttrs),
    /// Adam.
    Adam(AdamAttrs),
}

/// What gradients are limited to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// The norm of all together.
    Global(f32),
    /// The norm of each tensor.
    PerTensor(f32),
}

/// One step on some tensors, in the middle of training: the state is not zero.
#[derive(Clone, Debug)]
pub struct OptimizerProblem {
    /// The rule.
    pub rule: Rule,
    /// The limit.
    pub limit: Limit,
    /// Sizes of the parameters.
    pub sizes: Vec<usize>,
    /// Decay of each: the factor of its penalty, or decoupled with Adam. Some are 0.
    pub decays: Vec<f32>,
    /// Learning rate.
    pub rate: f32,
    /// Number of the step, from 1.
    pub step: i32,
}

impl OptimizerProblem {
    /// Any rule on a few tensors, one of them longer than what a block of a GPU works on.
    pub fn random(numbers: &mut Numbers) -> Self {
        let rule = match numbers.integer(0, 1) {
            0 => Rule::Sgd(SgdAttrs { momentum: numbers.uniform(0.5, 0.95) }),
            _ => Rule::Adam(AdamAttrs::default()),
        };
        // Some limits bind and some do not.
        let limit = numbers.uniform(0.5, 100.0);
        let limit = if numbers.integer(0, 1) == 0 { Limit::Global(limit) } else { Limit::PerTensor(limit) };
        let mut sizes: Vec<usize> = (0..numbers.integer(1, 6)).map(|_| numbers.integer(1, 300)).collect();
        sizes.push(numbers.integer(4097, 9000));
        let decay = |_: &usize| [0.0, numbers.uniform(0.01, 0.2)][numbers.integer(0, 1)];
        let decays = sizes.iter().map(decay).collect();
        Self { rule, limit, sizes, decays, rate: numbers.uniform(1e-3, 0.1), step: numbers.integer(1, 2000) as i32 }
    }

    /// What is added to gradients, as a multiple of the parameter.
    fn factors(&self) -> Vec<f32> {
        match self.rule {
            Rule::Sgd(_) => self.decays.clone(),
            Rule::Adam(_) => Vec::new(),
        }
    }

    fn states(&self) -> usize {
        match self.rule {
            Rule::Sgd(_) => 1,
            Rule::Adam(_) => 2,
        }
    }
}

/// Inputs: the step, parameters, gradients, states. Outputs: norm of all gradients, parameters, states.
impl Problem for OptimizerProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let mut inputs = vec![Numbers::ints(&[self.step])];
        for group in 0..2 + self.states() {
            for &size in &self.sizes {
                let mut tensor = numbers.tensor(&[size]);
                if group == 3 {
                    // Mean squares.
                    tensor.values_mut::<f32>().into_iter().flatten().for_each(|value| *value = value.abs() + 0.01);
                }
                inputs.push(tensor);
            }
        }
        inputs
    }

    fn variables(&self) -> Vec<usize> {
        let n = self.sizes.len();
        (1..1 + n).chain(1 + 2 * n..1 + (2 + self.states()) * n).collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let groups: Vec<&[Value]> = inputs[1..].chunks(self.sizes.len()).collect();
        let mut penalty = Penalty::new(groups[0], self.factors());
        let norm = graph.penalised_global_norm(groups[1], &penalty)?;
        let one = graph.constant(Tensor::scalar(1.0));
        let (gradients, scale) = match self.limit {
            Limit::Global(limit) => (groups[1].to_vec(), graph.clip_scale(norm, limit)?),
            Limit::PerTensor(limit) => {
                let clipped = graph.penalised_clip_per_tensor(groups[1], &penalty, limit)?;
                penalty.clear();
                (clipped, one)
            }
        };
        let rate = graph.constant(Tensor::scalar(self.rate));
        let updated = match self.rule {
            Rule::Sgd(attrs) => graph.penalised_sgd_momentum(&penalty, &gradients, groups[2], rate, scale, attrs)?,
            Rule::Adam(attrs) => {
                let moments = (groups[2], groups[3]);
                graph.adam(groups[0], &gradients, moments, inputs[0], rate, scale, attrs, &self.decays)?
            }
        };
        Ok([&[norm][..], &updated].concat())
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let mut groups: Vec<Vec<Vec<R>>> = inputs[1..]
            .chunks(self.sizes.len())
            .map(|group| group.iter().map(|tensor| tensor.real().to_vec()).collect())
            .collect();
        for (tensor, factor) in self.factors().into_iter().enumerate() {
            for element in 0..self.sizes[tensor] {
                let pull = R::of(factor.into()) * groups[0][tensor][element];
                groups[1][tensor][element] += pull;
            }
        }
        let norm_of = |values: &mut dyn Iterator<Item = R>| values.map(|g| g * g).sum::<R>().map(f64::sqrt);
        let norm = norm_of(&mut groups[1].iter().flatten().copied());
        for tensor in &mut groups[1] {
            let (norm, limit) = match self.limit {
                Limit::Global(limit) => (norm, limit),
                Limit::PerTensor(limit) => (norm_of(&mut tensor.iter().copied()), limit),
            };
            let scale = (R::of(limit.into()) / norm).map(|scale| scale.min(1.0));
            tensor.iter_mut().for_each(|g| *g = *g * scale);
        }
        let rate = R::of(self.rate.into());
        let mut states = groups.split_off(2);
        let gradients = groups.pop().unwrap_or_default();
        let mut parameters = groups.pop().unwrap_or_default();
        for (i, parameter) in parameters.iter_mut().enumerate() {
            for (j, p) in parameter.iter_mut().enumerate() {
                let g = gradients[i][j];
                match self.rule {
                    Rule::Sgd(attrs) => {
                        let v = &mut states[0][i][j];
                        *v = R::of(attrs.momentum.into()) * *v - rate * g;
                        *p += *v;
                    }
                    Rule::Adam(attrs) => {
                        let (b1, b2) = (f64::from(attrs.beta1), f64::from(attrs.beta2));
                        *p = *p - rate * R::of(self.decays[i].into()) * *p;
                        let mean = &mut states[0][i][j];
                        *mean = R::of(b1) * *mean + R::of(1.0 - b1) * g;
                        let mean = *mean;
                        let square = &mut states[1][i][j];
                        *square = R::of(b2) * *square + R::of(1.0 - b2) * g * g;
                        let correction = (1.0 - b2.powi(self.step)).sqrt() / (1.0 - b1.powi(self.step));
                        let root = square.map(f64::sqrt) + R::of(attrs.epsilon.into());
                        *p = *p - rate * R::of(correction) * mean / root;
                    }
                }
            }
        }
        let updated = parameters.into_iter().chain(states.into_iter().flatten());
        std::iter::once(vec![norm]).chain(updated).collect()
    }
}
