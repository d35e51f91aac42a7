//! Matrix products as problems.

use super::MatMul;
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// `c = op(a) op(b)`, batched if there are leading axes.
#[derive(Clone, Debug)]
pub struct MatMulProblem {
    /// Leading axes of both operands.
    pub batch: Vec<usize>,
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Whether `a` is stored `[.., K, M]`.
    pub transpose_a: bool,
    /// Whether `b` is stored `[.., N, K]`.
    pub transpose_b: bool,
}

impl MatMulProblem {
    /// A small one of any kind: in twelve all layouts for all widths of a GPU's tiles. One in four has sums so long that a GPU
    /// cuts them; two in twelve fill more than one of its tiles.
    pub fn random(numbers: &mut Numbers) -> Self {
        let turn = numbers.turn(12);
        let (narrowest, widest) = [(33, 70), (17, 32), (1, 16)][turn % 3];
        let (transpose_a, transpose_b) = (turn / 3 % 2 == 1, turn / 6 == 1);
        let n = numbers.integer(narrowest, widest);
        if turn % 4 == 3 {
            let (m, k) = (numbers.integer(1, 12), numbers.integer(512, 700));
            let m = if turn == 3 { m + 64 } else { m };
            return Self { batch: Vec::new(), m, n, k, transpose_a, transpose_b };
        }
        let batch = (0..numbers.integer(0, 2)).map(|_| numbers.integer(1, 4)).collect();
        let m = numbers.integer(1, 40) + if turn == 9 { 128 } else { 0 };
        Self { batch, m, n, k: numbers.integer(1, 40), transpose_a, transpose_b }
    }
}

impl Problem for MatMulProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let mut operand = |rows: usize, columns: usize, transposed: bool| {
            let last = if transposed { [columns, rows] } else { [rows, columns] };
            numbers.tensor(&[&self.batch[..], &last].concat())
        };
        vec![operand(self.m, self.k, self.transpose_a), operand(self.k, self.n, self.transpose_b)]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let op = MatMul { transpose_a: self.transpose_a, transpose_b: self.transpose_b };
        graph.apply(op, inputs)
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (a, b) = (inputs[0].real(), inputs[1].real());
        let Self { m, n, k, .. } = *self;
        let mut c = Vec::new();
        for batch in 0..self.batch.iter().product() {
            let (a, b) = (&a[batch * m * k..], &b[batch * k * n..]);
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let mut sum = R::of(0.0);
                for p in 0..k {
                    let a = a[if self.transpose_a { p * m + i } else { i * k + p }];
                    sum += a * b[if self.transpose_b { j * k + p } else { p * n + j }];
                }
                c.push(sum);
            }
        }
        vec![c]
    }

    fn differentiable(&self) -> Vec<usize> {
        let macs = self.batch.iter().product::<usize>() * self.m * self.n * self.k;
        if macs < 30_000 { vec![0, 1] } else { vec![] }
    }
}
