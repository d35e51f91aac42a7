//! CPU bodies of the ops that move values. Elements are moved as 32-bit words.

use super::Slice;
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Elements of one task.
const CHUNK: usize = 16 * 1024;
/// Side of the square that a transposition reads and writes at a time: 16 words are a cache line.
const TILE: usize = 16;

/// Rows of `len` elements, grouped into tasks; `body(row, row's elements)`. A row of no elements is left out.
fn for_rows<T: Send>(cpu: &Cpu, to: &mut [T], len: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    if len == 0 {
        return;
    }
    let rows = (CHUNK / len).max(1);
    cpu.parallel_chunks(to, rows * len, |task, to| {
        for (i, row) in to.chunks_exact_mut(len).enumerate() {
            body(task * rows + i, row);
        }
    });
}

/// Copies `x [before, len, after]` into entries `start..start + len` of the middle axis of `to`, whose extents are
/// `whole`.
pub(super) fn insert(cpu: &Cpu, x: &[u32], to: &mut [u32], whole: (usize, usize, usize), start: usize, len: usize) {
    let (before, extent, after) = whole;
    let run = len * after;
    if run == 0 {
        return;
    }
    let out = SendPtr(to.as_mut_ptr());
    let rows = (CHUNK / run).max(1);
    cpu.parallel(before.div_ceil(rows), |task, _| {
        for row in task * rows..before.min((task + 1) * rows) {
            // SAFETY: each row's run is its own.
            let to = unsafe { std::slice::from_raw_parts_mut(out.get().add((row * extent + start) * after), run) };
            to.copy_from_slice(&x[row * run..][..run]);
        }
    });
}

/// Takes the entries of `slice` from the middle axis of `x [before, extent, after]`.
pub(super) fn extract(cpu: &Cpu, x: &[u32], to: &mut [u32], whole: (usize, usize, usize), slice: Slice) {
    let (_, extent, after) = whole;
    if slice.step == 1 {
        let run = slice.len * after;
        return for_rows(cpu, to, run, |row, to| {
            to.copy_from_slice(&x[(row * extent + slice.start) * after..][..run]);
        });
    }
    for_rows(cpu, to, slice.len * after, |row, to| {
        let x = &x[row * extent * after..][..extent * after];
        for (i, to) in to.chunks_exact_mut(after).enumerate() {
            to.copy_from_slice(&x[(slice.start + i * slice.step) * after..][..after]);
        }
    });
}

/// The reverse of [`extract`]: zero where nothing was taken.
pub(super) fn spread(cpu: &Cpu, dy: &[f32], to: &mut [f32], whole: (usize, usize, usize), slice: Slice) {
    let (_, extent, after) = whole;
    for_rows(cpu, to, extent * after, |row, to| {
        to.fill(0.0);
        let dy = &dy[row * slice.len * after..][..slice.len * after];
        for (i, dy) in dy.chunks_exact(after).enumerate() {
            to[(slice.start + i * slice.step) * after..][..after].copy_from_slice(dy);
        }
    });
}

/// (extent, step in x) of the axes of `x` reordered, those of extent 1 left out, neighbours that stay neighbours merged.
pub(super) fn merged_permutation(shape: &Shape, permutation: &[usize]) -> Vec<(usize, usize)> {
    let strides = shape.strides();
    let mut axes: Vec<(usize, usize)> = Vec::new();
    for &axis in permutation.iter().filter(|axis| shape[**axis] != 1) {
        let (extent, step) = (shape[axis], strides[axis]);
        match axes.last_mut() {
            Some(last) if last.1 == step * extent => *last = (last.0 * extent, step),
            _ => axes.push((extent, step)),
        }
    }
    axes
}

/// Reorders axes. The last axis either stays last (runs are copied) or goes elsewhere (squares are transposed).
pub(super) fn transpose(cpu: &Cpu, x: &[u32], shape: &Shape, permutation: &[usize], to: &mut [u32]) {
    let mut axes = merged_permutation(shape, permutation);
    if to.is_empty() {
        return;
    }
    let (run, run_step) = axes.pop().unwrap_or((1, 1));
    let start_of = |row: usize, axes: &[(usize, usize)]| {
        let mut rest = row;
        axes.iter().rev().fold(0, |at, (extent, step)| {
            let index = rest % extent;
            rest /= extent;
            at + index * step
        })
    };
    if run_step == 1 {
        return for_rows(cpu, to, run, |row, to| to.copy_from_slice(&x[start_of(row, &axes)..][..run]));
    }
    // The axis along which x is contiguous is one of the others; squares are cut from it and the result's last axis.
    let Some(contiguous) = axes.iter().position(|(_, step)| *step == 1) else { return };
    let (columns, _) = axes[contiguous];
    let above: usize = axes[..contiguous].iter().map(|axis| axis.0).product();
    let below: usize = axes[contiguous + 1..].iter().map(|axis| axis.0).product();
    let column_step = below * run;
    let tiles = columns.div_ceil(TILE);
    let out = SendPtr(to.as_mut_ptr());
    let tasks_per_plane = tiles.div_ceil((CHUNK / (TILE * run)).max(1));
    let tiles_per_task = tiles.div_ceil(tasks_per_plane);
    cpu.parallel(above * below * tasks_per_plane, |task, _| {
        let (plane, part) = (task / tasks_per_plane, task % tasks_per_plane);
        let (i, j) = (plane / below, plane % below);
        let from = start_of(i, &axes[..contiguous]) + start_of(j, &axes[contiguous + 1..]);
        let base = i * columns * column_step + j * run;
        for tile in part * tiles_per_task..tiles.min((part + 1) * tiles_per_task) {
            let column = tile * TILE;
            let width = TILE.min(columns - column);
            for start in (0..run).step_by(TILE) {
                for k in column..column + width {
                    let len = TILE.min(run - start);
                    // SAFETY: the result's element (i, k, j, start..) is written by this task alone.
                    let to =
                        unsafe { std::slice::from_raw_parts_mut(out.get().add(base + k * column_step + start), len) };
                    for (r, to) in to.iter_mut().enumerate() {
                        *to = x[from + k + (start + r) * run_step];
                    }
                }
            }
        }
    });
}

