//! CPU bodies of the elementwise ops.

use super::functions::{With1, With2, update1, update2, with_binary, with_gradient, with_unary};
use super::{BinaryKind, UnaryKind};
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::Input;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Elements of one task: long enough to hide the hand-over, short enough to stay in the first cache levels.
pub(super) const CHUNK: usize = 16 * 1024;

per_isa! {
    fn map1[F: Fn(f32) -> f32](x: &[f32], y: &mut [f32], f: F) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = f(*x);
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
    struct Whole<'a> {
        cpu: &'a Cpu,
        x: &'a [f32],
        y: &'a mut [f32],
    }
    impl With1 for Whole<'_> {
        fn with(self, f: impl Fn(f32) -> f32 + Copy + Sync) {
            let Self { cpu, x, y } = self;
            if x.is_empty() {
                return cpu.parallel_chunks(y, CHUNK, |_, y| update1(cpu.isa(), y, f));
            }
            cpu.parallel_chunks(y, CHUNK, |task, y| map1(cpu.isa(), &x[task * CHUNK..][..y.len()], y, f));
        }
    }
    with_unary(kind, Whole { cpu, x, y });
}

/// One of `dy` and `saved` may be empty: it is in `dx`.
pub(super) fn unary_grad(cpu: &Cpu, kind: UnaryKind, dy: &[f32], saved: &[f32], dx: &mut [f32]) {
    struct Whole<'a> {
        cpu: &'a Cpu,
        a: &'a [f32],
        b: &'a [f32],
        y: &'a mut [f32],
    }
    impl With2 for Whole<'_> {
        fn with(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
            let Self { cpu, a, b, y } = self;
            cpu.parallel_chunks(y, CHUNK, |task, y| {
                let part = task * CHUNK..task * CHUNK + y.len();
                match (a.is_empty(), b.is_empty()) {
                    (true, _) => update2(cpu.isa(), y, &b[part], f),
                    (_, true) => update2(cpu.isa(), y, &a[part], |b, a| f(a, b)),
                    _ => map2(cpu.isa(), &a[part.clone()], &b[part], y, f),
                }
            });
        }
    }
    with_gradient(kind, Whole { cpu, a: dy, b: saved, y: dx });
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

/// The axes of `y` with the steps of the shapes that are stretched to it (0 where stretched); axes of extent 1 are dropped and
/// neighbours along which all step alike merged; at least one.
pub(super) fn merged_steps(shapes: &[&Shape], y: &Shape) -> Vec<(usize, Vec<usize>)> {
    let steps = |shape: &&Shape| -> Vec<usize> {
        let (strides, missing) = (shape.strides(), y.rank() - shape.rank());
        let step = |axis: usize| if shape[axis] == 1 { 0 } else { strides[axis] };
        (0..y.rank()).map(|axis| if axis < missing { 0 } else { step(axis - missing) }).collect()
    };
    let all: Vec<Vec<usize>> = shapes.iter().map(steps).collect();
    let mut axes: Vec<(usize, Vec<usize>)> = Vec::new();
    for (axis, &extent) in y.iter().enumerate().filter(|(_, extent)| **extent != 1) {
        let next: Vec<usize> = all.iter().map(|steps| steps[axis]).collect();
        match axes.last_mut() {
            Some((last, steps)) if steps.iter().zip(&next).all(|(step, next)| *step == next * extent) => {
                (*last, *steps) = (*last * extent, next);
            }
            _ => axes.push((extent, next)),
        }
    }
    if axes.is_empty() { vec![(1, vec![1; shapes.len()])] } else { axes }
}

/// As [`merged_steps`], for two inputs.
pub(super) fn merged_axes(a: &Shape, b: &Shape, y: &Shape) -> Vec<Axis> {
    let axes = merged_steps(&[a, b], y).into_iter();
    axes.map(|(extent, steps)| Axis { extent, a: steps[0], b: steps[1] }).collect()
}

/// One of `a` and `b` may be empty if it has the shape of `y`: it is in `y`.
pub(super) fn binary(cpu: &Cpu, kind: BinaryKind, a: (&[f32], &Shape), b: (&[f32], &Shape), y: (&mut [f32], &Shape)) {
    struct Whole<'a> {
        cpu: &'a Cpu,
        axes: &'a [Axis],
        a: &'a [f32],
        b: &'a [f32],
        y: &'a mut [f32],
    }
    impl With2 for Whole<'_> {
        fn with(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
            broadcast(self.cpu, self.axes, self.a, self.b, self.y, f);
        }
    }
    let axes = &merged_axes(a.1, b.1, y.1);
    with_binary(kind, Whole { cpu, axes, a: a.0, b: b.0, y: y.0 });
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
