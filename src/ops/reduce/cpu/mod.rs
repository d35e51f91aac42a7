//! CPU bodies of the reductions. Blocks are cut by shape and combined in order, in double precision.

mod softmax;
mod standardise;

pub(super) use softmax::{softmax, softmax_grad};
pub(super) use standardise::{standardise, standardise_grad, standardise_scratch};

use super::ReduceKind;
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Elements of one task, and of one block of a long sum.
const CHUNK: usize = 16 * 1024;
/// Rows added into one another before a block ends: bounds the rounding error.
const MAX_BLOCK_ROWS: usize = 2048;
/// Running sums kept side by side along a contiguous run.
const LANES: usize = 64;

/// How a reduction is cut: a result is a sum over `rows` of contiguous runs of `inner` elements, either added run onto
/// run (`columns`: the last axis stays) or each run to a single value.
#[derive(Debug)]
pub(super) struct Plan {
    /// (extent, stride) of the axes that stay and of those reduced, without the innermost.
    pub(super) kept: Vec<(usize, usize)>,
    pub(super) reduced: Vec<(usize, usize)>,
    pub(super) inner: usize,
    pub(super) columns: bool,
    /// Pieces that long runs are cut into.
    pieces: usize,
    block_rows: usize,
    reduced_len: usize,
}

impl Plan {
    pub(super) fn new(shape: &Shape, axes: &[usize]) -> Self {
        let strides = shape.strides();
        // (extent, stride, reduced), neighbours of one kind merged.
        let mut merged: Vec<(usize, usize, bool)> = Vec::new();
        for (axis, &extent) in shape.iter().enumerate().filter(|(_, extent)| **extent != 1) {
            let reduced = axes.contains(&axis);
            match merged.last_mut() {
                Some(last) if last.2 == reduced => *last = (last.0 * extent, strides[axis], reduced),
                _ => merged.push((extent, strides[axis], reduced)),
            }
        }
        let (inner, _, inner_reduced) = merged.pop().unwrap_or((1, 1, true));
        let of = |kind: bool| merged.iter().filter(|axis| axis.2 == kind).map(|axis| (axis.0, axis.1)).collect();
        let block_rows = (CHUNK / inner.clamp(1, CHUNK)).clamp(1, MAX_BLOCK_ROWS);
        let reduced_len = axes.iter().map(|axis| shape[*axis]).product();
        let pieces = inner.div_ceil(CHUNK);
        Self { kept: of(false), reduced: of(true), inner, columns: !inner_reduced, pieces, block_rows, reduced_len }
    }

    pub(super) fn outer(&self) -> usize {
        self.kept.iter().map(|axis| axis.0).product()
    }

    pub(super) fn rows(&self) -> usize {
        self.reduced.iter().map(|axis| axis.0).product()
    }

    pub(super) fn width(&self) -> usize {
        if self.columns { self.inner } else { 1 }
    }

    /// Partial results of one output row: blocks of rows, and pieces of a run if those are reduced too.
    fn blocks(&self) -> usize {
        self.rows().div_ceil(self.block_rows) * if self.columns { 1 } else { self.pieces }
    }

    pub(super) fn scratch(&self) -> usize {
        if self.blocks() > 1 { self.outer() * self.blocks() * self.width() } else { 0 }
    }

    /// Start and length of piece `piece` of a run.
    fn piece(&self, piece: usize) -> (usize, usize) {
        (piece * CHUNK, CHUNK.min(self.inner - piece * CHUNK))
    }
}

/// Position of entry `index` of the axes `(extent, stride)`.
#[inline(always)]
fn position(index: usize, axes: &[(usize, usize)]) -> usize {
    let mut rest = index;
    axes.iter().rev().fold(0, |at, (extent, stride)| {
        let i = rest % extent;
        rest /= extent;
        at + i * stride
    })
}

trait Fold {
    const IDENTITY: f32;
    fn fold(a: f32, b: f32) -> f32;
    fn fold_wide(a: f64, b: f64) -> f64;
}

struct Sum;
struct Max;

impl Fold for Sum {
    const IDENTITY: f32 = 0.0;
    #[inline(always)]
    fn fold(a: f32, b: f32) -> f32 {
        a + b
    }
    fn fold_wide(a: f64, b: f64) -> f64 {
        a + b
    }
}

impl Fold for Max {
    const IDENTITY: f32 = f32::NEG_INFINITY;
    // Written so that NaN passes through from either side.
    #[inline(always)]
    fn fold(a: f32, b: f32) -> f32 {
        if b > a || b.is_nan() { b } else { a }
    }
    fn fold_wide(a: f64, b: f64) -> f64 {
        if b > a || b.is_nan() { b } else { a }
    }
}