/// Surrounds `x` with `value`.
pub(super) fn pad(
    cpu: &Cpu,
    x: &[u32],
    shape: &Shape,
    to: &mut [u32],
    to_shape: &Shape,
    padding: &[[usize; 2]],
    value: u32,
) {
    let Some((&[before, _], outer)) = padding.split_last() else { return to.copy_from_slice(x) };
    let len = shape.last();
    for_rows(cpu, to, to_shape.last(), |row, to| {
        let (mut rest, mut from, mut stride, mut inside) = (row, 0, len, true);
        for (axis, [before, _]) in outer.iter().enumerate().rev() {
            let index = rest % to_shape[axis];
            rest /= to_shape[axis];
            inside &= index >= *before && index < before + shape[axis];
            from += index.saturating_sub(*before) * stride;
            stride *= shape[axis];
        }
        to.fill(value);
        if inside {
            to[before..before + len].copy_from_slice(&x[from..from + len]);
        }
    });
}

/// Two rows of the result from one of `x`, each pixel of `c` values twice.
pub(super) fn upsample(cpu: &Cpu, x: &[f32], y: &mut [f32], w: usize, c: usize) {
    for_rows(cpu, y, 4 * w * c, |row, y| {
        let (first, second) = y.split_at_mut(2 * w * c);
        let x = &x[row * w * c..][..w * c];
        for (y, x) in first.chunks_exact_mut(2 * c).zip(x.chunks_exact(c)) {
            y[..c].copy_from_slice(x);
            y[c..].copy_from_slice(x);
        }
        second.copy_from_slice(first);
    });
}

per_isa! {
    fn sum_pairs[](top: &[f32], bottom: &[f32], dx: &mut [f32], c: usize) {
        for ((dx, top), bottom) in dx.chunks_exact_mut(c).zip(top.chunks_exact(2 * c)).zip(bottom.chunks_exact(2 * c)) {
            let ((a, b), (d, e)) = (top.split_at(c), bottom.split_at(c));
            for i in 0..c {
                dx[i] = (a[i] + b[i]) + (d[i] + e[i]);
            }
        }
    }
}

pub(super) fn upsample_grad(cpu: &Cpu, dy: &[f32], dx: &mut [f32], w: usize, c: usize) {
    for_rows(cpu, dx, w * c, |row, dx| {
        let (top, bottom) = dy[4 * row * w * c..][..4 * w * c].split_at(2 * w * c);
        sum_pairs(cpu.isa(), top, bottom, dx, c);
    });
}

pub(super) fn gather_rows(cpu: &Cpu, x: &[u32], rows: usize, indices: &[i32], to: &mut [u32]) {
    let len = to.len() / indices.len().max(1);
    for_rows(cpu, to, len, |i, to| match usize::try_from(indices[i]) {
        Ok(row) if row < rows => to.copy_from_slice(&x[row * len..][..len]),
        _ => to.fill(0),
    });
}

/// Every task owns a band of columns and goes through all indices in order.
pub(super) fn gather_rows_grad(cpu: &Cpu, dy: &[f32], indices: &[i32], dx: &mut [f32], rows: usize) {
    let len = dx.len() / rows.max(1);
    let band = (CHUNK / rows.max(1)).clamp(64, 4096);
    let out = SendPtr(dx.as_mut_ptr());
    cpu.parallel(len.div_ceil(band), |task, _| {
        let (start, width) = (task * band, band.min(len - task * band));
        // SAFETY: a task touches its own columns of every row only.
        let run = |row: usize| unsafe { std::slice::from_raw_parts_mut(out.get().add(row * len + start), width) };
        (0..rows).for_each(|row| run(row).fill(0.0));
        for (i, &index) in indices.iter().enumerate() {
            if let Some(row) = usize::try_from(index).ok().filter(|row| *row < rows) {
                run(row).iter_mut().zip(&dy[i * len + start..]).for_each(|(to, dy)| *to += *dy);
            }
        }
    });
}
