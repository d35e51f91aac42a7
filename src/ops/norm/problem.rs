//! Batch norm as a test problem.

use super::{BatchNormAttrs, BatchNormFrozen, BatchNormTrain};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::is_valid_row;
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Batch norm of random values; inputs x, gamma, beta, mean and var if frozen, counts if any.
#[derive(Clone, Debug)]
pub struct BatchNormProblem {
    /// `[N, ..., C]`.
    pub shape: Vec<usize>,
    /// Given statistics instead of the batch's.
    pub frozen: bool,
    /// ReLU after it.
    pub relu: bool,
    /// Valid rows of each group.
    pub counts: Option<Vec<i32>>,
    /// Distance of the data's mean from zero, in standard deviations.
    pub shift: f32,
}

impl BatchNormProblem {
    /// Any mode, rank 2 to 5.
    pub fn random(numbers: &mut Numbers) -> Self {
        let groups = numbers.integer(1, 3);
        let rows = numbers.integer(2, 5);
        let mut shape = vec![groups * rows];
        shape.extend((0..numbers.integer(0, 3)).map(|_| numbers.integer(1, 4)));
        shape.push(numbers.integer(1, 70));
        let mut counts: Vec<i32> = (0..groups).map(|_| numbers.integer(0, rows + 1) as i32).collect();
        // Statistics of a single row have no spread to divide by.
        counts[0] = counts[0].max(2);
        let counts = (numbers.integer(0, 1) == 1).then_some(counts);
        let (frozen, relu) = (numbers.integer(0, 1) == 1, numbers.integer(0, 1) == 1);
        Self { shape, frozen, relu, counts, shift: numbers.uniform(-3.0, 3.0) }
    }

    const EPS: f32 = 1e-3;

    fn channels(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    fn parameters(&self) -> usize {
        if self.frozen { 5 } else { 3 }
    }
}

impl Problem for BatchNormProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let mut x = numbers.tensor(&self.shape);
        x.values_mut::<f32>().into_iter().flatten().for_each(|value| *value += self.shift);
        let mut inputs = vec![x];
        for i in 1..self.parameters() {
            let mut tensor = numbers.tensor(&[self.channels()]);
            if i == 4 {
                tensor.values_mut::<f32>().into_iter().flatten().for_each(|value| *value = value.abs() + 0.1);
            }
            inputs.push(tensor);
        }
        inputs.extend(self.counts.as_ref().map(|counts| Numbers::ints(counts)));
        inputs[1].values_mut::<f32>().into_iter().flatten().for_each(|gamma| *gamma += 0.3f32.copysign(*gamma));
        // A finite difference must not push a value over the kink of ReLU: move those that are close to it.
        for _ in 0..if self.relu { 4 } else { 0 } {
            let wide = |tensor: &Tensor| match tensor.values::<f32>() {
                Ok(values) => Data::Real(values.iter().map(|v| *v as f64).collect()),
                Err(_) => Data::Int(tensor.values::<i32>().unwrap_or(&[]).to_vec()),
            };
            let linear = Self { relu: false, ..self.clone() };
            let y = linear.reference::<f64>(&inputs.iter().map(wide).collect::<Vec<_>>()).remove(0);
            let x = inputs[0].values_mut::<f32>().into_iter().flatten();
            x.zip(y).filter(|(_, y)| y.abs() < 2e-3).for_each(|(x, _)| *x += 0.02);
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let mut inputs = inputs.to_vec();
        if self.frozen {
            return Ok(vec![graph.apply1(BatchNormFrozen { eps: Some(Self::EPS), relu: self.relu }, &inputs)?]);
        }
        let ty = graph.ty(inputs[1]).clone();
        inputs.insert(3, graph.variable("moving_mean", ty.clone())?);
        inputs.insert(4, graph.variable("moving_var", ty)?);
        let attrs = BatchNormAttrs { eps: Self::EPS, relu: self.relu, ..BatchNormAttrs::default() };
        Ok(vec![graph.apply(BatchNormTrain { attrs }, &inputs)?[0]])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let x = inputs[0].real();
        let c = self.channels();
        let sample = x.len() / self.shape[0];
        let counts = self.counts.as_ref().map(|_| inputs[self.parameters()].int());
        let valid = |i: usize| is_valid_row(i / sample, self.shape[0], counts);
        let mut y = vec![R::of(0.0); x.len()];
        for channel in 0..c {
            let places: Vec<usize> = (channel..x.len()).step_by(c).filter(|i| valid(*i)).collect();
            let n = R::of(places.len().max(1) as f64);
            let (mean, var) = if self.frozen {
                (inputs[3].real()[channel], inputs[4].real()[channel])
            } else {
                let mean = places.iter().map(|i| x[*i]).sum::<R>() / n;
                (mean, places.iter().map(|i| (x[*i] - mean) * (x[*i] - mean)).sum::<R>() / n)
            };
            let std = (var + R::of(Self::EPS as f64)).map(f64::sqrt);
            for i in places {
                let value = (x[i] - mean) / std * inputs[1].real()[channel] + inputs[2].real()[channel];
                y[i] = if self.relu { value.max(R::of(0.0)) } else { value };
            }
        }
        vec![y]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0, 1, 2]
    }
}

/// A frozen batch norm folded into weights; inputs weight, gamma, beta, mean, variance, bias if any.
#[derive(Clone, Debug)]
pub struct FoldProblem {
    /// Of the weights, `[.., C]`.
    pub shape: Vec<usize>,
    /// Whether the layer has a bias.
    pub bias: bool,
}

impl FoldProblem {
    /// Rank 2 to 5.
    pub fn random(numbers: &mut Numbers) -> Self {
        let mut shape: Vec<usize> = (0..numbers.integer(1, 4)).map(|_| numbers.integer(1, 5)).collect();
        shape.push(numbers.integer(1, 70));
        Self { shape, bias: numbers.integer(0, 1) == 1 }
    }

    const EPS: f32 = 1e-3;
}

impl Problem for FoldProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let channels = self.shape[self.shape.len() - 1];
        let mut inputs = vec![numbers.tensor(&self.shape)];
        inputs.extend((0..4 + usize::from(self.bias)).map(|_| numbers.tensor(&[channels])));
        inputs[4].values_mut::<f32>().into_iter().flatten().for_each(|value| *value = value.abs() + 0.1);
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let norm = [inputs[1], inputs[2], inputs[3], inputs[4]];
        let (weight, bias) = graph.batch_norm_fold(inputs[0], inputs.get(5).copied(), norm, Self::EPS)?;
        Ok(vec![weight, bias])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [weight, gamma, beta, mean, variance] = [0, 1, 2, 3, 4].map(|i| inputs[i].real());
        let channels = gamma.len();
        let scale = |c: usize| gamma[c] / (variance[c] + R::of(Self::EPS as f64)).map(f64::sqrt);
        let bias = |c: usize| inputs.get(5).map_or(R::of(0.0), |bias| bias.real()[c]);
        let folded = weight.iter().enumerate().map(|(i, w)| *w * scale(i % channels)).collect();
        vec![folded, (0..channels).map(|c| (bias(c) - mean[c]) * scale(c) + beta[c]).collect()]
    }

    fn differentiable(&self) -> Vec<usize> {
        if self.bias { vec![0, 1, 2, 5] } else { vec![0, 1, 2] }
    }
}
