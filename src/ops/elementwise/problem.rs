//! The elementwise ops as test problems.

use super::{BinaryKind, UnaryKind};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::{Shape, Tensor};

/// Plain references of the functions.
pub(super) fn unary<R: Real>(kind: UnaryKind, x: R) -> R {
    match kind {
        UnaryKind::Relu => x.max(R::of(0.0)),
        UnaryKind::Sigmoid => R::of(1.0) / (R::of(1.0) + (-x).map(f64::exp)),
        UnaryKind::HardSigmoid => (R::of(0.2) * x + R::of(0.5)).map(|v| v.clamp(0.0, 1.0)),
        UnaryKind::Tanh => x.map(f64::tanh),
        UnaryKind::Exp => x.map(f64::exp),
        UnaryKind::Log => x.map(f64::ln),
        UnaryKind::Sqrt => x.map(f64::sqrt),
        UnaryKind::Abs => x.map(f64::abs),
        UnaryKind::Neg => -x,
        UnaryKind::Square => x * x,
        UnaryKind::Affine { scale, offset } => R::of(scale as f64) * x + R::of(offset as f64),
    }
}

pub(super) fn binary<R: Real>(kind: BinaryKind, a: R, b: R) -> R {
    let truth = |yes: bool| R::of(if yes { 1.0 } else { 0.0 });
    match kind {
        BinaryKind::Add => a + b,
        BinaryKind::Sub => a - b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div => a / b,
        BinaryKind::Max => a.max(b),
        BinaryKind::Min => -(-a).max(-b),
        BinaryKind::GreaterEqual => truth(a >= b),
        BinaryKind::Greater => truth(a > b),
    }
}

/// The element of a tensor of `shape`, stretched to `full`, that stands at `index` there.
pub(super) fn stretched(shape: &[usize], full: &[usize], index: usize) -> usize {
    let (mut rest, mut at, mut step) = (index, 0, 1);
    for (axis, extent) in full.iter().enumerate().rev() {
        let own = (axis + shape.len()).checked_sub(full.len()).map_or(1, |axis| shape[axis]);
        at += (rest % extent).min(own - 1) * step;
        step *= own;
        rest /= extent;
    }
    at
}

/// A function of one tensor.
#[derive(Clone, Debug)]
pub struct UnaryProblem {
    /// The function.
    pub kind: UnaryKind,
    /// Any shape.
    pub shape: Vec<usize>,
}

impl UnaryProblem {
    /// One function after the other on a tensor of up to some hundred elements.
    pub fn random(numbers: &mut Numbers) -> Self {
        let kind = UnaryKind::ALL[numbers.turn(UnaryKind::ALL.len())];
        Self { kind, shape: (0..numbers.integer(0, 3)).map(|_| numbers.integer(1, 9)).collect() }
    }
}

impl Problem for UnaryProblem {
    /// Within -4..4, away from the kinks; positive for the logarithm and the root.
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let positive = matches!(self.kind, UnaryKind::Log | UnaryKind::Sqrt);
        let mut x = Numbers::new(seed).tensor(&self.shape);
        for value in x.values_mut::<f32>().into_iter().flatten() {
            let magnitude = 4.0 * value.abs() + 0.01;
            *value = if positive { magnitude } else { magnitude.copysign(*value) };
        }
        vec![x]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.unary(self.kind, inputs[0])?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        vec![inputs[0].real().iter().map(|x| unary(self.kind, *x)).collect()]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}

/// Arithmetic of two tensors.
#[derive(Clone, Debug)]
pub struct BinaryProblem {
    /// The operation.
    pub kind: BinaryKind,
    /// Shape of the first.
    pub a: Vec<usize>,
    /// Shape of the second.
    pub b: Vec<usize>,
}

impl BinaryProblem {
    /// One operation after the other on shapes that broadcast; each is tried on equal shapes too.
    pub fn random(numbers: &mut Numbers) -> Self {
        let kinds = BinaryKind::ALL.len();
        let turn = numbers.turn(kinds * (kinds + 1));
        let kind = BinaryKind::ALL[turn % kinds];
        let full: Vec<usize> = (0..numbers.integer(0, 4)).map(|_| numbers.integer(1, 7)).collect();
        if turn % (kinds + 1) == kinds {
            return Self { kind, a: full.clone(), b: full };
        }
        let mut part = || {
            let missing = if numbers.integer(0, 2) == 0 { numbers.integer(0, full.len()) } else { 0 };
            full[missing..].iter().map(|d| if numbers.integer(0, 2) == 0 { 1 } else { *d }).collect::<Vec<_>>()
        };
        Self { kind, a: part(), b: part() }
    }
}

impl Problem for BinaryProblem {
    /// The second is away from zero, and no pair is close to equal.
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let (mut a, mut b) = (numbers.tensor(&self.a), numbers.tensor(&self.b));
        let ladder = |value: f32, offset: f32| (value * 20.0).floor() / 10.0 + offset;
        a.values_mut::<f32>().into_iter().flatten().for_each(|value| *value = ladder(*value, 0.0));
        b.values_mut::<f32>().into_iter().flatten().for_each(|value| *value = ladder(*value, 0.05));
        vec![a, b]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.binary(self.kind, inputs[0], inputs[1])?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (a, b) = (inputs[0].real(), inputs[1].real());
        let rank = self.a.len().max(self.b.len());
        let padded = |shape: &[usize]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
        let full: Vec<usize> = padded(&self.a).iter().zip(padded(&self.b)).map(|(a, b)| *a.max(&b)).collect();
        let at = |shape: &[usize], index: usize| stretched(shape, &full, index);
        let f = |i: usize| binary(self.kind, a[at(&self.a, i)], b[at(&self.b, i)]);
        vec![(0..Shape::from(full.clone()).len()).map(f).collect()]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0, 1]
    }
}

/// The sum of several tensors.
#[derive(Clone, Debug)]
pub struct SumOfProblem {
    /// How many.
    pub terms: usize,
    /// Their shape.
    pub shape: Vec<usize>,
}

impl SumOfProblem {
    /// Up to five tensors of some hundred values.
    pub fn random(numbers: &mut Numbers) -> Self {
        Self { terms: numbers.integer(1, 5), shape: vec![numbers.integer(1, 9), numbers.integer(1, 70)] }
    }
}

impl Problem for SumOfProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        (0..self.terms).map(|_| numbers.tensor(&self.shape)).collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.sum_of(inputs)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let len = inputs[0].real().len();
        vec![(0..len).map(|i| inputs.iter().map(|input| input.real()[i]).sum()).collect()]
    }

    fn differentiable(&self) -> Vec<usize> {
        (0..self.terms).collect()
    }
}
