//! Box ops as test problems, and the plain box arithmetic that other families' references use.

use super::{BoxMap, BoxMapKind, BoxNorm, STD_DEV, WHOLE};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Row `i` of boxes.
pub(crate) fn row<R: Real>(boxes: &[R], i: usize) -> [R; 4] {
    [boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]]
}

/// The smaller one.
pub(crate) fn min<R: Real>(a: R, b: R) -> R {
    if b < a { b } else { a }
}

/// Area.
pub(crate) fn area<R: Real>(b: [R; 4]) -> R {
    (b[2] - b[0]) * (b[3] - b[1])
}

/// Intersection over union.
pub(crate) fn iou<R: Real>(a: [R; 4], b: [R; 4]) -> R {
    let height = (min(a[2], b[2]) - a[0].max(b[0])).max(R::of(0.0));
    let width = (min(a[3], b[3]) - a[1].max(b[1])).max(R::of(0.0));
    let union = area(a) + area(b) - height * width;
    if union > R::of(0.0) { height * width / union } else { R::of(0.0) }
}

/// Height, width, centre.
fn shape<R: Real>(b: [R; 4]) -> [R; 4] {
    let (h, w) = (b[2] - b[0], b[3] - b[1]);
    [h, w, b[0] + h * R::of(0.5), b[1] + w * R::of(0.5)]
}

/// Deltas from `b` to `target`.
pub(crate) fn encode<R: Real>(b: [R; 4], target: [R; 4], std_dev: [f32; 4]) -> [R; 4] {
    let ([h, w, y, x], [th, tw, ty, tx]) = (shape(b), shape(target));
    let deltas = [(ty - y) / h, (tx - x) / w, (th / h).map(f64::ln), (tw / w).map(f64::ln)];
    std::array::from_fn(|i| deltas[i] / R::of(f64::from(std_dev[i])))
}

/// `b` moved by deltas.
pub(crate) fn decode<R: Real>(b: [R; 4], deltas: [R; 4], std_dev: [f32; 4]) -> [R; 4] {
    let d: [R; 4] = std::array::from_fn(|i| deltas[i] * R::of(f64::from(std_dev[i])));
    let [h, w, y, x] = shape(b);
    let (y, x) = (y + d[0] * h, x + d[1] * w);
    let (h, w) = (h * d[2].map(f64::exp), w * d[3].map(f64::exp));
    let (top, left) = (y - h * R::of(0.5), x - w * R::of(0.5));
    [top, left, top + h, left + w]
}

/// The part of `b` in `window`.
pub(crate) fn clip<R: Real>(b: [R; 4], window: [f32; 4]) -> [R; 4] {
    let edge = |i: usize| R::of(f64::from(window[i]));
    std::array::from_fn(|i| min(b[i].max(edge(i % 2)), edge(2 + i % 2)))
}

/// `count` boxes with sides of 0.05 to 0.5 inside the unit square (times `scale`).
pub(crate) fn random_boxes(numbers: &mut Numbers, count: usize, scale: f32) -> Vec<f32> {
    let mut boxes = Vec::with_capacity(4 * count);
    for _ in 0..count {
        let (h, w) = (numbers.uniform(0.05, 0.5), numbers.uniform(0.05, 0.5));
        let (y, x) = (numbers.uniform(0.0, 1.0 - h), numbers.uniform(0.0, 1.0 - w));
        boxes.extend([y, x, y + h, x + w].map(|v| v * scale));
    }
    boxes
}

/// `groups` counts, some negative, some larger than `rows`.
pub(crate) fn random_counts(numbers: &mut Numbers, groups: usize, rows: usize) -> Tensor {
    let counts: Vec<i32> = (0..groups).map(|_| numbers.integer(0, rows + 2) as i32 - 1).collect();
    Numbers::ints(&counts)
}

/// What a count that [`random_counts`] made stands for.
pub(crate) fn valid(count: i32, rows: usize) -> usize {
    (count.max(0) as usize).min(rows)
}

/// A row-wise box op on groups of boxes.
#[derive(Clone, Copy, Debug)]
pub struct BoxMapProblem {
    /// The op.
    pub kind: BoxMapKind,
    /// Groups, and boxes in each.
    pub shape: [usize; 2],
    /// Whether counts are given.
    pub counts: bool,
}

