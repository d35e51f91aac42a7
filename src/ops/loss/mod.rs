//! Losses: each a single value `f32 [1]`, a mean over what takes part, 0 if nothing does. Targets are constants:
//! gradients reach predictions only.
//!
//! Sums are made in `f64` over parts of fixed size and joined in order, so that a loss has the same bits for any number
//! of threads.

mod cpu;
mod cuda;
pub mod pointwise;
pub mod problem;
pub mod softmax;

pub use pointwise::{Pointwise, PointwiseLoss, Selection};
pub use softmax::{SoftmaxLabels, SparseSoftmaxLoss};

use crate::Result;
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{Op, ensure};
use crate::tensor::TensorType;

/// Appends the gradient of a loss with respect to its predictions, the first input: `op` takes the loss's gradient and then
/// the loss's inputs.
fn append_gradient(context: &mut GradientContext<'_>, op: impl Op) -> Result<Vec<Option<Value>>> {
    let mut inputs = vec![context.dy()?];
    inputs.extend_from_slice(context.inputs);
    let mut gradients = vec![Some(context.graph.apply1(op, &inputs)?)];
    gradients.resize(context.inputs.len(), None);
    Ok(gradients)
}

/// Checks the first input of such a gradient.
fn expect_loss_gradient(op: &str, inputs: &[TensorType]) -> Result<()> {
    let dy = inputs.first().is_some_and(|dy| *dy == TensorType::f32([1]));
    ensure(op, dy, || "the first input must be the loss's gradient, f32[1]".into())
}

impl Graph {
    fn pointwise_loss(
        &mut self,
        kind: Pointwise,
        selection: Selection,
        inputs: &[Value],
        counts: Option<Value>,
    ) -> Result<Value> {
        let inputs: Vec<Value> = inputs.iter().copied().chain(counts).collect();
        self.apply1(PointwiseLoss { kind, selection }, &inputs)
    }

    fn softmax_loss(
        &mut self,
        labels: SoftmaxLabels,
        active: Vec<bool>,
        inputs: &[Value],
        counts: Option<Value>,
    ) -> Result<Value> {
        let inputs: Vec<Value> = inputs.iter().copied().chain(counts).collect();
        self.apply1(SparseSoftmaxLoss { labels, active }, &inputs)
    }

    /// Softmax cross-entropy of `logits` (`f32 [.., C]`) with `labels` (`i32`, one per row; rows with a label outside
    /// `0..C` are left out), mean over the rows (those within `counts`).
    pub fn sparse_softmax_loss(&mut self, logits: Value, labels: Value, counts: Option<Value>) -> Result<Value> {
        self.softmax_loss(SoftmaxLabels::Classes, Vec::new(), &[logits, labels], counts)
    }

    /// The region proposal network's class loss: softmax cross-entropy of `logits` (`f32 [N, A, 2]`) over the anchors whose
    /// `matches` (`i32 [N, A]`) is not 0, label 1 where it is 1; mean over all of them in the batch.
    pub fn rpn_class_loss(&mut self, logits: Value, matches: Value) -> Result<Value> {
        self.softmax_loss(SoftmaxLabels::Matches, Vec::new(), &[logits, matches], None)
    }

    /// The box head's class loss: softmax cross-entropy of `logits` (`N*R` rows of C) with `classes` (`i32 [N, R]`), mean
    /// over the ROIs within `counts` (`i32 [N]`), or over all of them, padding included as background, as the reference
    /// does. `active`: the classes that the data set knows; a row whose most probable class is not among them is left
    /// out of sum and mean; empty for all.
    pub fn class_loss(
        &mut self,
        logits: Value,
        classes: Value,
        active: Vec<bool>,
        counts: Option<Value>,
    ) -> Result<Value> {
        self.softmax_loss(SoftmaxLabels::Classes, active, &[logits, classes], counts)
    }

