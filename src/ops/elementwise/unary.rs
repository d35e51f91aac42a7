//! Functions of one tensor and their gradients.

use std::sync::Arc;

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// Which function of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryKind {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `clip(0.2 x + 0.5, 0, 1)`.
    HardSigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// Absolute value.
    Abs,
    /// `-x`.
    Neg,
    /// `x * x`.
    Square,
    /// `scale * x + offset`.
    Affine {
        /// Factor.
        scale: f32,
        /// Added after.
        offset: f32,
    },
}

/// What a gradient is computed from besides `dy`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Saved {
    Input,
    Output,
    Nothing,
}

impl UnaryKind {
    /// Every kind, for tests and benches.
    pub const ALL: [UnaryKind; 11] = [
        UnaryKind::Relu,
        UnaryKind::Sigmoid,
        UnaryKind::HardSigmoid,
        UnaryKind::Tanh,
        UnaryKind::Exp,
        UnaryKind::Log,
        UnaryKind::Sqrt,
        UnaryKind::Abs,
        UnaryKind::Neg,
        UnaryKind::Square,
        UnaryKind::Affine { scale: -1.5, offset: 0.25 },
    ];

    /// Of the function and of its gradient.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            UnaryKind::Relu => ("relu", "relu_grad"),
            UnaryKind::Sigmoid => ("sigmoid", "sigmoid_grad"),
            UnaryKind::HardSigmoid => ("hard_sigmoid", "hard_sigmoid_grad"),
            UnaryKind::Tanh => ("tanh", "tanh_grad"),
            UnaryKind::Exp => ("exp", "exp_grad"),
            UnaryKind::Log => ("log", "log_grad"),
            UnaryKind::Sqrt => ("sqrt", "sqrt_grad"),
            UnaryKind::Abs => ("abs", "abs_grad"),
            UnaryKind::Neg => ("neg", "neg_grad"),
            UnaryKind::Square => ("square", "square_grad"),
            UnaryKind::Affine { .. } => ("affine", "affine_grad"),
        }
    }

    /// Operations on one value.
    pub(super) fn flops(self) -> u64 {
        match self {
            UnaryKind::Sigmoid | UnaryKind::Exp | UnaryKind::Log => 20,
            UnaryKind::Tanh => 30,
            _ => 1,
        }
    }

    pub(super) fn saved(self) -> Saved {
        match self {
            UnaryKind::Log | UnaryKind::Abs | UnaryKind::Square => Saved::Input,
            UnaryKind::Neg | UnaryKind::Affine { .. } => Saved::Nothing,
            _ => Saved::Output,
        }
    }
}

/// A function of one tensor: `x -> y`, same shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
}

/// The gradient of a [`Unary`]: `(dy, saved) -> dx`, with `saved` the input for `log`, `abs` and `square`, and the
/// output for the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnaryGrad {
    /// The function differentiated; not `neg` or `affine`, whose gradient is a scale.
    pub kind: UnaryKind,
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        self.kind.names().0
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        ensure(self.name(), inputs[0].dtype == DType::F32, || format!("x must be f32, got {}", inputs[0]))?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let (graph, op) = (&mut *context.graph, UnaryGrad { kind: self.kind });
        let dx = match (self.kind, self.kind.saved()) {
            (UnaryKind::Affine { scale, .. }, _) => graph.scale(dy, scale)?,
            (_, Saved::Nothing) => graph.neg(dy)?,
            (_, Saved::Input) => graph.apply1(op, &[dy, context.inputs[0]])?,
            (_, Saved::Output) => graph.apply1(op, &[dy, context.outputs[0]])?,
        };
        Ok(vec![Some(dx)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(self.kind.flops() * outputs[0].len() as u64, inputs, outputs)
    }

    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(*self), inputs.to_vec()))
    }

    fn in_place(&self) -> &'static [usize] {
        &[0]
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::unary(self.name(), self.kind, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        super::cpu::unary(cpu, self.kind, args.inputs[0].f32(), args.outputs[0].f32());
        Ok(())
    }
}

impl Op for UnaryGrad {
    fn name(&self) -> &'static str {
        self.kind.names().1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        ensure(self.name(), self.kind.saved() != Saved::Nothing, || "is a scale: use `scale`".to_owned())?;
        ensure(self.name(), inputs[0].dtype == DType::F32 && inputs[0] == inputs[1], || {
            format!("dy and the saved tensor must be f32 of one shape, got {} and {}", inputs[0], inputs[1])
        })?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        // Only ReLU's is needed (and exact): linear in dy, flat in y.
        if self.kind != UnaryKind::Relu {
            return Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"));
        }
        let ddy = context.dy()?;
        let d = context.graph.relu_grad(ddy, context.inputs[1])?;
        Ok(vec![Some(d), None])
    }

    fn in_place(&self) -> &'static [usize] {
        &[0, 1]
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0, 1], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::unary_grad(self.name(), types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        super::cpu::unary_grad(cpu, self.kind, args.inputs[0].f32(), args.inputs[1].f32(), args.outputs[0].f32());
        Ok(())
    }
}
