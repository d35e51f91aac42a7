//! Selection as test problems.

use super::Nms;
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::boxes::problem::{area, iou, min, random_boxes, random_counts, row, valid};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Indices by descending value, ties by lower index, what is not a number last.
pub(crate) fn descending<R: Real>(values: &[R]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let rank = |i: usize| if values[i].wide().is_nan() { f64::NEG_INFINITY } else { values[i].wide() };
    order.sort_by(|a, b| {
        let nan = |i: usize| values[i].wide().is_nan();
        nan(*a).cmp(&nan(*b)).then(rank(*b).partial_cmp(&rank(*a)).unwrap_or(std::cmp::Ordering::Equal)).then(a.cmp(b))
    });
    order
}

/// Plain greedy suppression of boxes in the order given: positions kept.
pub(crate) fn suppress<R: Real>(boxes: &[[R; 4]], threshold: f32, max: usize) -> Vec<usize> {
    let upright = |b: [R; 4]| [min(b[0], b[2]), min(b[1], b[3]), b[0].max(b[2]), b[1].max(b[3])];
    let mut kept: Vec<usize> = Vec::new();
    for (i, b) in boxes.iter().enumerate() {
        let b = upright(*b);
        let overlaps = |k: &usize| {
            let other = upright(boxes[*k]);
            area(b) > R::of(0.0) && area(other) > R::of(0.0) && iou(b, other) > R::of(f64::from(threshold))
        };
        if kept.len() < max && !kept.iter().any(overlaps) {
            kept.push(i);
        }
    }
    kept
}

/// Scores in steps of 1/16, so that there are ties, and some that are not numbers.
pub(crate) fn tied_scores(numbers: &mut Numbers, count: usize) -> Vec<f32> {
    let score = |numbers: &mut Numbers| match numbers.integer(0, 40) {
        0 => f32::NAN,
        1 => -0.0,
        _ => (numbers.uniform(0.0, 1.0) * 16.0).round() / 16.0,
    };
    (0..count).map(|_| score(numbers)).collect()
}

/// Top-k of rows.
#[derive(Clone, Copy, Debug)]
pub struct TopKProblem {
    /// Rows, and values in each.
    pub shape: [usize; 2],
    /// How many are taken.
    pub k: usize,
}

impl TopKProblem {
    /// Up to all values of some rows; two in twelve are longer than what a block of a GPU ranks, or ranks against, at a time.
    pub fn random(numbers: &mut Numbers) -> Self {
        let n = match numbers.turn(12) {
            10 => numbers.integer(257, 600),
            11 => numbers.integer(1025, 1500),
            _ => numbers.integer(1, 200),
        };
        Self { shape: [numbers.integer(1, 5), n], k: numbers.integer(0, n) }
    }
}

impl Problem for TopKProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        // NaN compares as different from itself: leave it to a test of its own.
        let values: Vec<f32> =
            (0..self.shape[0] * self.shape[1]).map(|_| numbers.integer(0, 30) as f32 / 8.0).collect();
        Tensor::new(self.shape, &values).into_iter().collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (values, indices) = graph.top_k(inputs[0], self.k)?;
        Ok(vec![values, indices])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (mut values, mut indices) = (Vec::new(), Vec::new());
        for row in inputs[0].real().chunks(self.shape[1].max(1)) {
            for i in descending(row).into_iter().take(self.k) {
                values.push(row[i]);
                indices.push(R::of(i as f64));
            }
        }
        vec![values, indices]
    }
}

/// Non-maximum suppression of a few images.
#[derive(Clone, Copy, Debug)]
pub struct NmsProblem {
    /// Images, and boxes in each.
    pub shape: [usize; 2],
    /// The op.
    pub op: Nms,
    /// Whether corners are multiples of 1/8: many overlaps are the threshold exactly, many boxes are empty or swapped.
    pub grid: bool,
    /// Whether counts are given.
    pub counts: bool,
}

impl NmsProblem {
    /// On the grid overlaps meet the threshold exactly; equal is not greater.
    pub fn random(numbers: &mut Numbers) -> Self {
        let grid = numbers.integer(0, 1) == 0;
        let iou = if grid { [0.25, 0.5, 0.75][numbers.integer(0, 2)] } else { numbers.uniform(0.1, 0.9) };
        let op = Nms { iou, max: numbers.integer(1, 90) };
        let shape = [numbers.integer(1, 3), numbers.integer(1, 120)];
        Self { shape, op, grid, counts: numbers.integer(0, 2) == 0 }
    }
}

impl Problem for NmsProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, each] = self.shape;
        let mut boxes = random_boxes(&mut numbers, images * each, 1.0);
        if self.grid {
            boxes.iter_mut().for_each(|v| *v = numbers.integer(0, 8) as f32 / 8.0);
        }
        let scores = tied_scores(&mut numbers, images * each);
        let mut inputs: Vec<Tensor> = Tensor::new([images, each, 4], &boxes).into_iter().collect();
        inputs.extend(Tensor::new([images, each], &scores));
        if self.counts {
            inputs.push(random_counts(&mut numbers, images, each));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (selected, counts) = graph.nms(inputs[0], inputs[1], self.op, inputs.get(2).copied())?;
        Ok(vec![selected, counts])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, each] = self.shape;
        let mut selected = vec![R::of(-1.0); images * self.op.max];
        let mut counts = Vec::new();
        for image in 0..images {
            let count = inputs.get(2).map_or(each, |counts| valid(counts.int()[image], each));
            let order = descending(&inputs[1].real()[image * each..image * each + count]);
            let boxes: Vec<[R; 4]> = order.iter().map(|i| row(inputs[0].real(), image * each + i)).collect();
            let kept = suppress(&boxes, self.op.iou, self.op.max);
            for (slot, position) in kept.iter().enumerate() {
                selected[image * self.op.max + slot] = R::of(order[*position] as f64);
            }
            counts.push(R::of(kept.len() as f64));
        }
        vec![selected, counts]
    }
}
