//! Max pooling as a test problem.

use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Max pooling of random values.
#[derive(Clone, Debug)]
pub struct MaxPoolProblem {
    /// `[N, spatial..., C]`.
    pub shape: Vec<usize>,
    /// Extent of the window.
    pub window: Vec<usize>,
    /// Distance between windows.
    pub stride: Vec<usize>,
    /// Entries before and after.
    pub padding: Vec<[usize; 2]>,
}

impl MaxPoolProblem {
    /// Any pooling that fits, of one to three spatial axes.
    pub fn random(numbers: &mut Numbers) -> Self {
        let spatial = numbers.integer(1, 3);
        let mut problem = Self { shape: vec![numbers.integer(1, 3)], window: vec![], stride: vec![], padding: vec![] };
        for _ in 0..spatial {
            let window = numbers.integer(1, 4);
            let padding = [numbers.integer(0, window - 1), numbers.integer(0, window - 1)];
            let least = window.saturating_sub(padding[0] + padding[1]).max(1);
            problem.shape.push(numbers.integer(least, least + 3));
            problem.window.push(window);
            problem.stride.push(numbers.integer(1, 4));
            problem.padding.push(padding);
        }
        problem.shape.push(if spatial == 1 { numbers.integer(1, 80) } else { numbers.integer(1, 9) });
        problem
    }
}

impl Problem for MaxPoolProblem {
    /// A shuffled ladder: no two values are close enough for a finite difference to swap them.
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let mut x = numbers.tensor(&self.shape);
        if let Ok(values) = x.values_mut::<f32>() {
            let len = values.len();
            (0..len).for_each(|i| values[i] = i as f32 / len as f32 - 0.5);
            (1..len).for_each(|i| values.swap(i, numbers.integer(0, i)));
        }
        vec![x]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.max_pool(inputs[0], &self.window, &self.stride, &self.padding)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let x = inputs[0].real();
        let spatial = self.window.len();
        // Missing axes in front have extent 1.
        let axis = |i: usize| (i + spatial).checked_sub(3);
        let extent = |i: usize| axis(i).map_or(1, |a| self.shape[a + 1]);
        let window = |i: usize| axis(i).map_or(1, |a| self.window[a]);
        let stride = |i: usize| axis(i).map_or(1, |a| self.stride[a]);
        let padding = |i: usize| axis(i).map_or([0, 0], |a| self.padding[a]);
        let output = |i: usize| (extent(i) + padding(i)[0] + padding(i)[1] - window(i)) / stride(i) + 1;
        let at = |i: usize, o: usize, k: usize| {
            (o * stride(i) + k).checked_sub(padding(i)[0]).filter(|position| *position < extent(i))
        };
        let (n, c) = (self.shape[0], self.shape[spatial + 1]);
        let mut y = Vec::new();
        for n in 0..n {
            for (a, b, d) in grid(output(0), output(1), output(2)) {
                for channel in 0..c {
                    let mut best: Option<R> = None;
                    for (i, j, k) in grid(window(0), window(1), window(2)) {
                        if let (Some(p), Some(q), Some(r)) = (at(0, a, i), at(1, b, j), at(2, d, k)) {
                            let value = x[(((n * extent(0) + p) * extent(1) + q) * extent(2) + r) * c + channel];
                            best = Some(best.map_or(value, |best| best.max(value)));
                        }
                    }
                    y.push(best.unwrap_or(R::of(f64::NAN)));
                }
            }
        }
        vec![y]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}

fn grid(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / c / b, i / c % b, i % c))
}
