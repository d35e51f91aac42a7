//! CUDA launch of a chain; the kernels are in `kernels/elementwise_chain.cu`.

use bytemuck::{NoUninit, Pod, Zeroable};

use super::expression::Pair;
use super::program::{self, MAX_INPUTS, MAX_INSTRUCTIONS, Operand};
use crate::device::cuda::{Arg, Divisor, Launch, Types, Work};
use crate::ops::elementwise::cpu::merged_steps;
use crate::ops::elementwise::unary::Saved;
use crate::ops::elementwise::{BinaryKind, UnaryKind};
use crate::ops::ensure;
use crate::tensor::Shape;
use crate::{Error, Result};

/// Neighbouring values that a thread handles.
const WIDTH: usize = 4;
const MAX_OUTER: usize = 7;

// The structs below are as the kernels take them.

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Instruction {
    code: i32,
    operand: i32,
    flipped: i32,
    scale: f32,
    offset: f32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Program {
    length: i32,
    plain: i32,
    instructions: [Instruction; MAX_INSTRUCTIONS],
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Axes {
    outer: i32,
    inner: Divisor,
    extent: [Divisor; MAX_OUTER],
    inner_step: [i32; MAX_INPUTS],
    step: [[i32; MAX_OUTER]; MAX_INPUTS],
}

fn unary_code(kind: UnaryKind) -> usize {
    let same = |other: &UnaryKind| std::mem::discriminant(other) == std::mem::discriminant(&kind);
    1 + UnaryKind::ALL.iter().position(same).unwrap_or(0)
}

/// The number of a function: loads, functions of one value, arithmetic, gradients, as the kernels' `Code` counts.
fn pair_code(pair: Pair) -> usize {
    let first = 1 + UnaryKind::ALL.len();
    match pair {
        Pair::Binary(kind) => first + BinaryKind::ALL.iter().position(|other| *other == kind).unwrap_or(0),
        Pair::Gradient(kind) => {
            let differentiated = UnaryKind::ALL.iter().filter(|kind| kind.saved() != Saved::Nothing);
            first + BinaryKind::ALL.len() + differentiated.take_while(|other| **other != kind).count()
        }
    }
}

fn encoded(instruction: &program::Instruction) -> Instruction {
    let number = |n: usize| n as i32;
    match *instruction {
        program::Instruction::Load(input) => Instruction { operand: number(input), ..Zeroable::zeroed() },
        program::Instruction::Unary(kind) => {
            let (scale, offset) = match kind {
                UnaryKind::Affine { scale, offset } => (scale, offset),
                _ => (0.0, 0.0),
            };
            Instruction { code: number(unary_code(kind)), scale, offset, ..Zeroable::zeroed() }
        }
        program::Instruction::Pair { pair, with, flipped } => {
            let operand = match with {
                Operand::Input(input) => number(input),
                Operand::Aside => -1,
            };
            Instruction { code: number(pair_code(pair)), operand, flipped: flipped.into(), ..Zeroable::zeroed() }
        }
    }
}

pub(super) fn chain(op: &str, program: &[program::Instruction], types: &Types<'_>) -> Result<Work> {
    let (shape, n) = (&types.outputs[0].shape, types.outputs[0].len());
    if n == 0 {
        return Ok(Work::new());
    }
    let shapes: Vec<&Shape> = types.inputs.iter().map(|ty| &ty.shape).collect();
    let axes = merged_steps(&shapes, shape);
    let Some(((inner, inner_steps), outer)) = axes.split_last() else { return Err(Error::op(op, "has no axes")) };
    ensure(op, outer.len() <= MAX_OUTER && i32::try_from(n).is_ok(), || {
        format!("the GPU broadcasts over at most {MAX_OUTER} separate axes and 2^31 - 1 values, asked for {axes:?}")
    })?;
    let (variant, width) = if inner % WIDTH == 0 { ("_vec4", WIDTH) } else { ("", 1) };
    // Every extent and step is at most the tensor's size, and so fits.
    let mut structure = Axes {
        outer: outer.len() as i32,
        inner: Divisor::new((inner / width) as i32),
        extent: [Divisor::new(1); MAX_OUTER],
        inner_step: [0; MAX_INPUTS],
        step: [[0; MAX_OUTER]; MAX_INPUTS],
    };
    for (axis, (extent, steps)) in outer.iter().rev().enumerate() {
        structure.extent[axis] = Divisor::new(*extent as i32);
        steps.iter().zip(&mut structure.step).for_each(|(step, to)| to[axis] = *step as i32);
    }
    inner_steps.iter().zip(&mut structure.inner_step).for_each(|(step, to)| *to = *step as i32);
    let plain = shapes.iter().enumerate().filter(|(_, input)| **input == shape).fold(0, |bits, (i, _)| bits | 1 << i);
    let mut instructions = [Instruction::zeroed(); MAX_INSTRUCTIONS];
    instructions.iter_mut().zip(program).for_each(|(to, instruction)| *to = encoded(instruction));
    let program = Program { length: program.len() as i32, plain, instructions };
    let pointers = (0..shapes.len()).map(Arg::Input).collect();
    let kernel = format!("elementwise_chain{variant}");
    let launch = Launch::stored("elementwise_chain", &kernel, types.outputs[0].dtype).over(n / width);
    let launch = launch.pointers(pointers, MAX_INPUTS).structure(&program).structure(&structure);
    Ok(Work::of(launch.output(0).int(n / width)))
}
