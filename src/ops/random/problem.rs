//! Random numbers as a problem: each is what the stream of its address says.

use super::RandomKind;
use super::philox::{Stream, key_of};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Numbers of one stream at one step.
#[derive(Clone, Copy, Debug)]
pub struct RandomProblem {
    /// Uniform or normal.
    pub kind: RandomKind,
    /// How many.
    pub len: usize,
    /// Key of the generator.
    pub seed: u64,
    /// The stream.
    pub stream: u32,
}

impl RandomProblem {
    /// Any stream.
    pub fn random(numbers: &mut Numbers) -> Self {
        let kind = [RandomKind::Uniform, RandomKind::Normal][numbers.integer(0, 1)];
        Self { kind, len: numbers.integer(1, 9000), seed: numbers.next_u64(), stream: numbers.next_u64() as u32 }
    }
}

/// Input: the step. Output: the numbers.
impl Problem for RandomProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        vec![Numbers::ints(&[Numbers::new(seed).integer(0, 1_000_000) as i32])]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![match self.kind {
            RandomKind::Uniform => graph.random_uniform([self.len], self.seed, self.stream, inputs[0])?,
            RandomKind::Normal => graph.random_normal([self.len], self.seed, self.stream, inputs[0])?,
        }])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let mut stream = Stream::new(key_of(self.seed), [inputs[0].int()[0] as u32, self.stream, 0]);
        let next = |stream: &mut Stream| match self.kind {
            RandomKind::Uniform => stream.uniform(),
            RandomKind::Normal => stream.normal(),
        };
        vec![(0..self.len).map(|_| R::of(next(&mut stream).into())).collect()]
    }
}
