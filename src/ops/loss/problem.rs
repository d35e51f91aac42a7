//! Losses as test problems.

use super::{Pointwise, PointwiseLoss, Selection, SoftmaxLabels, SparseSoftmaxLoss};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::boxes::problem::{random_counts, valid};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// A pointwise loss over some selection.
#[derive(Clone, Debug)]
pub struct PointwiseLossProblem {
    /// The op.
    pub op: PointwiseLoss,
    /// Images (or rows of the leading axis), rows of predictions, rows of targets, values in a row, classes.
    pub sizes: [usize; 5],
    /// Whether counts are given (where the selection takes them).
    pub counts: bool,
}

impl PointwiseLossProblem {
    /// Any loss of a few values.
    pub fn random(numbers: &mut Numbers) -> Self {
        let kinds = [
            Pointwise::SmoothL1 { beta: numbers.uniform(0.1, 1.0) },
            Pointwise::SquaredError,
            Pointwise::SigmoidCrossEntropy,
            Pointwise::BinaryCrossEntropy,
        ];
        let selections = [
            Selection::All,
            Selection::Amplitude,
            Selection::Matches,
            Selection::Classes { channels_last: false },
            Selection::Classes { channels_last: true },
        ];
        let selection = selections[numbers.integer(0, 4)];
        // Amplitudes are for squared errors: others do not scale.
        let kind = if selection == Selection::Amplitude { kinds[1] } else { kinds[numbers.integer(0, 3)] };
        let rows = numbers.integer(1, 12);
        let targets = numbers.integer(1, rows);
        Self {
            op: PointwiseLoss { kind, selection },
            sizes: [numbers.integer(1, 4), rows, targets, numbers.integer(1, 9), numbers.integer(2, 4)],
            counts: numbers.integer(0, 1) == 1,
        }
    }

    fn has_counts(&self) -> bool {
        self.counts && matches!(self.op.selection, Selection::All | Selection::Amplitude)
    }

    /// Indices of prediction and target and the scale of every pair that is compared.
    fn pairs<R: Real>(&self, inputs: &[Data<R>]) -> Vec<(usize, usize, R)> {
        let [images, rows, targets, len, classes] = self.sizes;
        let one = R::of(1.0);
        let mut pairs = Vec::new();
        for n in 0..images {
            match self.op.selection {
                Selection::All | Selection::Amplitude => {
                    // One count for all rows of the leading axis.
                    if self.has_counts() && n >= valid(inputs[2].int()[0], images) {
                        continue;
                    }
                    let all = n * rows * len..(n + 1) * rows * len;
                    let largest = inputs[1].real()[all.clone()].iter().fold(R::of(0.0), |m, t| m.max(t.map(f64::abs)));
                    let amplitude = self.op.selection == Selection::Amplitude;
                    if amplitude && largest.wide() == 0.0 {
                        continue;
                    }
                    let scale = if amplitude { one / largest } else { one };
                    pairs.extend(all.map(|i| (i, i, scale)));
                }
                Selection::Matches => {
                    let positive = (0..rows).filter(|row| inputs[2].int()[n * rows + row] == 1);
                    for (slot, row) in positive.take(targets).enumerate() {
                        let (x, t) = ((n * rows + row) * len, (n * targets + slot) * len);
                        pairs.extend((0..len).map(|i| (x + i, t + i, one)));
                    }
                }
                Selection::Classes { channels_last } => {
                    for row in 0..targets {
                        let class = inputs[2].int()[n * rows + row];
                        if class <= 0 || class as usize >= classes {
                            continue;
                        }
                        let (row, class) = (n * targets + row, class as usize);
                        for i in 0..len {
                            let within = if channels_last { i * classes + class } else { class * len + i };
                            pairs.push((row * len * classes + within, row * len + i, one));
                        }
                    }
                }
            }
        }
        pairs
    }
}

