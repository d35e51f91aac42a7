//! Several elementwise functions as one op: one launch on a GPU, one pass over memory on the CPU.

mod cpu;
mod cuda;
mod expression;
pub mod problem;
mod program;

use std::fmt;

pub use expression::{Expression, Pair};
pub use program::{Instruction, MAX_INPUTS, MAX_INSTRUCTIONS, Operand};

use super::binary::broadcast;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, ensure, expect_inputs};
use crate::tensor::{DType, Shape, TensorType};
use crate::{Error, Result};

/// An expression of up to [`MAX_INPUTS`] `f32` tensors, which are stretched to the shape that they broadcast to; the same bits as
/// from its functions one by one. [`Graph::fuse_elementwise`] makes these out of single ops, after differentiation: a chain has no
/// gradient.
#[derive(Clone, PartialEq)]
pub struct ElementwiseChain {
    expression: Expression,
    program: Vec<Instruction>,
    inputs: usize,
}

impl ElementwiseChain {
    /// The op of an expression whose inputs are numbered from 0 on; `None` if that needs more inputs, instructions or registers
    /// than a chain has (see [`Instruction`]).
    pub fn new(expression: Expression) -> Option<Self> {
        let program = program::compile(&expression)?;
        let mut read = [false; MAX_INPUTS];
        expression.for_each_input(&mut |index| read[index] = true);
        let inputs = read.iter().filter(|read| **read).count();
        read[..inputs].iter().all(|read| *read).then_some(Self { expression, program, inputs })
    }

    /// What it computes.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// The same as instructions.
    pub fn program(&self) -> &[Instruction] {
        &self.program
    }
}

impl fmt::Debug for ElementwiseChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ElementwiseChain({})", self.expression)
    }
}

impl Op for ElementwiseChain {
    fn name(&self) -> &'static str {
        "elementwise_chain"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, self.inputs..=self.inputs)?;
        let mut shape = Shape::from(Vec::new());
        for ty in inputs {
            ensure(self.name(), ty.dtype == DType::F32, || format!("inputs must be f32, got {ty}"))?;
            let wider = broadcast(&shape, &ty.shape);
            shape = wider.ok_or_else(|| Error::op(self.name(), format!("cannot broadcast {ty} with {shape:?}")))?;
        }
        Ok(vec![TensorType::f32(shape)])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let message = format!("{} has no gradient: differentiate first, then call fuse_elementwise", self.expression);
        Err(Error::op(self.name(), message))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(self.expression.flops() * outputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [usize] {
        &[0, 1, 2, 3, 4, 5, 6, 7]
    }

    fn formula(&self) -> Option<String> {
        Some(self.expression.to_string())
    }

    fn narrow(&self, inputs: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new(0..inputs.len(), [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::chain(self.name(), &self.program, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let y = &mut args.outputs[0];
        let shape = y.shape().clone();
        cpu::chain(cpu, &self.program, args.inputs, y.f32(), &shape);
        Ok(())
    }
}

impl Graph {
    /// An expression of tensors. Fails if it is too long for one op, or as the ops that it stands for.
    pub fn elementwise_chain(&mut self, expression: Expression, inputs: &[Value]) -> Result<Value> {
        let text = expression.to_string();
        let chain = ElementwiseChain::new(expression).ok_or_else(|| {
            let message = format!(
                "{text} is too long, or leaves out inputs: expected x0, x1, .. up to {MAX_INPUTS}, at most \
                 {MAX_INSTRUCTIONS} functions and loads, and one value put aside at a time"
            );
            Error::op("elementwise_chain", message)
        })?;
        self.apply1(chain, inputs)
    }
}
