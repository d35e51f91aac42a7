//! Softmax cross-entropy with integer labels.

use super::{append_gradient, cpu, expect_loss_gradient};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, Workspace, ensure, expect_counts, expect_inputs};
use crate::tensor::{DType, TensorType};

/// What labels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftmaxLabels {
    /// The class; a row whose label is no class is left out.
    Classes,
    /// Anchor matches: 1 is class 1, -1 is class 0, 0 is left out.
    Matches,
}

impl SoftmaxLabels {
    /// The class of a row with this label; `None` if it is left out.
    pub(super) fn class(self, label: i32, classes: usize) -> Option<usize> {
        match (self, label) {
            (SoftmaxLabels::Matches, 0) => None,
            (SoftmaxLabels::Matches, label) => Some(usize::from(label == 1)),
            (SoftmaxLabels::Classes, label) => usize::try_from(label).ok().filter(|class| *class < classes),
        }
    }
}

/// Softmax cross-entropy, mean over the rows that take part: `f32 [1]`. Inputs: logits `f32 [.., C]`, labels `i32` (one per
/// row), counts if any.
#[derive(Clone, Debug)]
pub struct SparseSoftmaxLoss {
    /// What labels mean.
    pub labels: SoftmaxLabels,
    /// Rows whose most probable class is not active are left out; empty: all classes are active.
    pub active: Vec<bool>,
}

/// The gradient of [`SparseSoftmaxLoss`] with respect to the logits. Inputs: the loss's gradient `f32 [1]`, then the loss's
/// inputs.
#[derive(Clone, Debug)]
pub struct SparseSoftmaxLossGrad(pub SparseSoftmaxLoss);

/// Rows that one part of the sum holds.
pub(super) const ROWS_PER_PART: usize = 512;

impl SparseSoftmaxLoss {
    fn check(&self, op: &str, inputs: &[TensorType]) -> Result<()> {
        expect_inputs(op, inputs, 2..=3)?;
        let (logits, labels) = (&inputs[0], &inputs[1]);
        let rows = logits.shape.rows();
        let ok = logits.dtype == DType::F32 && logits.shape.rank() >= 1 && logits.shape.last() > 0;
        let ok = ok && labels.dtype == DType::I32 && labels.len() == rows;
        ensure(op, ok, || format!("needs f32 logits [..,C] and one i32 label per row, got {logits}, {labels}"))?;
        let classes = logits.shape.last();
        ensure(op, self.active.is_empty() || self.active.len() == classes, || {
            format!("the list of active classes has {} entries, the logits {classes} classes", self.active.len())
        })?;
        ensure(op, self.labels != SoftmaxLabels::Matches || classes == 2, || {
            format!("anchor matches need logits of 2 classes, got {logits}")
        })?;
        inputs.get(2).map_or(Ok(()), |counts| expect_counts(op, counts, rows))
    }
}

impl Op for SparseSoftmaxLoss {
    fn name(&self) -> &'static str {
        match self.labels {
            SoftmaxLabels::Classes => "sparse_softmax_loss",
            SoftmaxLabels::Matches => "rpn_class_loss",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        self.check(self.name(), inputs)?;
        Ok(vec![TensorType::f32([1])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        append_gradient(context, SparseSoftmaxLossGrad(self.clone()))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(4 * inputs[0].len() as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::sums_bytes(inputs[1].len().div_ceil(ROWS_PER_PART)) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::softmax(self, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::softmax(self, cpu, args)
    }
}

impl Op for SparseSoftmaxLossGrad {
    fn name(&self) -> &'static str {
        match self.0.labels {
            SoftmaxLabels::Classes => "sparse_softmax_loss_grad",
            SoftmaxLabels::Matches => "rpn_class_loss_grad",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_loss_gradient(self.name(), inputs)?;
        self.0.check(self.name(), &inputs[1..])?;
        Ok(vec![inputs[1].clone()])
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu::sums_bytes(inputs[2].len().div_ceil(ROWS_PER_PART)) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::softmax_grad(&self.0, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::softmax_grad(&self.0, cpu, args)
    }
}