impl Problem for PointwiseLossProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, rows, targets, len, classes] = self.sizes;
        let (x, t) = match self.op.selection {
            Selection::All | Selection::Amplitude => (vec![images, rows, len], vec![images, rows, len]),
            Selection::Matches => (vec![images, rows, len], vec![images, targets, len]),
            Selection::Classes { channels_last: true } => {
                (vec![images * targets, len, classes], vec![images, targets, len])
            }
            Selection::Classes { .. } => (vec![images, targets, classes, len], vec![images, targets, len]),
        };
        let entropy = matches!(self.op.kind, Pointwise::SigmoidCrossEntropy | Pointwise::BinaryCrossEntropy);
        let mut make = |shape: &[usize], range: [f32; 2]| {
            let mut tensor = numbers.tensor(shape);
            if let Ok(values) = tensor.values_mut::<f32>() {
                let middle = (range[0] + range[1]) / 2.0;
                values.iter_mut().for_each(|v| *v = middle + *v * (range[1] - middle));
            }
            tensor
        };
        let x = make(&x, if self.op.kind == Pointwise::BinaryCrossEntropy { [0.05, 0.95] } else { [-3.0, 3.0] });
        let mut t = make(&t, if entropy { [0.0, 1.0] } else { [-3.0, 3.0] });
        if let (Selection::Amplitude, Ok(values)) = (self.op.selection, t.values_mut::<f32>()) {
            // The last sequence is silent.
            values[(images - 1) * rows * len..].fill(0.0);
        }
        let mut inputs = vec![x, t];
        let mut labels = |low: i32, high: i32| {
            let labels: Vec<i32> =
                (0..images * rows).map(|_| numbers.integer(0, (high - low) as usize) as i32 + low).collect();
            Tensor::new([images, rows], &labels)
        };
        match self.op.selection {
            Selection::Matches => inputs.extend(labels(-1, 1)),
            // -1 and one class too many: left out.
            Selection::Classes { .. } => inputs.extend(labels(-1, classes as i32)),
            _ if self.has_counts() => inputs.push(random_counts(&mut numbers, 1, images)),
            _ => {}
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.apply1(self.op, inputs)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let pairs = self.pairs(inputs);
        let value = |(x, t, scale): &(usize, usize, R)| {
            let (p, t) = (*scale * inputs[0].real()[*x], *scale * inputs[1].real()[*t]);
            let one = R::of(1.0);
            match self.op.kind {
                Pointwise::SquaredError => (p - t) * (p - t),
                Pointwise::SmoothL1 { beta } => {
                    let (d, beta) = ((p - t).map(f64::abs), R::of(f64::from(beta)));
                    if d < beta { R::of(0.5) * d * d / beta } else { d - R::of(0.5) * beta }
                }
                Pointwise::SigmoidCrossEntropy => {
                    let q = one / (one + (-p).map(f64::exp));
                    -(t * q.map(f64::ln) + (one - t) * (one - q).map(f64::ln))
                }
                Pointwise::BinaryCrossEntropy => {
                    let e = R::of(1e-7);
                    -(t * (p + e).map(f64::ln) + (one - t) * (one - p + e).map(f64::ln))
                }
            }
        };
        let sum: R = pairs.iter().map(value).sum();
        vec![vec![if pairs.is_empty() { R::of(0.0) } else { sum / R::of(pairs.len() as f64) }]]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}

/// Softmax cross-entropy.
#[derive(Clone, Debug)]
pub struct SoftmaxLossProblem {
    /// The op.
    pub op: SparseSoftmaxLoss,
    /// Images, rows in each, classes.
    pub shape: [usize; 3],
    /// Whether counts are given.
    pub counts: bool,
}

impl SoftmaxLossProblem {
    /// Labels of either kind, classes left out, counts.
    pub fn random(numbers: &mut Numbers) -> Self {
        let matches = numbers.integer(0, 2) == 0;
        let classes = if matches { 2 } else { numbers.integer(1, 6) };
        let labels = if matches { SoftmaxLabels::Matches } else { SoftmaxLabels::Classes };
        let active = if numbers.integer(0, 3) == 0 { (0..classes).map(|c| c != 1).collect() } else { Vec::new() };
        let shape = [numbers.integer(1, 4), numbers.integer(1, 40), classes];
        Self { op: SparseSoftmaxLoss { labels, active }, shape, counts: numbers.integer(0, 1) == 0 }
    }
}

impl Problem for SoftmaxLossProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, rows, classes] = self.shape;
        let mut logits = numbers.tensor(&self.shape);
        logits.values_mut::<f32>().into_iter().flatten().for_each(|v| *v *= 4.0);
        let high = if self.op.labels == SoftmaxLabels::Matches { 1 } else { classes };
        let labels: Vec<i32> = (0..images * rows).map(|_| numbers.integer(0, high + 1) as i32 - 1).collect();
        let mut inputs = vec![logits];
        inputs.extend(Tensor::new([images, rows], &labels));
        if self.counts {
            inputs.push(random_counts(&mut numbers, images, rows));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.apply1(self.op.clone(), inputs)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, rows, classes] = self.shape;
        let (mut sum, mut count) = (R::of(0.0), 0);
        for i in 0..images * rows {
            if i % rows >= inputs.get(2).map_or(rows, |counts| valid(counts.int()[i / rows], rows)) {
                continue;
            }
            let logits = &inputs[0].real()[i * classes..(i + 1) * classes];
            let class = match (self.op.labels, inputs[1].int()[i]) {
                (SoftmaxLabels::Matches, 0) => continue,
                (SoftmaxLabels::Matches, label) => usize::from(label > 0),
                (SoftmaxLabels::Classes, label) if label < 0 || label as usize >= classes => continue,
                (SoftmaxLabels::Classes, label) => label as usize,
            };
            let best = (0..classes).fold(0, |best, c| if logits[c] > logits[best] { c } else { best });
            if self.op.active.get(best) == Some(&false) {
                continue;
            }
            let total: R = logits.iter().map(|v| (*v - logits[best]).map(f64::exp)).sum();
            sum += total.map(f64::ln) + logits[best] - logits[class];
            count += 1;
        }
        vec![vec![if count > 0 { sum / R::of(f64::from(count)) } else { R::of(0.0) }]]
    }

    fn differentiable(&self) -> Vec<usize> {
        vec![0]
    }
}
