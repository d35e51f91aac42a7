//! Arithmetic of two tensors with broadcasting.

use std::sync::Arc;

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{CpuArgs, Narrow, Op, ensure, expect_inputs};
use crate::tensor::{DType, Shape, TensorType};
use crate::{Error, Result};

/// Which arithmetic of two tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryKind {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The larger one; NaN if either is NaN.
    Max,
    /// The smaller one; NaN if either is NaN.
    Min,
    /// 1 where `a >= b`, else 0; has no gradient.
    GreaterEqual,
    /// 1 where `a > b`, else 0; has no gradient.
    Greater,
}

impl BinaryKind {
    /// Every kind, for tests and benches.
    pub const ALL: [BinaryKind; 8] = [
        BinaryKind::Add,
        BinaryKind::Sub,
        BinaryKind::Mul,
        BinaryKind::Div,
        BinaryKind::Max,
        BinaryKind::Min,
        BinaryKind::GreaterEqual,
        BinaryKind::Greater,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            BinaryKind::Add => "add",
            BinaryKind::Sub => "sub",
            BinaryKind::Mul => "mul",
            BinaryKind::Div => "div",
            BinaryKind::Max => "max",
            BinaryKind::Min => "min",
            BinaryKind::GreaterEqual => "greater_equal",
            BinaryKind::Greater => "greater",
        }
    }
}

/// Arithmetic of two `f32` tensors with NumPy's broadcasting: `(a, b) -> y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The operation.
    pub kind: BinaryKind,
}

/// The shape that two shapes broadcast to; `None` if they do not fit.
pub(super) fn broadcast(a: &Shape, b: &Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let extent = |shape: &Shape, axis: usize| (axis + shape.rank()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let dims = (0..rank).map(|axis| match (extent(a, axis), extent(b, axis)) {
        (x, y) if x == y => Some(x),
        (1, y) => Some(y),
        (x, 1) => Some(x),
        _ => None,
    });
    dims.collect::<Option<Vec<usize>>>().map(Shape::from)
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let (a, b) = (&inputs[0], &inputs[1]);
        ensure(self.name(), a.dtype == DType::F32 && b.dtype == DType::F32, || {
            format!("inputs must be f32, got {a} and {b}")
        })?;
        let shape = broadcast(&a.shape, &b.shape);
        let shape = shape.ok_or_else(|| Error::op(self.name(), format!("cannot broadcast {a} with {b}")))?;
        Ok(vec![TensorType::f32(shape)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let (a, b, y) = (context.inputs[0], context.inputs[1], context.outputs[0]);
        let needed = context.needed;
        let g = &mut *context.graph;
        let mut da = None;
        let mut db = None;
        match self.kind {
            BinaryKind::Add => (da, db) = (Some(dy), Some(dy)),
            BinaryKind::Sub => {
                da = Some(dy);
                db = if needed[1] { Some(g.neg(dy)?) } else { None };
            }
            BinaryKind::Mul => {
                da = if needed[0] { Some(g.mul(dy, b)?) } else { None };
                db = if needed[1] { Some(g.mul(dy, a)?) } else { None };
            }
            BinaryKind::Div => {
                let quotient = g.div(dy, b)?;
                if needed[1] {
                    let product = g.mul(quotient, y)?;
                    db = Some(g.neg(product)?);
                }
                da = Some(quotient);
            }
            BinaryKind::Max | BinaryKind::Min => {
                let is_max = self.kind == BinaryKind::Max;
                let (first, second) = if is_max { (a, b) } else { (b, a) };
                let to_a = g.binary(BinaryKind::GreaterEqual, first, second)?;
                let to_b = g.binary(BinaryKind::Greater, second, first)?;
                da = Some(g.mul(dy, to_a)?);
                db = Some(g.mul(dy, to_b)?);
            }
            BinaryKind::GreaterEqual | BinaryKind::Greater => {}
        }
        let mut sum_to = |gradient: Option<Value>, input: Value, needed: bool| -> Result<Option<Value>> {
            let shape = g.shape(input).clone();
            match gradient {
                Some(gradient) if needed => g.sum_to(gradient, &shape).map(Some),
                _ => Ok(None),
            }
        };
        Ok(vec![sum_to(da, a, needed[0])?, sum_to(db, b, needed[1])?])
    }

    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(*self), inputs.to_vec()))
    }

    fn in_place(&self) -> &'static [usize] {
        &[0, 1]
    }

    fn narrow(&self, inputs: &[TensorType]) -> Vec<Narrow> {
        // Broadcasts are for small tensors.
        let alike = inputs[0] == inputs[1];
        alike.then(|| Narrow::new([0, 1], [0])).into_iter().collect()
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::binary(self.name(), types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let [a, b] = args.inputs else { return Err(Error::op(self.name(), "takes 2 inputs")) };
        let y = &mut args.outputs[0];
        let shape = y.shape().clone();
        super::cpu::binary(cpu, self.kind, (a.f32(), a.shape()), (b.f32(), b.shape()), (y.f32(), &shape));
        Ok(())
    }
}
