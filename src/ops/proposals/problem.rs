//! The proposal layer as a test problem.

use super::Proposals;
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::boxes::problem::{clip, decode, random_boxes, row};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::ops::select::problem::{descending, suppress, tied_scores};
use crate::tensor::Tensor;

/// Proposals from random scores, deltas and anchors.
#[derive(Clone, Copy, Debug)]
pub struct ProposalsProblem {
    /// Images, and anchors.
    pub shape: [usize; 2],
    /// The op.
    pub op: Proposals,
}

impl ProposalsProblem {
    /// Fewer and more proposals than there are.
    pub fn random(numbers: &mut Numbers) -> Self {
        let shape = [numbers.integer(1, 3), numbers.integer(1, 150)];
        let (pre_nms, nms_iou) = (numbers.integer(1, 160), numbers.uniform(0.2, 0.8));
        Self { shape, op: Proposals { pre_nms, nms_iou, ..Proposals::new(numbers.integer(1, 60)) } }
    }
}

impl Problem for ProposalsProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, anchors] = self.shape;
        let probs: Vec<f32> =
            tied_scores(&mut numbers, images * anchors).into_iter().flat_map(|score| [1.0 - score, score]).collect();
        let boxes = random_boxes(&mut numbers, anchors, 1.0);
        let deltas = numbers.tensor(&[images, anchors, 4]);
        let boxes = Tensor::new([anchors, 4], &boxes);
        Tensor::new([images, anchors, 2], &probs).into_iter().chain([deltas]).chain(boxes).collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (boxes, counts) = graph.proposals(inputs[0], inputs[1], inputs[2], self.op)?;
        Ok(vec![boxes, counts])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, anchors] = self.shape;
        let mut boxes = vec![R::of(0.0); images * self.op.count * 4];
        let mut counts = Vec::new();
        for image in 0..images {
            let score = |i: usize| inputs[0].real()[2 * (image * anchors + i) + 1];
            let scores: Vec<R> = (0..anchors).map(score).collect();
            let mut candidates: Vec<[R; 4]> = Vec::new();
            for i in descending(&scores).into_iter().take(self.op.pre_nms) {
                let deltas = row(inputs[1].real(), image * anchors + i);
                candidates.push(clip(decode(row(inputs[2].real(), i), deltas, self.op.std_dev), self.op.window));
            }
            let kept = suppress(&candidates, self.op.nms_iou, self.op.count);
            for (slot, position) in kept.iter().enumerate() {
                let at = 4 * (image * self.op.count + slot);
                boxes[at..at + 4].copy_from_slice(&candidates[*position]);
            }
            counts.push(R::of(kept.len() as f64));
        }
        vec![boxes, counts]
    }
}