/// Folds a contiguous run to one value, in `LANES` strands.
#[inline(always)]
fn fold_run<F: Fold>(x: &[f32]) -> f32 {
    let mut lanes = [F::IDENTITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = F::fold(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = F::fold(*lane, *x);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = F::fold(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

per_isa! {
    /// Folds the runs `base + position(row) .. + len` of `rows` into `to`: one value, or `len` columns.
    fn fold_rows[F: Fold](
        x: &[f32],
        base: usize,
        rows: std::ops::Range<usize>,
        axes: &[(usize, usize)],
        len: usize,
        to: &mut [f32],
        columns: bool,
        _fold: F,
    ) {
        to.fill(F::IDENTITY);
        for row in rows {
            let x = &x[base + position(row, axes)..][..len];
            if columns {
                for (to, x) in to.iter_mut().zip(x) {
                    *to = F::fold(*to, *x);
                }
            } else {
                to[0] = F::fold(to[0], fold_run::<F>(x));
            }
        }
    }
}

pub(super) fn reduce(cpu: &Cpu, kind: ReduceKind, plan: &Plan, x: &[f32], y: &mut [f32], scratch: &mut [f32]) {
    match kind {
        ReduceKind::Sum => fold(cpu, plan, x, y, scratch, 1.0, || Sum),
        ReduceKind::Mean => fold(cpu, plan, x, y, scratch, 1.0 / plan.reduced_len as f64, || Sum),
        ReduceKind::Max => fold(cpu, plan, x, y, scratch, 1.0, || Max),
    }
}

fn fold<F: Fold>(
    cpu: &Cpu,
    plan: &Plan,
    x: &[f32],
    y: &mut [f32],
    scratch: &mut [f32],
    scale: f64,
    kind: impl Fn() -> F + Sync,
) {
    if x.is_empty() {
        return y.fill(F::IDENTITY);
    }
    let (outer, rows, width, blocks) = (plan.outer(), plan.rows(), plan.width(), plan.blocks());
    let finish = |value: f64| (value * scale) as f32;
    if blocks == 1 {
        let per_task = (CHUNK / (rows * plan.inner)).max(1);
        let column_pieces = if plan.columns { plan.pieces } else { 1 };
        let out = SendPtr(y.as_mut_ptr());
        cpu.parallel(outer.div_ceil(per_task) * column_pieces, |task, _| {
            let (group, piece) = (task / column_pieces, task % column_pieces);
            let (start, len) = plan.piece(piece);
            for o in group * per_task..outer.min((group + 1) * per_task) {
                let (at, n) = if plan.columns { (o * width + start, len) } else { (o, 1) };
                // SAFETY: every (output row, piece) is one task's own.
                let to = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), n) };
                let base = position(o, &plan.kept) + start;
                fold_rows(cpu.isa(), x, base, 0..rows, &plan.reduced, len, to, plan.columns, kind());
                if scale != 1.0 {
                    to.iter_mut().for_each(|to| *to = finish(*to as f64));
                }
            }
        });
        return;
    }
    let row_blocks = rows.div_ceil(plan.block_rows);
    let parts = SendPtr(scratch.as_mut_ptr());
    cpu.parallel(outer * row_blocks * plan.pieces, |task, _| {
        let (o, block, piece) = (task / plan.pieces / row_blocks, task / plan.pieces % row_blocks, task % plan.pieces);
        let (start, len) = plan.piece(piece);
        let range = block * plan.block_rows..rows.min((block + 1) * plan.block_rows);
        let (at, n) = if plan.columns {
            ((o * row_blocks + block) * width + start, len)
        } else {
            ((o * row_blocks + block) * plan.pieces + piece, 1)
        };
        // SAFETY: every (output row, block, piece) is one task's own, inside the scratch that `Plan::scratch` sized.
        let to = unsafe { std::slice::from_raw_parts_mut(parts.get().add(at), n) };
        let base = position(o, &plan.kept) + start;
        fold_rows(cpu.isa(), x, base, range, &plan.reduced, len, to, plan.columns, kind());
    });
    for (o, y) in y.chunks_exact_mut(width).enumerate() {
        let parts = &scratch[o * blocks * width..][..blocks * width];
        for (column, y) in y.iter_mut().enumerate() {
            let parts = parts.iter().skip(column).step_by(width);
            *y = finish(parts.fold(F::IDENTITY as f64, |a, b| F::fold_wide(a, *b as f64)));
        }
    }
}

pub(super) fn reduce_max_grad(cpu: &Cpu, x: &[f32], shape: &Shape, axes: &[usize], dy: &[f32], dx: &mut [f32]) {
    let plan = Plan::new(shape, axes);
    if dx.is_empty() {
        return;
    }
    let (rows, width) = (plan.rows(), plan.width());
    let along = if plan.columns { 1 } else { plan.inner };
    let out = SendPtr(dx.as_mut_ptr());
    cpu.parallel(plan.outer(), |o, _| {
        let base = position(o, &plan.kept);
        for column in 0..width {
            let mut best = (f32::NEG_INFINITY, usize::MAX);
            for row in 0..rows {
                let start = base + position(row, &plan.reduced) + column;
                for at in start..start + along {
                    if x[at] > best.0 || best.1 == usize::MAX {
                        best = (x[at], at);
                    }
                    // SAFETY: every element belongs to one output, and so to one task.
                    unsafe { *out.get().add(at) = 0.0 };
                }
            }
            // SAFETY: as above; `best.1` was set, for no extent is 0.
            unsafe { *out.get().add(best.1) = dy[o * width + column] };
        }
    });
}
