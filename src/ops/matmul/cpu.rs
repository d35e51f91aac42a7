//! Plain loops.

use super::{MatMul, MatMulSize};
use crate::device::Cpu;

pub(super) fn matmul(cpu: &Cpu, op: &MatMul, size: MatMulSize, a: &[f32], b: &[f32], c: &mut [f32]) {
    let MatMulSize { m, n, k, .. } = size;
    cpu.parallel_chunks(c, n, |row, c| {
        c.fill(0.0);
        let (batch, i) = (row / m, row % m);
        for p in 0..k {
            let a = a[batch * m * k + if op.transpose_a { p * m + i } else { i * k + p }];
            let b = &b[batch * k * n..];
            for (j, c) in c.iter_mut().enumerate() {
                *c += a * b[if op.transpose_b { j * k + p } else { p * n + j }];
            }
        }
    });
}
