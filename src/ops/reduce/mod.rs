//! Reductions over axes, softmax over the last axis, standardising of samples.

mod cpu;
mod cuda;
pub mod problem;
mod reduction;
mod softmax;
mod standardise;

pub use reduction::{Reduce, ReduceKind, ReduceMaxGrad};
pub use softmax::{Softmax, SoftmaxGrad};
pub use standardise::{Standardise, StandardiseGrad};

use crate::Result;
use crate::graph::{Graph, Value};

/// Builders of reductions. All take and give `f32`.
impl Graph {
    /// The sum over `axes`; reduced axes stay with extent 1 if `keep_dims`.
    pub fn reduce_sum(&mut self, x: Value, axes: &[usize], keep_dims: bool) -> Result<Value> {
        self.reduce(ReduceKind::Sum, x, axes, keep_dims)
    }

    /// The mean over `axes`.
    pub fn reduce_mean(&mut self, x: Value, axes: &[usize], keep_dims: bool) -> Result<Value> {
        self.reduce(ReduceKind::Mean, x, axes, keep_dims)
    }

    /// The largest value over `axes`; the first of equals takes the gradient.
    pub fn reduce_max(&mut self, x: Value, axes: &[usize], keep_dims: bool) -> Result<Value> {
        self.reduce(ReduceKind::Max, x, axes, keep_dims)
    }

    /// Any reduction. The axes must be distinct axes of `x`, in any order; no axes at all leave `x` as it is.
    pub fn reduce(&mut self, kind: ReduceKind, x: Value, axes: &[usize], keep_dims: bool) -> Result<Value> {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.apply1(Reduce { kind, axes, keep_dims }, &[x])
    }

    /// `e^x / sum(e^x)` over the last axis.
    pub fn softmax(&mut self, x: Value) -> Result<Value> {
        self.apply1(Softmax, &[x])
    }

    /// Every sample (entry of the first axis) shifted and scaled to mean 0 and standard deviation 1 (divisor n). A
    /// constant sample becomes zeros.
    pub fn standardise(&mut self, x: Value) -> Result<Value> {
        self.apply1(Standardise, &[x])
    }
}
