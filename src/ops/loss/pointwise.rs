//! Losses that compare values one by one, over a selection of rows.

use super::{append_gradient, cpu, expect_loss_gradient};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{CpuArgs, Op, Workspace, ensure, expect_counts, expect_inputs};
use crate::tensor::{DType, TensorType};

/// The loss of one prediction `p` against its target `t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// `d^2 / (2 beta)` if `|d| < beta`, else `|d| - beta/2`, with `d = p - t`.
    SmoothL1 {
        /// Where the parabola ends; the reference has 1.
        beta: f32,
    },
    /// `(p - t)^2`.
    SquaredError,
    /// `-(t ln(q) + (1 - t) ln(1 - q))` with `q` the sigmoid of `p`, computed without it.
    SigmoidCrossEntropy,
    /// The same with `q = p`, limited to `e..1-e`, `e = 1e-7`, and `e` added inside the logarithms, as in tf.keras.
    BinaryCrossEntropy,
}

const EPSILON: f32 = 1e-7;

impl Pointwise {
    /// The loss.
    pub fn value(self, p: f32, t: f32) -> f32 {
        match self {
            Pointwise::SmoothL1 { beta } => {
                let d = (p - t).abs();
                if d < beta { 0.5 * d * d / beta } else { d - 0.5 * beta }
            }
            Pointwise::SquaredError => (p - t) * (p - t),
            Pointwise::SigmoidCrossEntropy => p.max(0.0) - p * t + (-p.abs()).exp().ln_1p(),
            Pointwise::BinaryCrossEntropy => {
                let q = p.clamp(EPSILON, 1.0 - EPSILON);
                -(t * (q + EPSILON).ln() + (1.0 - t) * (1.0 - q + EPSILON).ln())
            }
        }
    }

    /// Its derivative with respect to `p`; 0 where a limit holds.
    pub fn slope(self, p: f32, t: f32) -> f32 {
        match self {
            Pointwise::SmoothL1 { beta } => {
                let d = p - t;
                if d.abs() < beta { d / beta } else { d.signum() }
            }
            Pointwise::SquaredError => 2.0 * (p - t),
            Pointwise::SigmoidCrossEntropy => {
                let e = (-p.abs()).exp();
                let sigmoid = if p >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
                sigmoid - t
            }
            Pointwise::BinaryCrossEntropy if !(EPSILON..=1.0 - EPSILON).contains(&p) => 0.0,
            Pointwise::BinaryCrossEntropy => (1.0 - t) / (1.0 - p + EPSILON) - t / (p + EPSILON),
        }
    }
}

/// Which predictions meet which targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Each its own: predictions and targets of one shape; counts if any.
    All,
    /// As [`Selection::All`], rows of the leading axis scaled (prediction and target) by 1 / max |target|; rows of zeros
    /// are left out.
    Amplitude,
    /// Third input: matches `i32 [N, A]`. Predictions `f32 [N, A, K]` of the rows that match with 1 meet targets
    /// `f32 [N, P, K]`, one after the other.
    Matches,
    /// Third input: classes `i32 [N, R]`. Targets `f32 [N, M, ..]`, M <= R, meet those predictions of `N*M` rows that belong to
    /// the row's class; class 0 (or one that is not there) is left out.
    Classes {
        /// Whether classes are the predictions' last axis, or the first one within a row.
        channels_last: bool,
    },
}

impl Selection {
    fn selects(self) -> bool {
        matches!(self, Selection::Matches | Selection::Classes { .. })
    }
}

/// The mean over a selection of a pointwise loss: `f32 [1]`. Inputs: predictions, targets, then what [`Selection`] says.
#[derive(Clone, Copy, Debug)]
pub struct PointwiseLoss {
    /// Loss of one value.
    pub kind: Pointwise,
    /// Which values.
    pub selection: Selection,
}

/// The gradient of [`PointwiseLoss`] with respect to the predictions. Inputs: the loss's gradient `f32 [1]`, then the
/// loss's inputs.
#[derive(Clone, Copy, Debug)]
pub struct PointwiseLossGrad(pub PointwiseLoss);

