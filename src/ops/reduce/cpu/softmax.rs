//! Softmax over the last axis.

use super::{CHUNK, Fold, LANES, Max, Sum, fold_run};
use crate::device::Cpu;
use crate::ops::elementwise::math;
use crate::ops::per_isa::per_isa;

per_isa! {
    fn softmax_rows[](x: &[f32], y: &mut [f32], c: usize) {
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            let top = x.iter().fold(f32::NEG_INFINITY, |a, b| Max::fold(a, *b));
            for (y, x) in y.iter_mut().zip(x) {
                *y = *x - top;
            }
        }
        // One pass over all rows: vectorises however short they are.
        for y in y.iter_mut() {
            *y = math::exp(*y);
        }
        for y in y.chunks_exact_mut(c) {
            let scale = 1.0 / fold_run_short(y);
            for y in y.iter_mut() {
                *y *= scale;
            }
        }
    }
}

#[inline(always)]
fn fold_run_short(x: &[f32]) -> f32 {
    if x.len() < LANES { x.iter().sum() } else { fold_run::<Sum>(x) }
}

pub(in crate::ops::reduce) fn softmax(cpu: &Cpu, x: &[f32], y: &mut [f32], c: usize) {
    if c == 0 {
        return;
    }
    let chunk = (CHUNK / 4 / c).max(1) * c;
    cpu.parallel_chunks(y, chunk, |task, y| softmax_rows(cpu.isa(), &x[task * chunk..][..y.len()], y, c));
}

per_isa! {
    fn softmax_grad_rows[](dy: &[f32], y: &[f32], dx: &mut [f32], c: usize) {
        for ((dy, y), dx) in dy.chunks_exact(c).zip(y.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = *dy * *y;
            }
            let sum = fold_run_short(dx);
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = *y * (*dy - sum);
            }
        }
    }
}

pub(in crate::ops::reduce) fn softmax_grad(cpu: &Cpu, dy: &[f32], y: &[f32], dx: &mut [f32], c: usize) {
    if c == 0 {
        return;
    }
    let chunk = (CHUNK / 4 / c).max(1) * c;
    cpu.parallel_chunks(dx, chunk, |task, dx| {
        let at = task * chunk;
        softmax_grad_rows(cpu.isa(), &dy[at..][..dx.len()], &y[at..][..dx.len()], dx, c);
    });
}
