//! The GRU as a test problem.

use super::{GruAttrs, GruWeights, RecurrentActivation};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::is_valid_row;
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// A GRU over random sequences. Inputs: x, then weight, recurrent weight and bias of each direction, the initial state,
/// the counts.
#[derive(Clone, Debug)]
pub struct GruProblem {
    /// Sequences.
    pub n: usize,
    /// Steps.
    pub t: usize,
    /// Features of a step.
    pub features: usize,
    /// Units.
    pub units: usize,
    /// Attributes.
    pub attrs: GruAttrs,
    /// Both directions side by side.
    pub bidirectional: bool,
    /// Whether the initial state is given.
    pub initial_state: bool,
    /// Valid sequences of each group.
    pub counts: Option<Vec<i32>>,
}

impl GruProblem {
    /// Any variant, of a few steps.
    pub fn random(numbers: &mut Numbers) -> Self {
        let mut coin = || numbers.integer(0, 1) == 1;
        let recurrent_activation = if coin() { RecurrentActivation::Sigmoid } else { RecurrentActivation::HardSigmoid };
        let attrs = GruAttrs { reset_after: coin(), reverse: coin(), recurrent_activation };
        let (bidirectional, initial_state, counted) = (coin(), coin(), coin());
        let n = numbers.integer(1, 7);
        let (t, features, units) = (numbers.integer(1, 6), numbers.integer(1, 4), numbers.integer(1, 19));
        let counts = counted.then(|| vec![numbers.integer(0, n) as i32]);
        Self { n, t, features, units, attrs, bidirectional, initial_state, counts }
    }

    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    fn reference_direction<R: Real>(&self, inputs: &[Data<R>], direction: usize, y: &mut [R], last: &mut [R]) {
        let (u, d, f) = (self.units, self.directions(), self.features);
        let x = inputs[0].real();
        let [w, rw, b] = [1, 2, 3].map(|i| inputs[3 * direction + i].real());
        let optional = 1 + 3 * d;
        let counts = self.counts.as_ref().map(|_| inputs[optional + usize::from(self.initial_state)].int());
        let one = R::of(1.0);
        let squash = |x: R| match self.attrs.recurrent_activation {
            RecurrentActivation::Sigmoid => one / (one + (-x).map(f64::exp)),
            RecurrentActivation::HardSigmoid => (R::of(0.2) * x + R::of(0.5)).map(|v| v.clamp(0.0, 1.0)),
        };
        let reverse = if self.bidirectional { direction == 1 } else { self.attrs.reverse };
        let after = self.attrs.reset_after;
        let recurrent = |h: &[R], column: usize| (0..u).map(|i| h[i] * rw[i * 3 * u + column]).sum::<R>();
        for n in (0..self.n).filter(|n| is_valid_row(*n, self.n, counts)) {
            let mut h: Vec<R> = match self.initial_state {
                true => (0..u).map(|i| inputs[optional].real()[(n * d + direction) * u + i]).collect(),
                false => vec![R::of(0.0); u],
            };
            for step in 0..self.t {
                let t = if reverse { self.t - 1 - step } else { step };
                let a = |column: usize| {
                    let product = (0..f).map(|i| x[(n * self.t + t) * f + i] * w[i * 3 * u + column]).sum::<R>();
                    product + b[column]
                };
                let b1 = |column: usize| if after { b[3 * u + column] } else { R::of(0.0) };
                let gate = |column: usize| squash(a(column) + recurrent(&h, column) + b1(column));
                let z: Vec<R> = (0..u).map(gate).collect();
                let r: Vec<R> = (u..2 * u).map(gate).collect();
                let rh: Vec<R> = r.iter().zip(&h).map(|(r, h)| *r * *h).collect();
                let candidate = |i: usize| {
                    let column = 2 * u + i;
                    let recurrent =
                        if after { r[i] * (recurrent(&h, column) + b1(column)) } else { recurrent(&rh, column) };
                    (a(column) + recurrent).map(f64::tanh)
                };
                h = (0..u).map(|i| z[i] * h[i] + (one - z[i]) * candidate(i)).collect();
                y[((n * self.t + t) * d + direction) * u..][..u].copy_from_slice(&h);
            }
            last[(n * d + direction) * u..][..u].copy_from_slice(&h);
        }
    }
}

impl Problem for GruProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let (u, d) = (self.units, self.directions());
        let mut inputs = vec![numbers.tensor(&[self.n, self.t, self.features])];
        for _ in 0..d {
            inputs.push(numbers.tensor(&[self.features, 3 * u]));
            let mut recurrent = numbers.tensor(&[u, 3 * u]);
            let shrink = 1.5 / (u as f32).sqrt();
            recurrent.values_mut::<f32>().into_iter().flatten().for_each(|value| *value *= shrink);
            inputs.push(recurrent);
            inputs.push(if self.attrs.reset_after { numbers.tensor(&[2, 3 * u]) } else { numbers.tensor(&[3 * u]) });
        }
        if self.initial_state {
            inputs.push(numbers.tensor(&[self.n, d * u]));
        }
        inputs.extend(self.counts.as_ref().map(|counts| Numbers::ints(counts)));
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let weights = |direction: usize| {
            let at = 1 + 3 * direction;
            GruWeights { weight: inputs[at], recurrent_weight: inputs[at + 1], bias: inputs[at + 2] }
        };
        let mut optional = inputs[1 + 3 * self.directions()..].iter().copied();
        let h0 = if self.initial_state { optional.next() } else { None };
        let counts = optional.next();
        let (y, last) = if self.bidirectional {
            graph.bigru(inputs[0], weights(0), weights(1), self.attrs, h0, counts)?
        } else {
            graph.gru(inputs[0], weights(0), self.attrs, h0, counts)?
        };
        Ok(vec![y, last])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let width = self.directions() * self.units;
        let mut y = vec![R::of(0.0); self.n * self.t * width];
        let mut last = vec![R::of(0.0); self.n * width];
        for direction in 0..self.directions() {
            self.reference_direction(inputs, direction, &mut y, &mut last);
        }
        vec![y, last]
    }

    fn differentiable(&self) -> Vec<usize> {
        (0..1 + 3 * self.directions() + usize::from(self.initial_state)).collect()
    }
}
