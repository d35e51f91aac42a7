//! Reductions, softmax and standardising as test problems.

use super::ReduceKind;
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// A reduction over axes.
#[derive(Clone, Debug)]
pub struct ReduceProblem {
    /// Which one.
    pub kind: ReduceKind,
    /// Shape of the input.
    pub shape: Vec<usize>,
    /// The axes.
    pub axes: Vec<usize>,
    /// Whether they stay.
    pub keep_dims: bool,
}

impl ReduceProblem {
    /// Any reduction of up to four axes; one in four of an axis that a GPU cuts into pieces.
    pub fn random(numbers: &mut Numbers) -> Self {
        let turn = numbers.turn(12);
        let kind = [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max][turn % 3];
        if turn >= 9 {
            let shape = vec![numbers.integer(300, 600), numbers.integer(17, 40)];
            return Self { kind, shape, axes: vec![0], keep_dims: false };
        }
        let shape: Vec<usize> = (0..numbers.integer(1, 4)).map(|_| numbers.integer(1, 8)).collect();
        let axes = (0..shape.len()).filter(|_| numbers.integer(0, 1) == 1).collect();
        Self { kind, shape, axes, keep_dims: numbers.integer(0, 1) == 1 }
    }
}

impl Problem for ReduceProblem {
    /// Around 1: sums that do not cancel, so that rounding is measured against their true size.
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut x = Numbers::new(seed).tensor(&self.shape);
        x.values_mut::<f32>().into_iter().flatten().for_each(|value| *value += 1.0);
        vec![x]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.reduce(self.kind, inputs[0], &self.axes, self.keep_dims)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let x = inputs[0].real();
        let kept = |axis: usize| if self.axes.contains(&axis) { 1 } else { self.shape[axis] };
        let len = (0..self.shape.len()).map(kept).product();
        let mut groups: Vec<Vec<R>> = vec![Vec::new(); len];
        for (i, value) in x.iter().enumerate() {
            let (mut rest, mut at, mut step) = (i, 0, 1);
            for axis in (0..self.shape.len()).rev() {
                at += (rest % self.shape[axis]).min(kept(axis) - 1) * step;
                step *= kept(axis);
                rest /= self.shape[axis];
            }
            groups[at].push(*value);
        }
        let result = |group: &Vec<R>| match self.kind {
            ReduceKind::Sum => group.iter().copied().sum::<R>(),
            ReduceKind::Mean => group.iter().copied().sum::<R>() / R::of(group.len() as f64),
            ReduceKind::Max => group.iter().fold(R::of(f64::NEG_INFINITY), |a, b| a.max(*b)),
        };
        vec![groups.iter().map(result).collect()]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}

/// Softmax over the last axis.
#[derive(Clone, Debug)]
pub struct SoftmaxProblem {
    /// Rows.
    pub rows: usize,
    /// Classes.
    pub classes: usize,
    /// Largest magnitude of a logit.
    pub range: f32,
}

impl SoftmaxProblem {
    /// Any width up to some hundred.
    pub fn random(numbers: &mut Numbers) -> Self {
        Self { rows: numbers.integer(1, 90), classes: numbers.integer(1, 300), range: numbers.uniform(1.0, 30.0) }
    }
}

impl Problem for SoftmaxProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut x = Numbers::new(seed).tensor(&[self.rows, self.classes]);
        x.values_mut::<f32>().into_iter().flatten().for_each(|value| *value *= self.range);
        vec![x]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.softmax(inputs[0])?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let row = |x: &[R]| {
            let top = x.iter().fold(x[0], |a, b| a.max(*b));
            let e: Vec<R> = x.iter().map(|x| (*x - top).map(f64::exp)).collect();
            let sum = e.iter().copied().sum::<R>();
            e.into_iter().map(|e| e / sum).collect::<Vec<R>>()
        };
        vec![inputs[0].real().chunks(self.classes).flat_map(row).collect()]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}

/// Standardising of samples.
#[derive(Clone, Debug)]
pub struct StandardiseProblem {
    /// Samples first.
    pub shape: Vec<usize>,
    /// Mean of the data, in units of about their deviation.
    pub shift: f32,
}

impl StandardiseProblem {
    /// Samples of up to some thousand values; one in twelve has more than a block of a GPU works on.
    pub fn random(numbers: &mut Numbers) -> Self {
        let shape = match numbers.turn(12) {
            11 => vec![2, numbers.integer(130, 150), numbers.integer(130, 150)],
            _ => vec![numbers.integer(1, 4), numbers.integer(2, 60), numbers.integer(1, 60)],
        };
        Self { shape, shift: numbers.uniform(-10.0, 10.0) }
    }
}

impl Problem for StandardiseProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut x = Numbers::new(seed).tensor(&self.shape);
        x.values_mut::<f32>().into_iter().flatten().for_each(|value| *value += self.shift);
        vec![x]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.standardise(inputs[0])?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let len = self.shape[1..].iter().product::<usize>();
        let sample = |x: &[R]| {
            let n = R::of(len as f64);
            let mean = x.iter().copied().sum::<R>() / n;
            let var = x.iter().map(|x| (*x - mean) * (*x - mean)).sum::<R>() / n;
            x.iter().map(|x| (*x - mean) / var.map(f64::sqrt)).collect::<Vec<R>>()
        };
        vec![inputs[0].real().chunks(len).flat_map(sample).collect()]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}
