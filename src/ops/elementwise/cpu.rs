//! CPU bodies of the elementwise ops.

use super::{BinaryKind, UnaryKind, math};
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::Input;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Elements of one task: long enough to hide the hand-over, short enough to stay in the first cache levels.
const CHUNK: usize = 16 * 1024;

per_isa! {
    fn map1[F: Fn(f32) -> f32](x: &[f32], y: &mut [f32], f: F) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = f(*x);
        }
    }
}

per_isa! {
    fn update1[F: Fn(f32) -> f32](y: &mut [f32], f: F) {
        for y in y {
            *y = f(*y);
        }
    }
}

per_isa! {
    fn update2[F: Fn(f32, f32) -> f32](y: &mut [f32], b: &[f32], f: F) {
        for (y, b) in y.iter_mut().zip(b) {
            *y = f(*y, *b);
        }
    }
}

per_isa! {
    fn map2[F: Fn(f32, f32) -> f32](a: &[f32], b: &[f32], y: &mut [f32], f: F) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = f(*a, *b);
        }
    }
}

/// An empty `x` is in `y`.
pub(super) fn unary(cpu: &Cpu, kind: UnaryKind, x: &[f32], y: &mut [f32]) {
    fn run(cpu: &Cpu, x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32 + Copy + Sync) {
        if x.is_empty() {
            return cpu.parallel_chunks(y, CHUNK, |_, y| update1(cpu.isa(), y, f));
        }
        cpu.parallel_chunks(y, CHUNK, |task, y| map1(cpu.isa(), &x[task * CHUNK..][..y.len()], y, f));
    }
    match kind {
        // Written so that NaN passes through.
        UnaryKind::Relu => run(cpu, x, y, |x| if x < 0.0 { 0.0 } else { x }),
        UnaryKind::Sigmoid => run(cpu, x, y, math::sigmoid),
        UnaryKind::HardSigmoid => run(cpu, x, y, math::hard_sigmoid),
        UnaryKind::Tanh => run(cpu, x, y, math::tanh),
        UnaryKind::Exp => run(cpu, x, y, math::exp),
        UnaryKind::Log => run(cpu, x, y, f32::ln),
        UnaryKind::Sqrt => run(cpu, x, y, f32::sqrt),
        UnaryKind::Abs => run(cpu, x, y, f32::abs),
        UnaryKind::Neg => run(cpu, x, y, |x| -x),
        UnaryKind::Square => run(cpu, x, y, |x| x * x),
        UnaryKind::Affine { scale, offset } => run(cpu, x, y, move |x| scale * x + offset),
    }
}

/// `saved` is the input or the output of the function, as [`super::UnaryGrad`] says. One of both may be empty: it is in `dx`.
pub(super) fn unary_grad(cpu: &Cpu, kind: UnaryKind, dy: &[f32], saved: &[f32], dx: &mut [f32]) {
    fn run(cpu: &Cpu, a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
        cpu.parallel_chunks(y, CHUNK, |task, y| {
            let part = task * CHUNK..task * CHUNK + y.len();
            match (a.is_empty(), b.is_empty()) {
                (true, _) => update2(cpu.isa(), y, &b[part], f),
                (_, true) => update2(cpu.isa(), y, &a[part], |b, a| f(a, b)),
                _ => map2(cpu.isa(), &a[part.clone()], &b[part], y, f),
            }
        });
    }
    match kind {
        UnaryKind::Relu => run(cpu, dy, saved, dx, |dy, y| if y > 0.0 { dy } else { 0.0 }),
        UnaryKind::Sigmoid => run(cpu, dy, saved, dx, |dy, y| dy * y * (1.0 - y)),
        UnaryKind::HardSigmoid => run(cpu, dy, saved, dx, |dy, y| if y > 0.0 && y < 1.0 { 0.2 * dy } else { 0.0 }),
        UnaryKind::Tanh => run(cpu, dy, saved, dx, |dy, y| dy * (1.0 - y * y)),
        UnaryKind::Exp => run(cpu, dy, saved, dx, |dy, y| dy * y),
        UnaryKind::Log => run(cpu, dy, saved, dx, |dy, x| dy / x),
        UnaryKind::Sqrt => run(cpu, dy, saved, dx, |dy, y| 0.5 * dy / y),
        UnaryKind::Abs => run(cpu, dy, saved, dx, |dy, x| if x == 0.0 { 0.0 } else { dy * x.signum() }),
        UnaryKind::Square => run(cpu, dy, saved, dx, |dy, x| 2.0 * x * dy),
        UnaryKind::Neg => run(cpu, dy, saved, dx, |dy, _| -dy),
        UnaryKind::Affine { scale, .. } => run(cpu, dy, saved, dx, move |dy, _| scale * dy),
    }
}