impl BoxMapProblem {
    /// Every kind, for tests.
    pub const KINDS: [BoxMapKind; 7] = [
        BoxMapKind::Encode { std_dev: STD_DEV },
        BoxMapKind::Decode { std_dev: STD_DEV, window: None },
        BoxMapKind::Decode { std_dev: [1.0; 4], window: Some(WHOLE) },
        BoxMapKind::Clip { window: [0.2, 0.3, 0.6, 0.7] },
        BoxMapKind::Normalise { image: [64, 40], norm: BoxNorm::Inclusive },
        BoxMapKind::ToPixels { image: [64, 40], norm: BoxNorm::Inclusive, round: false },
        BoxMapKind::ToPixels { image: [64, 40], norm: BoxNorm::Inclusive, round: true },
    ];

    /// Any kind, with and without counts.
    pub fn random(numbers: &mut Numbers) -> Self {
        let kind = Self::KINDS[numbers.integer(0, Self::KINDS.len() - 1)];
        let shape = [numbers.integer(1, 4), numbers.integer(1, 300)];
        Self { kind, shape, counts: numbers.integer(0, 1) == 0 }
    }
}

impl Problem for BoxMapProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [groups, rows] = self.shape;
        let scale = if matches!(self.kind, BoxMapKind::Normalise { .. }) { 64.0 } else { 1.0 };
        let boxes = random_boxes(&mut numbers, groups * rows, scale);
        let mut inputs: Vec<Tensor> = Tensor::new([groups, rows, 4], &boxes).into_iter().collect();
        match self.kind {
            BoxMapKind::Encode { .. } => {
                let targets = random_boxes(&mut numbers, groups * rows, 1.0);
                inputs.extend(Tensor::new([groups, rows, 4], &targets));
            }
            BoxMapKind::Decode { .. } => inputs.push(numbers.tensor(&[groups, rows, 4])),
            _ => {}
        }
        if self.counts {
            inputs.push(random_counts(&mut numbers, groups, rows));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.apply1(BoxMap { kind: self.kind }, inputs)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [groups, rows] = self.shape;
        let mut out = vec![R::of(0.0); groups * rows * 4];
        for i in 0..groups * rows {
            let count = if self.counts { inputs[inputs.len() - 1].int()[i / rows] } else { rows as i32 };
            if i % rows >= valid(count, rows) {
                continue;
            }
            let b = row(inputs[0].real(), i);
            let scaled = |image: [usize; 2], to_pixels: bool| -> [R; 4] {
                // The inclusive convention, the one with an offset.
                std::array::from_fn(|k| {
                    let (size, end) = (R::of(image[k % 2] as f64 - 1.0), R::of(f64::from(k as u8 / 2)));
                    if to_pixels { b[k] * size + end } else { (b[k] - end) / size }
                })
            };
            let result = match self.kind {
                BoxMapKind::Encode { std_dev } => encode(b, row(inputs[1].real(), i), std_dev),
                BoxMapKind::Decode { std_dev, window } => {
                    let moved = decode(b, row(inputs[1].real(), i), std_dev);
                    window.map_or(moved, |window| clip(moved, window))
                }
                BoxMapKind::Clip { window } => clip(b, window),
                BoxMapKind::Normalise { image, .. } => scaled(image, false),
                BoxMapKind::ToPixels { image, round: false, .. } => scaled(image, true),
                BoxMapKind::ToPixels { image, .. } => scaled(image, true).map(|v| v.map(f64::round_ties_even)),
            };
            out[4 * i..4 * i + 4].copy_from_slice(&result);
        }
        vec![out]
    }
}

/// Overlaps of all pairs of two sets of boxes, some without area.
#[derive(Clone, Copy, Debug)]
pub struct BoxIouProblem {
    /// Boxes of either set.
    pub shape: [usize; 2],
}

impl BoxIouProblem {
    /// Sets of any size.
    pub fn random(numbers: &mut Numbers) -> Self {
        Self { shape: [numbers.integer(1, 200), numbers.integer(1, 70)] }
    }
}

impl Problem for BoxIouProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let mut boxes = |count: usize| {
            let mut boxes = random_boxes(&mut numbers, count, 1.0);
            boxes.chunks_exact_mut(4).step_by(5).for_each(|b| b[2] = b[0]);
            Tensor::new([count, 4], &boxes)
        };
        self.shape.into_iter().flat_map(|count| boxes(count).ok()).collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.box_iou(inputs[0], inputs[1])?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (a, b) = (inputs[0].real(), inputs[1].real());
        let pairs = (0..self.shape[0]).flat_map(|i| (0..self.shape[1]).map(move |j| (i, j)));
        vec![pairs.map(|(i, j)| iou(row(a, i), row(b, j))).collect()]
    }
}
