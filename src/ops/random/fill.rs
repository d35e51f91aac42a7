//! Tensors of random numbers.

use super::philox::{key_of, normals, philox, uniform};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::per_isa::per_isa;
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{Shape, TensorType};

/// Blocks of four numbers that one task makes.
const BLOCKS: usize = 2048;

/// Which distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomKind {
    /// Uniform in [0, 1), multiples of 2^-24.
    Uniform,
    /// Standard normal.
    Normal,
}

/// `step (i32 [1]) -> numbers`: number `i` is number `i % 4` of the block that the generator makes of the seed as key and
/// `[i / 4, step, stream, 0]` as counter. Streams keep the random tensors of one graph apart, steps those of one training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomFill {
    /// The distribution.
    pub kind: RandomKind,
    /// Shape of the result.
    pub shape: Shape,
    /// Key of the generator.
    pub seed: u64,
    /// Distinct for every random tensor of a graph.
    pub stream: u32,
}

impl Op for RandomFill {
    fn name(&self) -> &'static str {
        match self.kind {
            RandomKind::Uniform => "random_uniform",
            RandomKind::Normal => "random_normal",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let ok = inputs[0] == TensorType::i32([1]);
        ensure(self.name(), ok, || format!("step must be i32[1], got {}", inputs[0]))?;
        let limit = 4 * u32::MAX as usize;
        ensure(self.name(), self.shape.len() <= limit, || {
            format!("makes at most {limit} numbers, not {}", self.shape)
        })?;
        Ok(vec![TensorType::f32(self.shape.clone())])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(20 * outputs[0].len() as u64, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::fill(self.kind, self.seed, self.stream, types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let name = [args.inputs[0].i32()[0] as u32, self.stream, 0];
        let (key, isa) = (key_of(self.seed), cpu.isa());
        cpu.parallel_chunks(args.outputs[0].f32(), 4 * BLOCKS, |task, to| {
            let first = (task * BLOCKS) as u32;
            match self.kind {
                RandomKind::Uniform => fill(isa, first, name, to, |counter| philox(key, counter).map(uniform)),
                RandomKind::Normal => fill(isa, first, name, to, |counter| normals(key, counter)),
            }
        });
        Ok(())
    }
}

per_isa! {
    fn fill[F: Fn([u32; 4]) -> [f32; 4]](first: u32, name: [u32; 3], to: &mut [f32], block: F) {
        let counter = |i: usize| [first.wrapping_add(i as u32), name[0], name[1], name[2]];
        for (i, to) in to.chunks_mut(4).enumerate() {
            let numbers = block(counter(i));
            to.copy_from_slice(&numbers[..to.len()]);
        }
    }
}