per_isa! {
    fn accumulate[](x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += *x;
        }
    }
}

/// The first or the second input may be empty: it is in `y`.
pub(super) fn sum_of(cpu: &Cpu, inputs: &[Input<'_>], y: &mut [f32]) {
    cpu.parallel_chunks(y, CHUNK, |task, y| {
        let part = |i: usize| Some(inputs[i].f32()).filter(|x| !x.is_empty()).map(|x| &x[task * CHUNK..][..y.len()]);
        if inputs.len() == 1 {
            return part(0).into_iter().for_each(|x| y.copy_from_slice(x));
        }
        match (part(0), part(1)) {
            (Some(first), Some(second)) => map2(cpu.isa(), first, second, y, |a, b| a + b),
            (Some(other), None) | (None, Some(other)) => accumulate(cpu.isa(), other, y),
            (None, None) => {}
        }
        for input in &inputs[2..] {
            accumulate(cpu.isa(), &input.f32()[task * CHUNK..][..y.len()], y);
        }
    });
}

/// One axis of a broadcast: its extent and the steps of both inputs (0 where stretched).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) extent: usize,
    pub(super) a: usize,
    pub(super) b: usize,
}

/// The axes of a broadcast, with axes of extent 1 dropped and neighbours that step alike merged; at least one.
pub(super) fn merged_axes(a: &Shape, b: &Shape, y: &Shape) -> Vec<Axis> {
    let steps = |shape: &Shape| -> Vec<usize> {
        let (strides, missing) = (shape.strides(), y.rank() - shape.rank());
        let step = |axis: usize| if shape[axis] == 1 { 0 } else { strides[axis] };
        (0..y.rank()).map(|axis| if axis < missing { 0 } else { step(axis - missing) }).collect()
    };
    let (a, b) = (steps(a), steps(b));
    let mut axes: Vec<Axis> = Vec::new();
    for (axis, &extent) in y.iter().enumerate().filter(|(_, extent)| **extent != 1) {
        let next = Axis { extent, a: a[axis], b: b[axis] };
        match axes.last_mut() {
            Some(last) if last.a == next.a * extent && last.b == next.b * extent => {
                *last = Axis { extent: last.extent * extent, ..next };
            }
            _ => axes.push(next),
        }
    }
    if axes.is_empty() { vec![Axis { extent: 1, a: 1, b: 1 }] } else { axes }
}

/// One of `a` and `b` may be empty if it has the shape of `y`: it is in `y`.
pub(super) fn binary(cpu: &Cpu, kind: BinaryKind, a: (&[f32], &Shape), b: (&[f32], &Shape), y: (&mut [f32], &Shape)) {
    let axes = merged_axes(a.1, b.1, y.1);
    let (a, b, y) = (a.0, b.0, y.0);
    let truth = |yes: bool| if yes { 1.0 } else { 0.0 };
    match kind {
        BinaryKind::Add => broadcast(cpu, &axes, a, b, y, |a, b| a + b),
        BinaryKind::Sub => broadcast(cpu, &axes, a, b, y, |a, b| a - b),
        BinaryKind::Mul => broadcast(cpu, &axes, a, b, y, |a, b| a * b),
        BinaryKind::Div => broadcast(cpu, &axes, a, b, y, |a, b| a / b),
        // Written so that NaN passes through from either side.
        BinaryKind::Max => broadcast(cpu, &axes, a, b, y, |a, b| if a >= b || a.is_nan() { a } else { b }),
        BinaryKind::Min => broadcast(cpu, &axes, a, b, y, |a, b| if a <= b || a.is_nan() { a } else { b }),
        BinaryKind::GreaterEqual => broadcast(cpu, &axes, a, b, y, move |a, b| truth(a >= b)),
        BinaryKind::Greater => broadcast(cpu, &axes, a, b, y, move |a, b| truth(a > b)),
    }
}

/// `x` repeated to the larger shape of `y`.
pub(crate) fn stretch(cpu: &Cpu, x: &[f32], x_shape: &Shape, y: &mut [f32], y_shape: &Shape) {
    broadcast(cpu, &merged_axes(x_shape, x_shape, y_shape), x, x, y, |x, _| x);
}

