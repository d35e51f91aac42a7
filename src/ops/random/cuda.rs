//! CUDA launches of random tensors; the kernels are in `kernels/random.cu`.

use super::RandomKind;
use super::philox::key_of;
use crate::device::cuda::{Launch, Types, Work};

pub(super) fn fill(kind: RandomKind, seed: u64, stream: u32, types: &Types<'_>) -> Work {
    let kernel = match kind {
        RandomKind::Uniform => "random_uniform_f32",
        RandomKind::Normal => "random_normal_f32",
    };
    let (n, key) = (types.outputs[0].len(), key_of(seed));
    let launch = Launch::new("random", kernel).over(n.div_ceil(4)).input(0).output(0).long(n);
    Work::of(launch.structure(&key[0]).structure(&key[1]).structure(&stream))
}
