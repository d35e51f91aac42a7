//! The functions that elementwise ops apply on the CPU, each written once: bodies of whole tensors and of chains are compiled
//! from it.

use super::{BinaryKind, UnaryKind, math};
use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;

/// What is done with a function of one value: compiled for each function.
pub(super) trait With1 {
    /// Does it.
    fn with(self, f: impl Fn(f32) -> f32 + Copy + Sync);
}

/// As [`With1`], of two values.
pub(super) trait With2 {
    /// Does it.
    fn with(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync);
}

/// The function `y` of `x`.
pub(super) fn with_unary(kind: UnaryKind, then: impl With1) {
    match kind {
        // Written so that NaN passes through.
        UnaryKind::Relu => then.with(|x| if x < 0.0 { 0.0 } else { x }),
        UnaryKind::Sigmoid => then.with(math::sigmoid),
        UnaryKind::HardSigmoid => then.with(math::hard_sigmoid),
        UnaryKind::Tanh => then.with(math::tanh),
        UnaryKind::Exp => then.with(math::exp),
        UnaryKind::Log => then.with(f32::ln),
        UnaryKind::Sqrt => then.with(f32::sqrt),
        UnaryKind::Abs => then.with(f32::abs),
        UnaryKind::Neg => then.with(|x| -x),
        UnaryKind::Square => then.with(|x| x * x),
        UnaryKind::Affine { scale, offset } => then.with(move |x| scale * x + offset),
    }
}

/// The gradient `dx` of `dy` and what was saved: the input or the output of the function, as [`super::UnaryGrad`] says.
pub(super) fn with_gradient(kind: UnaryKind, then: impl With2) {
    match kind {
        UnaryKind::Relu => then.with(|dy, y| if y > 0.0 { dy } else { 0.0 }),
        UnaryKind::Sigmoid => then.with(|dy, y| dy * y * (1.0 - y)),
        UnaryKind::HardSigmoid => then.with(|dy, y| if y > 0.0 && y < 1.0 { 0.2 * dy } else { 0.0 }),
        UnaryKind::Tanh => then.with(|dy, y| dy * (1.0 - y * y)),
        UnaryKind::Exp => then.with(|dy, y| dy * y),
        UnaryKind::Log => then.with(|dy, x| dy / x),
        UnaryKind::Sqrt => then.with(|dy, y| 0.5 * dy / y),
        UnaryKind::Abs => then.with(|dy, x| if x == 0.0 { 0.0 } else { dy * x.signum() }),
        UnaryKind::Square => then.with(|dy, x| 2.0 * x * dy),
        UnaryKind::Neg => then.with(|dy, _| -dy),
        UnaryKind::Affine { scale, .. } => then.with(move |dy, _| scale * dy),
    }
}

/// The function `y` of `a` and `b`.
pub(super) fn with_binary(kind: BinaryKind, then: impl With2) {
    let truth = |yes: bool| if yes { 1.0 } else { 0.0 };
    match kind {
        BinaryKind::Add => then.with(|a, b| a + b),
        BinaryKind::Sub => then.with(|a, b| a - b),
        BinaryKind::Mul => then.with(|a, b| a * b),
        BinaryKind::Div => then.with(|a, b| a / b),
        // Written so that NaN passes through from either side.
        BinaryKind::Max => then.with(|a, b| if a >= b || a.is_nan() { a } else { b }),
        BinaryKind::Min => then.with(|a, b| if a <= b || a.is_nan() { a } else { b }),
        BinaryKind::GreaterEqual => then.with(move |a, b| truth(a >= b)),
        BinaryKind::Greater => then.with(move |a, b| truth(a > b)),
    }
}

per_isa! {
    pub(super) fn update1[F: Fn(f32) -> f32](y: &mut [f32], f: F) {
        for y in y {
            *y = f(*y);
        }
    }
}

per_isa! {
    pub(super) fn update2[F: Fn(f32, f32) -> f32](y: &mut [f32], b: &[f32], f: F) {
        for (y, b) in y.iter_mut().zip(b) {
            *y = f(*y, *b);
        }
    }
}

/// Values updated by a function.
pub(super) struct Update1<'a> {
    pub(super) isa: Isa,
    pub(super) y: &'a mut [f32],
}

impl With1 for Update1<'_> {
    fn with(self, f: impl Fn(f32) -> f32 + Copy + Sync) {
        update1(self.isa, self.y, f);
    }
}

/// Values updated by a function of them and others, which come first if `flipped`.
pub(super) struct Update2<'a> {
    pub(super) isa: Isa,
    pub(super) y: &'a mut [f32],
    pub(super) other: &'a [f32],
    pub(super) flipped: bool,
}

impl With2 for Update2<'_> {
    fn with(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
        match self.flipped {
            false => update2(self.isa, self.y, self.other, f),
            true => update2(self.isa, self.y, self.other, |y, other| f(other, y)),
        }
    }
}
