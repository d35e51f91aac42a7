//! What references compute with.

use std::fmt::Debug;

/// The float types that a reference runs in.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::iter::Sum
{
    /// Rounds from `f64`.
    fn of(value: f64) -> Self;
    /// Widens to `f64`.
    fn wide(self) -> f64;
    /// Applies a function of one variable, rounding its result.
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self::of(f(self.wide()))
    }
    /// The larger one.
    fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn wide(self) -> f64 {
        self as f64
    }
}

/// An input of a reference: floats in the reference's type, integers as they are.
#[derive(Clone, Debug)]
pub enum Data<R> {
    /// `f32` and `u8` tensors.
    Real(Vec<R>),
    /// `i32` tensors.
    Int(Vec<i32>),
}

impl<R> Data<R> {
    /// The floats. Panics on integers: a mistake in the problem.
    pub fn real(&self) -> &[R] {
        match self {
            Data::Real(values) => values,
            Data::Int(_) => panic!("reference reads integers as floats"),
        }
    }

    /// The integers. Panics on floats: a mistake in the problem.
    pub fn int(&self) -> &[i32] {
        match self {
            Data::Int(values) => values,
            Data::Real(_) => panic!("reference reads floats as integers"),
        }
    }
}