    /// The region proposal network's box loss: smooth L1 between the predicted `deltas` (`f32 [N, A, 4]`) of positive
    /// anchors (`matches`, `i32 [N, A]`, is 1) and `targets` (`f32 [N, P, 4]`, one row per positive in anchor order; positives
    /// beyond P are left out), mean over positives and coordinates.
    pub fn rpn_box_loss(&mut self, deltas: Value, targets: Value, matches: Value) -> Result<Value> {
        self.pointwise_loss(Pointwise::SmoothL1 { beta: 1.0 }, Selection::Matches, &[deltas, targets, matches], None)
    }

    /// The box head's box loss: smooth L1 between the `deltas` of each ROI's true class (`N*R*C*4` values, class by class) and
    /// `targets` (`f32 [N, R, 4]`), mean over ROIs with class > 0 (`classes`, `i32 [N, R]`) and coordinates.
    pub fn box_loss(&mut self, deltas: Value, targets: Value, classes: Value) -> Result<Value> {
        let selection = Selection::Classes { channels_last: false };
        self.pointwise_loss(Pointwise::SmoothL1 { beta: 1.0 }, selection, &[deltas, targets, classes], None)
    }

    /// The mask loss: binary cross-entropy of the true class's channel of `logits` (`N*M*h*w*C` values) with `targets`
    /// (`f32 [N, M, h, w]`), mean over ROIs with class > 0 among the first M of each image (`classes`, `i32 [N, R]`,
    /// R >= M) and pixels. With `probabilities` the predictions have been through a sigmoid already.
    pub fn mask_loss(&mut self, logits: Value, targets: Value, classes: Value, probabilities: bool) -> Result<Value> {
        let kind = if probabilities { Pointwise::BinaryCrossEntropy } else { Pointwise::SigmoidCrossEntropy };
        self.pointwise_loss(kind, Selection::Classes { channels_last: true }, &[logits, targets, classes], None)
    }

    /// Smooth L1 of two tensors of one shape, quadratic within `beta` of zero; mean over the elements of rows (of the
    /// leading axis) within `counts`.
    pub fn smooth_l1_loss(&mut self, x: Value, targets: Value, beta: f32, counts: Option<Value>) -> Result<Value> {
        self.pointwise_loss(Pointwise::SmoothL1 { beta }, Selection::All, &[x, targets], counts)
    }

    /// Mean squared error of two tensors of one shape, over the elements of rows within `counts`.
    pub fn mse_loss(&mut self, x: Value, targets: Value, counts: Option<Value>) -> Result<Value> {
        self.pointwise_loss(Pointwise::SquaredError, Selection::All, &[x, targets], counts)
    }

    /// Binary cross-entropy of logits with targets in 0..1, mean over the elements of rows within `counts`.
    pub fn sigmoid_loss(&mut self, logits: Value, targets: Value, counts: Option<Value>) -> Result<Value> {
        self.pointwise_loss(Pointwise::SigmoidCrossEntropy, Selection::All, &[logits, targets], counts)
    }

    /// Binary cross-entropy of probabilities (limited to 1e-7..1-1e-7) with targets in 0..1, mean over the elements of
    /// rows within `counts`.
    pub fn binary_loss(&mut self, probabilities: Value, targets: Value, counts: Option<Value>) -> Result<Value> {
        self.pointwise_loss(Pointwise::BinaryCrossEntropy, Selection::All, &[probabilities, targets], counts)
    }

    /// Mean squared error of sequences (`f32 [N, ..]`), each scaled by 1 / max |truth|: every sequence weighs the same
    /// whatever its amplitude. Silent truths (all zero) are left out. The paper, section III.C.
    pub fn amplitude_mse_loss(&mut self, x: Value, truth: Value, counts: Option<Value>) -> Result<Value> {
        self.pointwise_loss(Pointwise::SquaredError, Selection::Amplitude, &[x, truth], counts)
    }
}
