//! What a chain computes, as an expression of its inputs.

use std::fmt;

use crate::ops::elementwise::{BinaryKind, UnaryKind};

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pair {
    /// Arithmetic.
    Binary(BinaryKind),
    /// The gradient of a function of one value, from `dy` and what [`crate::ops::elementwise::UnaryGrad`] takes.
    Gradient(UnaryKind),
}

/// An elementwise expression of tensors that all have, or are stretched to, one shape.
#[derive(Clone, PartialEq)]
pub enum Expression {
    /// An input of the chain.
    Input(usize),
    /// A function of one value.
    Unary(UnaryKind, Box<Expression>),
    /// A function of two values.
    Pair(Pair, Box<Expression>, Box<Expression>),
}

impl Expression {
    /// `kind(x)`.
    pub fn unary(kind: UnaryKind, x: Expression) -> Self {
        Self::Unary(kind, Box::new(x))
    }

    /// `pair(a, b)`.
    pub fn pair(pair: Pair, a: Expression, b: Expression) -> Self {
        Self::Pair(pair, Box::new(a), Box::new(b))
    }

    /// Number of functions.
    pub fn functions(&self) -> usize {
        match self {
            Self::Input(_) => 0,
            Self::Unary(_, x) => 1 + x.functions(),
            Self::Pair(_, a, b) => 1 + a.functions() + b.functions(),
        }
    }

    /// Operations on one value.
    pub(super) fn flops(&self) -> u64 {
        match self {
            Self::Input(_) => 0,
            Self::Unary(kind, x) => kind.flops() + x.flops(),
            Self::Pair(_, a, b) => 1 + a.flops() + b.flops(),
        }
    }

    /// Calls `visit` with every input, from left to right, as often as it is read.
    pub fn for_each_input(&self, visit: &mut impl FnMut(usize)) {
        match self {
            Self::Input(index) => visit(*index),
            Self::Unary(_, x) => x.for_each_input(visit),
            Self::Pair(_, a, b) => {
                a.for_each_input(visit);
                b.for_each_input(visit);
            }
        }
    }

    /// The same with every input replaced by what `by` gives for it.
    pub fn replaced(&self, by: &mut impl FnMut(usize) -> Expression) -> Self {
        match self {
            Self::Input(index) => by(*index),
            Self::Unary(kind, x) => Self::unary(*kind, x.replaced(by)),
            Self::Pair(pair, a, b) => {
                let a = a.replaced(by);
                Self::pair(*pair, a, b.replaced(by))
            }
        }
    }
}

/// As in `relu_grad(add(x0, x1), x2)`.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(index) => write!(f, "x{index}"),
            Self::Unary(UnaryKind::Affine { scale, offset }, x) => write!(f, "affine({scale} * {x} + {offset})"),
            Self::Unary(kind, x) => write!(f, "{}({x})", kind.names().0),
            Self::Pair(Pair::Binary(kind), a, b) => write!(f, "{}({a}, {b})", kind.name()),
            Self::Pair(Pair::Gradient(kind), a, b) => write!(f, "{}({a}, {b})", kind.names().1),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
