//! Elementwise ops: functions of one tensor, and arithmetic of two with NumPy's broadcasting.

mod binary;
pub mod chain;
mod cpu;
mod cuda;
mod functions;
pub mod math;
pub mod problem;
mod round;
mod sum;
mod unary;

pub use binary::{Binary, BinaryKind};
pub use chain::ElementwiseChain;
pub(crate) use cpu::stretch;
pub(crate) use cuda::stretch as cuda_stretch;
pub use sum::SumOf;
pub use unary::{Unary, UnaryGrad, UnaryKind};

use crate::Result;
use crate::graph::{Graph, Value};

/// Builders of functions of one `f32` tensor. They fail if the input is not `f32`.
impl Graph {
    /// `max(x, 0)`.
    pub fn relu(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Relu, x)
    }

    /// `1 / (1 + e^-x)`.
    pub fn sigmoid(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Sigmoid, x)
    }

    /// `clip(0.2 x + 0.5, 0, 1)`.
    pub fn hard_sigmoid(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::HardSigmoid, x)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Tanh, x)
    }

    /// `e^x`.
    pub fn exp(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Exp, x)
    }

    /// Natural logarithm; minus infinity at 0, NaN below.
    pub fn log(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Log, x)
    }

    /// Square root; NaN below 0.
    pub fn sqrt(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Sqrt, x)
    }

    /// Absolute value; its gradient at 0 is 0.
    pub fn abs(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Abs, x)
    }

    /// `-x`.
    pub fn neg(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Neg, x)
    }

    /// `x * x`.
    pub fn square(&mut self, x: Value) -> Result<Value> {
        self.unary(UnaryKind::Square, x)
    }

    /// `factor * x`.
    pub fn scale(&mut self, x: Value, factor: f32) -> Result<Value> {
        self.affine(x, factor, 0.0)
    }

    /// `x + offset`.
    pub fn offset(&mut self, x: Value, offset: f32) -> Result<Value> {
        self.affine(x, 1.0, offset)
    }

    /// `scale * x + offset`.
    pub fn affine(&mut self, x: Value, scale: f32, offset: f32) -> Result<Value> {
        self.unary(UnaryKind::Affine { scale, offset }, x)
    }

    /// Any function of one tensor.
    pub fn unary(&mut self, kind: UnaryKind, x: Value) -> Result<Value> {
        self.apply1(Unary { kind }, &[x])
    }

    /// Gradient of ReLU from its output: `dy` where `y > 0`, else 0.
    pub fn relu_grad(&mut self, dy: Value, y: Value) -> Result<Value> {
        self.apply1(UnaryGrad { kind: UnaryKind::Relu }, &[dy, y])
    }
}

/// Builders of arithmetic with broadcasting: shapes are aligned at the last axis, and an axis of extent 1 (or missing)
/// stretches. They fail if shapes do not fit or an input is not `f32`.
impl Graph {
    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(BinaryKind::Add, a, b)
    }

    /// `a - b`.
    pub fn sub(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(BinaryKind::Sub, a, b)
    }

    /// `a * b`.
    pub fn mul(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(BinaryKind::Mul, a, b)
    }

    /// `a / b`.
    pub fn div(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(BinaryKind::Div, a, b)
    }

    /// The larger of `a` and `b`; `a` takes the gradient of a tie.
    pub fn max(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(BinaryKind::Max, a, b)
    }

    /// The smaller of `a` and `b`; `a` takes the gradient of a tie.
    pub fn min(&mut self, a: Value, b: Value) -> Result<Value> {
        self.binary(BinaryKind::Min, a, b)
    }

    /// Any arithmetic of two tensors.
    pub fn binary(&mut self, kind: BinaryKind, a: Value, b: Value) -> Result<Value> {
        self.apply1(Binary { kind }, &[a, b])
    }

    /// The sum of values of one shape, added from first to last.
    pub fn sum_of(&mut self, values: &[Value]) -> Result<Value> {
        match values {
            [only] => Ok(*only),
            _ => self.apply1(SumOf, values),
        }
    }

    /// Sums `x` over the axes that broadcasting from `shape` stretched: the gradient of a broadcast.
    pub(crate) fn sum_to(&mut self, x: Value, shape: &crate::tensor::Shape) -> Result<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        let missing = self.shape(x).rank() - shape.rank();
        let stretched = |axis: &usize| *axis < missing || (shape[*axis - missing] == 1 && self.shape(x)[*axis] != 1);
        let axes: Vec<usize> = (0..self.shape(x).rank()).filter(stretched).collect();
        let sum = self.reduce_sum(x, &axes, true)?;
        self.reshape(sum, shape)
    }
}
