//! Numbers that problems and benches are made of.

use crate::tensor::{DType, Tensor};

/// A deterministic stream of numbers for problems (splitmix64).
#[derive(Clone, Debug)]
pub struct Numbers {
    state: u64,
    turn: u64,
}

impl Numbers {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5ac0_0c0e, turn: seed }
    }

    /// Which of `kinds` is on: the seed at first, then one after the other. Called once for each problem that is made, so that as
    /// many seeds as there are kinds, one after the other, try all of them.
    pub fn turn(&mut self, kinds: usize) -> usize {
        let turn = self.turn % kinds as u64;
        self.turn += 1;
        turn as usize
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next_u64() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// Uniform on `low..=high`.
    pub fn integer(&mut self, low: usize, high: usize) -> usize {
        low + (self.next_u64() % (high - low + 1) as u64) as usize
    }

    /// `len` values uniform in -1..1.
    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.uniform(-1.0, 1.0)).collect()
    }

    /// A tensor of values uniform in -1..1.
    pub fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let mut tensor = Tensor::zeros(DType::F32, dims);
        for byte in bytemuck::cast_slice_mut::<u8, f32>(tensor.bytes_mut()) {
            *byte = self.uniform(-1.0, 1.0);
        }
        tensor
    }

    /// An `i32` tensor of given values.
    pub fn ints(values: &[i32]) -> Tensor {
        let mut tensor = Tensor::zeros(DType::I32, [values.len()]);
        tensor.bytes_mut().copy_from_slice(bytemuck::cast_slice(values));
        tensor
    }
}
