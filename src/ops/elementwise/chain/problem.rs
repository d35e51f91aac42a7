//! Chains as test problems.

use super::expression::{Expression, Pair};
use super::program;
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::elementwise::problem::{binary, stretched, unary};
use crate::ops::elementwise::unary::Saved;
use crate::ops::elementwise::{BinaryKind, UnaryKind};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::{Shape, Tensor};

/// An expression of tensors that broadcast.
#[derive(Clone, Debug)]
pub struct ChainProblem {
    /// What is computed.
    pub expression: Expression,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// For every input, the axes along which it is stretched, as bits; and how many leading axes it lacks.
    pub stretched: Vec<(usize, usize)>,
}

impl ChainProblem {
    /// Any expression that fits into one op, of inputs of which some are stretched.
    pub fn random(numbers: &mut Numbers) -> Self {
        let rank = numbers.integer(0, 4);
        let shape: Vec<usize> = (0..rank).map(|_| numbers.integer(1, 9)).collect();
        let expression = loop {
            let mut inputs = 0;
            let functions = numbers.integer(1, 9);
            let expression = random_expression(numbers, functions, &mut inputs);
            if program::compile(&expression).is_some() {
                break expression;
            }
        };
        let mut inputs = 0;
        expression.for_each_input(&mut |index| inputs = inputs.max(index + 1));
        // The first one has the full shape, so that the result has it.
        let stretch = |i: usize, numbers: &mut Numbers| match i > 0 && numbers.integer(0, 1) == 0 {
            true => (numbers.integer(0, 15), numbers.integer(0, rank)),
            false => (0, 0),
        };
        let stretched = (0..inputs).map(|i| stretch(i, numbers)).collect();
        Self { expression, shape, stretched }
    }

    fn input_shape(&self, input: usize) -> Vec<usize> {
        let (stretched, missing) = self.stretched[input];
        let extent = |(axis, extent): (usize, &usize)| if stretched >> axis & 1 == 1 { 1 } else { *extent };
        self.shape.iter().enumerate().skip(missing).map(extent).collect()
    }
}

/// An expression of a number of functions; inputs are numbered as they come, and sometimes read again. What is ill-conditioned or
/// steep takes an input, which is away from zero: else rounding alone would explain large differences.
fn random_expression(numbers: &mut Numbers, functions: usize, inputs: &mut usize) -> Expression {
    if functions == 0 {
        let again = *inputs > 0 && numbers.integer(0, 4) == 0;
        let index = if again { numbers.integer(0, *inputs - 1) } else { *inputs };
        *inputs += usize::from(!again);
        return Expression::Input(index);
    }
    let gentle = [UnaryKind::Relu, UnaryKind::HardSigmoid, UnaryKind::Abs, UnaryKind::Neg, UnaryKind::ALL[10]];
    match numbers.integer(0, 5) {
        0 | 1 => {
            let (kinds, below) = if functions == 1 { (&UnaryKind::ALL[..], 0) } else { (&gentle[..], functions - 1) };
            let kind = kinds[numbers.integer(0, kinds.len() - 1)];
            Expression::unary(kind, random_expression(numbers, below, inputs))
        }
        2 => {
            let differentiated = UnaryKind::ALL.map(|kind| (kind.saved() != Saved::Nothing).then_some(kind));
            let differentiated: Vec<UnaryKind> = differentiated.into_iter().flatten().collect();
            let kind = differentiated[numbers.integer(0, differentiated.len() - 1)];
            let dy = random_expression(numbers, functions - 1, inputs);
            Expression::pair(Pair::Gradient(kind), dy, random_expression(numbers, 0, inputs))
        }
        _ => {
            let kind = BinaryKind::ALL[numbers.integer(0, 5)];
            let left = if kind == BinaryKind::Div { functions - 1 } else { numbers.integer(0, functions - 1) };
            let a = random_expression(numbers, left, inputs);
            Expression::pair(Pair::Binary(kind), a, random_expression(numbers, functions - 1 - left, inputs))
        }
    }
}

/// The gradient of a function from `dy` and the input or output that was saved.
fn gradient<R: Real>(kind: UnaryKind, dy: R, s: R) -> R {
    let (zero, one) = (R::of(0.0), R::of(1.0));
    match kind {
        UnaryKind::Relu => {
            if s > zero {
                dy
            } else {
                zero
            }
        }
        UnaryKind::Sigmoid => dy * s * (one - s),
        UnaryKind::HardSigmoid => {
            if s > zero && s < one {
                R::of(0.2) * dy
            } else {
                zero
            }
        }
        UnaryKind::Tanh => dy * (one - s * s),
        UnaryKind::Exp => dy * s,
        UnaryKind::Log => dy / s,
        UnaryKind::Sqrt => R::of(0.5) * dy / s,
        UnaryKind::Abs => {
            if s > zero {
                dy
            } else {
                -dy
            }
        }
        UnaryKind::Square => R::of(2.0) * s * dy,
        UnaryKind::Neg => -dy,
        UnaryKind::Affine { scale, .. } => R::of(scale.into()) * dy,
    }
}

fn evaluate<R: Real>(expression: &Expression, input: &impl Fn(usize) -> R) -> R {
    match expression {
        Expression::Input(index) => input(*index),
        Expression::Unary(kind, x) => unary(*kind, evaluate(x, input)),
        Expression::Pair(pair, a, b) => {
            let (a, b) = (evaluate(a, input), evaluate(b, input));
            match pair {
                Pair::Binary(kind) => binary(*kind, a, b),
                Pair::Gradient(kind) => gradient(*kind, a, b),
            }
        }
    }
}

impl Problem for ChainProblem {
    /// Within 0.5..1.5, so that nothing divided by is small; those with odd numbers are negative where no root is drawn.
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let text = self.expression.to_string();
        let signed = !text.contains("log") && !text.contains("sqrt");
        let make = |input: usize| {
            let mut tensor = numbers.tensor(&self.input_shape(input));
            let sign = if signed && input % 2 == 1 { -1.0 } else { 1.0 };
            tensor.values_mut::<f32>().into_iter().flatten().for_each(|v| *v = sign * (1.0 + 0.5 * *v));
            tensor
        };
        (0..self.stretched.len()).map(make).collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.elementwise_chain(self.expression.clone(), inputs)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let shapes: Vec<Vec<usize>> = (0..inputs.len()).map(|input| self.input_shape(input)).collect();
        let shapes = &shapes;
        let at = |index: usize| move |input: usize| inputs[input].real()[stretched(&shapes[input], &self.shape, index)];
        vec![(0..Shape::from(self.shape.clone()).len()).map(|index| evaluate(&self.expression, &at(index))).collect()]
    }
}
