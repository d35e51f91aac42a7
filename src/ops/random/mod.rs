//! Random numbers: a counter-based generator, so that every executor and every order of evaluation gives the same bits.

pub mod approx;
mod cuda;
mod fill;
pub mod philox;
pub mod problem;
pub mod wide;

pub use fill::{RandomFill, RandomKind};

use crate::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Shape;

impl Graph {
    /// Uniform numbers in [0, 1): a function of seed, stream and `step` (`i32 [1]`) alone; see [`RandomFill`].
    pub fn random_uniform(&mut self, shape: impl Into<Shape>, seed: u64, stream: u32, step: Value) -> Result<Value> {
        self.apply1(RandomFill { kind: RandomKind::Uniform, shape: shape.into(), seed, stream }, &[step])
    }

    /// Standard normal numbers: a function of seed, stream and `step` (`i32 [1]`) alone; see [`RandomFill`].
    pub fn random_normal(&mut self, shape: impl Into<Shape>, seed: u64, stream: u32, step: Value) -> Result<Value> {
        self.apply1(RandomFill { kind: RandomKind::Normal, shape: shape.into(), seed, stream }, &[step])
    }
}
