//! Batch normalisation over the last axis: with batch statistics (training) or with given ones (frozen), ReLU fused.
//!
//! `y = gamma (x - mean) / sqrt(var + eps) + beta` for `x [N, ..., C]`. All parameters and statistics are `f32 [C]`.
//! With `counts`, rows of the leading axis that are not valid take no part in the statistics and come out as zeros.

mod blocks;
mod cpu;
mod cpu_fold;
mod cuda;
mod fold;
mod frozen;
mod grad;
pub mod problem;
mod train;

pub use fold::{BatchNormFold, BatchNormFoldGrad};
pub use frozen::BatchNormFrozen;
pub use grad::BatchNormGrad;
pub use train::{BatchNormAttrs, BatchNormTrain};

use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::{ensure, expect_counts};
use crate::tensor::{DType, TensorType};

/// Builders of batch normalisation.
impl Graph {
    /// Batch norm with given statistics, `max(., 0)` after it if `relu`.
    #[allow(clippy::too_many_arguments, reason = "they are the terms of the formula")]
    pub fn batch_norm_frozen(
        &mut self,
        x: Value,
        gamma: Value,
        beta: Value,
        mean: Value,
        var: Value,
        eps: f32,
        relu: bool,
    ) -> Result<Value> {
        self.apply1(BatchNormFrozen { eps: Some(eps), relu }, &[x, gamma, beta, mean, var])
    }

    /// Batch norm with the batch's own statistics (biased variance). `moving_mean` and `moving_var` are variables; each
    /// run updates them in place: `moving = momentum * moving + (1 - momentum) * batch`.
    #[allow(clippy::too_many_arguments, reason = "they are the terms of the formula")]
    pub fn batch_norm_train(
        &mut self,
        x: Value,
        gamma: Value,
        beta: Value,
        moving_mean: Value,
        moving_var: Value,
        attrs: BatchNormAttrs,
        counts: Option<Value>,
    ) -> Result<Value> {
        let mut inputs = vec![x, gamma, beta, moving_mean, moving_var];
        inputs.extend(counts);
        Ok(self.apply(BatchNormTrain { attrs }, &inputs)?[0])
    }
}

/// Checks `x`, the `[C]` tensors and the counts, if any.
fn expect_channels(op: &str, x: &TensorType, channels: &[TensorType], counts: Option<&TensorType>) -> Result<()> {
    let ok = x.dtype == DType::F32 && x.shape.rank() >= 2;
    ensure(op, ok, || format!("x must be f32 [N,...,C], got {x}"))?;
    let expected = TensorType::f32([x.shape.last()]);
    for ty in channels {
        ensure(op, *ty == expected, || format!("parameters and statistics of {x} must be {expected}, got {ty}"))?;
    }
    counts.map_or(Ok(()), |counts| expect_counts(op, counts, x.shape[0]))
}