fn broadcast<F>(cpu: &Cpu, axes: &[Axis], a: &[f32], b: &[f32], y: &mut [f32], f: F)
where
    F: Fn(f32, f32) -> f32 + Copy + Sync,
{
    let Some((&inner, outer)) = axes.split_last() else { return };
    let rows: usize = outer.iter().map(|axis| axis.extent).product();
    if rows * inner.extent == 0 {
        return;
    }
    // A task is a group of whole rows, or a piece of one long row.
    let pieces = inner.extent.div_ceil(CHUNK);
    let rows_per_task = if pieces > 1 { 1 } else { (CHUNK / inner.extent).max(1) };
    let out = SendPtr(y.as_mut_ptr());
    cpu.parallel(rows.div_ceil(rows_per_task) * pieces, |task, _| {
        let first_row = task / pieces * rows_per_task;
        let row_count = rows_per_task.min(rows - first_row);
        let start = task % pieces * CHUNK;
        let len = if pieces > 1 { CHUNK.min(inner.extent - start) } else { inner.extent };
        // SAFETY: tasks own disjoint runs of rows, or disjoint pieces of one row.
        let y =
            unsafe { std::slice::from_raw_parts_mut(out.get().add(first_row * inner.extent + start), row_count * len) };
        broadcast_rows(cpu.isa(), outer, inner, first_row, start, len, a, b, y, f);
    });
}

per_isa! {
    /// Rows from `first_row` on, elements `start..start + len` of each.
    fn broadcast_rows[F: Fn(f32, f32) -> f32](
        outer: &[Axis],
        inner: Axis,
        first_row: usize,
        start: usize,
        len: usize,
        a: &[f32],
        b: &[f32],
        y: &mut [f32],
        f: F,
    ) {
        for (row, y) in y.chunks_exact_mut(len).enumerate() {
            let mut rest = first_row + row;
            let (mut at_a, mut at_b) = (start * inner.a, start * inner.b);
            for axis in outer.iter().rev() {
                let index = rest % axis.extent;
                rest /= axis.extent;
                at_a += index * axis.a;
                at_b += index * axis.b;
            }
            if a.is_empty() || b.is_empty() {
                // The one that is in y already has its shape; the other one may be stretched.
                let (other, at, step, a_is_y) =
                    if a.is_empty() { (b, at_b, inner.b, true) } else { (a, at_a, inner.a, false) };
                let f = |y: f32, other: f32| if a_is_y { f(y, other) } else { f(other, y) };
                if step == 0 {
                    y.iter_mut().for_each(|y| *y = f(*y, other[at]));
                } else {
                    y.iter_mut().zip(&other[at..at + len]).for_each(|(y, other)| *y = f(*y, *other));
                }
                continue;
            }
            match (inner.a, inner.b) {
                (0, 0) => y.fill(f(a[at_a], b[at_b])),
                (0, _) => {
                    let a = a[at_a];
                    for (y, b) in y.iter_mut().zip(&b[at_b..at_b + len]) {
                        *y = f(a, *b);
                    }
                }
                (_, 0) => {
                    let b = b[at_b];
                    for (y, a) in y.iter_mut().zip(&a[at_a..at_a + len]) {
                        *y = f(*a, b);
                    }
                }
                _ => {
                    for ((y, a), b) in y.iter_mut().zip(&a[at_a..at_a + len]).zip(&b[at_b..at_b + len]) {
                        *y = f(*a, *b);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge_where_both_inputs_step_alike() {
        let merged = |a: &[usize], b: &[usize], y: &[usize]| merged_axes(&a.into(), &b.into(), &y.into());
        assert_eq!(merged(&[2, 3, 4], &[2, 3, 4], &[2, 3, 4]), [Axis { extent: 24, a: 1, b: 1 }]);
        assert_eq!(
            merged(&[2, 3, 4], &[4], &[2, 3, 4]),
            [Axis { extent: 6, a: 4, b: 0 }, Axis { extent: 4, a: 1, b: 1 }]
        );
        assert_eq!(merged(&[2, 3], &[1], &[2, 3]), [Axis { extent: 6, a: 1, b: 0 }]);
        assert_eq!(merged(&[1], &[1], &[1]), [Axis { extent: 1, a: 1, b: 1 }]);
    }
}
