//! CPU body of a chain: blocks of values go through all instructions while they are in the first cache level.

use super::expression::Pair;
use super::program::{Instruction, Operand};
use crate::device::Cpu;
use crate::ops::Input;
use crate::ops::elementwise::cpu::{Axis, CHUNK, merged_axes};
use crate::ops::elementwise::functions::{Update1, Update2, with_binary, with_gradient, with_unary};
use crate::tensor::Shape;

/// Values of one block; three of them and the inputs' parts stay in the first cache level.
const BLOCK: usize = 1024;

/// Where the values of an input come from.
enum Source<'a> {
    /// It lies in the output, which takes over its memory.
    Output,
    /// It has the output's shape.
    Plain(&'a [f32]),
    /// It is stretched along these axes of the output.
    Stretched(&'a [f32], Vec<Axis>),
}

/// One of the inputs may be empty: it is in `y`.
pub(super) fn chain(cpu: &Cpu, program: &[Instruction], inputs: &[Input<'_>], y: &mut [f32], shape: &Shape) {
    let sources: Vec<Source<'_>> = inputs.iter().map(|input| Source::new(input, shape)).collect();
    cpu.parallel_chunks(y, CHUNK, |task, y| {
        let mut registers = Registers { value: [0.0; BLOCK], aside: [0.0; BLOCK], stretched: [0.0; BLOCK] };
        for (block, y) in y.chunks_mut(BLOCK).enumerate() {
            registers.run(cpu, program, &sources, task * CHUNK + block * BLOCK, y);
        }
    });
}

struct Registers {
    value: [f32; BLOCK],
    aside: [f32; BLOCK],
    stretched: [f32; BLOCK],
}

impl Registers {
    /// Values from number `first` on.
    fn run(&mut self, cpu: &Cpu, program: &[Instruction], sources: &[Source<'_>], first: usize, y: &mut [f32]) {
        let (isa, len) = (cpu.isa(), y.len());
        let (value, aside) = (&mut self.value[..len], &mut self.aside[..len]);
        for instruction in program {
            match *instruction {
                Instruction::Load(input) => {
                    aside.copy_from_slice(value);
                    value.copy_from_slice(sources[input].part(first, y, &mut self.stretched));
                }
                Instruction::Unary(kind) => with_unary(kind, Update1 { isa, y: value }),
                Instruction::Pair { pair, with, flipped } => {
                    let other = match with {
                        Operand::Input(input) => sources[input].part(first, y, &mut self.stretched),
                        Operand::Aside => aside,
                    };
                    let update = Update2 { isa, y: value, other, flipped };
                    match pair {
                        Pair::Binary(kind) => with_binary(kind, update),
                        Pair::Gradient(kind) => with_gradient(kind, update),
                    }
                }
            }
        }
        y.copy_from_slice(value);
    }
}

impl<'s> Source<'s> {
    fn new(input: &Input<'s>, shape: &Shape) -> Self {
        match input.f32() {
            [] => Source::Output,
            values if input.shape() == shape => Source::Plain(values),
            values => Source::Stretched(values, merged_axes(input.shape(), input.shape(), shape)),
        }
    }

    /// The values that belong to those of `y`, which begin at number `first`.
    fn part<'a>(&'a self, first: usize, y: &'a [f32], stretched: &'a mut [f32; BLOCK]) -> &'a [f32] {
        match self {
            Source::Output => y,
            Source::Plain(values) => &values[first..first + y.len()],
            Source::Stretched(values, axes) => {
                stretch(values, axes, first, &mut stretched[..y.len()]);
                &stretched[..y.len()]
            }
        }
    }
}

/// Values of the stretched tensor from number `first` on.
fn stretch(x: &[f32], axes: &[Axis], first: usize, to: &mut [f32]) {
    let Some((inner, outer)) = axes.split_last() else { return };
    let mut done = 0;
    while done < to.len() {
        let (mut row, column) = ((first + done) / inner.extent, (first + done) % inner.extent);
        let run = (inner.extent - column).min(to.len() - done);
        let mut at = column * inner.a;
        for axis in outer.iter().rev() {
            at += row % axis.extent * axis.a;
            row /= axis.extent;
        }
        let to = &mut to[done..done + run];
        if inner.a == 0 {
            to.fill(x[at])
        } else {
            to.copy_from_slice(&x[at..at + run])
        }
        done += run;
    }
}