impl PointwiseLoss {
    fn check(&self, op: &str, inputs: &[TensorType]) -> Result<()> {
        // The third input selects, or it is optional counts.
        let least = if self.selection.selects() { 3 } else { 2 };
        expect_inputs(op, inputs, least..=3)?;
        let (x, targets) = (&inputs[0], &inputs[1]);
        let floats = x.dtype == DType::F32 && targets.dtype == DType::F32;
        ensure(op, floats, || format!("predictions and targets must be f32, got {x}, {targets}"))?;
        match self.selection {
            Selection::All | Selection::Amplitude => {
                let ok = x == targets && x.shape.rank() >= 1;
                ensure(op, ok, || format!("predictions and targets must have one shape, got {x}, {targets}"))?;
                inputs.get(2).map_or(Ok(()), |counts| expect_counts(op, counts, x.shape[0]))
            }
            Selection::Matches => {
                let ok = match (x.shape.dims(), targets.shape.dims()) {
                    (&[n, a, k], &[m, _, l]) => n == m && k == l && inputs[2] == TensorType::i32([n, a]),
                    _ => false,
                };
                ensure(op, ok, || {
                    format!(
                        "needs predictions [N,A,K], targets [N,P,K], matches i32 [N,A], got {x}, {targets}, {}",
                        inputs[2]
                    )
                })
            }
            Selection::Classes { .. } => {
                let classes = &inputs[2];
                let ok = targets.shape.rank() >= 2
                    && classes.dtype == DType::I32
                    && classes.shape.rank() == 2
                    && classes.shape[0] == targets.shape[0]
                    && classes.shape[1] >= targets.shape[1]
                    && (targets.is_empty() || x.len() % targets.len() == 0);
                ensure(op, ok, || {
                    format!(
                        "needs targets [N,M,..], classes i32 [N,R] with R >= M, and predictions of as many values as \
                         targets times the number of classes, got {targets}, {classes}, {x}"
                    )
                })
            }
        }
    }

    fn names(&self) -> [&'static str; 2] {
        match (self.kind, self.selection) {
            (_, Selection::Matches) => ["rpn_box_loss", "rpn_box_loss_grad"],
            (_, Selection::Classes { channels_last: false }) => ["box_loss", "box_loss_grad"],
            (_, Selection::Classes { channels_last: true }) => ["mask_loss", "mask_loss_grad"],
            (_, Selection::Amplitude) => ["amplitude_mse_loss", "amplitude_mse_loss_grad"],
            (Pointwise::SmoothL1 { .. }, _) => ["smooth_l1_loss", "smooth_l1_loss_grad"],
            (Pointwise::SquaredError, _) => ["mse_loss", "mse_loss_grad"],
            (Pointwise::SigmoidCrossEntropy, _) => ["sigmoid_loss", "sigmoid_loss_grad"],
            (Pointwise::BinaryCrossEntropy, _) => ["binary_loss", "binary_loss_grad"],
        }
    }
}

impl Op for PointwiseLoss {
    fn name(&self) -> &'static str {
        self.names()[0]
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        self.check(self.name(), inputs)?;
        Ok(vec![TensorType::f32([1])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        append_gradient(context, PointwiseLossGrad(*self))
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::sums_bytes(self.parts(&inputs[0], &inputs[1])) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::pointwise(self, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::pointwise(self, cpu, args)
    }
}

impl Op for PointwiseLossGrad {
    fn name(&self) -> &'static str {
        self.0.names()[1]
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_loss_gradient(self.name(), inputs)?;
        self.0.check(self.name(), &inputs[1..])?;
        Ok(vec![inputs[1].clone()])
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::sums_bytes(self.0.parts(&inputs[1], &inputs[2])) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::pointwise_grad(&self.0, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::pointwise_grad(&self.0, cpu, args)
    }
}

/// Values that one part of an [`Selection::All`] sum holds at least.
const PART: usize = 4096;

impl PointwiseLoss {
    /// Parts that a sum is made in, by shape alone: images for selections within an image, else runs of rows.
    pub(super) fn parts(&self, x: &TensorType, targets: &TensorType) -> usize {
        match self.selection {
            Selection::All | Selection::Amplitude => x.shape[0].div_ceil(self.rows_per_part(x)),
            Selection::Matches | Selection::Classes { .. } => targets.shape[0],
        }
    }

    pub(super) fn rows_per_part(&self, x: &TensorType) -> usize {
        let row = x.len().checked_div(x.shape[0]).unwrap_or(0);
        PART.div_ceil(row.max(1))
    }
}
