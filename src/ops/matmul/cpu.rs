//! Batched products: packs a group of batches at a time, then computes its tiles.

use super::finish::{Finish, TileBuffer};
use super::kernel::{MAX_ROWS, PANEL, Run, Tile, Tiling, kernel};
use super::pack::{pack_panel, pack_panel_transposed, packed_len, panel_len, transpose};
use super::{MatMul, MatMulSize};
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::Scratch;

/// Packed operands that a group of batches may take, in elements.
const GROUP: usize = 1 << 21;

/// Tasks to aim for.
const TASKS: usize = 24;

/// How the work is cut.
struct Cut {
    tiling: Tiling,
    panels: usize,
    /// Batches packed at a time.
    group: usize,
    /// Elements of the packed operands of one batch; none of `a` if it is read in place.
    a_len: usize,
    b_len: usize,
}

impl Cut {
    fn new(cpu: &Cpu, op: &MatMul, size: MatMulSize) -> Self {
        let panels = size.n.div_ceil(PANEL);
        let a_len = if op.transpose_a { 0 } else { size.m * size.k };
        let b_len = packed_len(size.k, size.n);
        let group = (GROUP / (a_len + b_len).max(1)).clamp(1, size.batch.max(1));
        Self { tiling: Tiling::new(cpu.isa(), size.m, panels), panels, group, a_len, b_len }
    }
}

pub(super) fn scratch_bytes(cpu: &Cpu, op: &MatMul, size: MatMulSize) -> usize {
    let cut = Cut::new(cpu, op, size);
    Scratch::bytes::<f32>(cut.group * cut.a_len) + Scratch::bytes::<f32>(cut.group * cut.b_len)
}

pub(super) fn matmul(
    cpu: &Cpu,
    op: &MatMul,
    size: MatMulSize,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    scratch: &mut [u8],
) {
    let MatMulSize { batch, m, n, k } = size;
    if c.is_empty() {
        return;
    }
    let (isa, cut) = (cpu.isa(), Cut::new(cpu, op, size));
    let mut scratch = Scratch::new(scratch);
    let a_packed = scratch.take::<f32>(cut.group * cut.a_len);
    let b_packed = scratch.take::<f32>(cut.group * cut.b_len);
    let tiles = cut.tiling.tiles;
    let groups_of_panels = cut.panels.div_ceil(cut.tiling.panels);
    for first in (0..batch).step_by(cut.group) {
        let batches = cut.group.min(batch - first);
        let (a, b) = (&a[first * m * k..], &b[first * k * n..]);
        cpu.parallel_chunks(&mut b_packed[..batches * cut.b_len], panel_len(k), |task, to| {
            let (b, column) = (&b[task / cut.panels * k * n..][..k * n], task % cut.panels * PANEL);
            if op.transpose_b {
                pack_panel_transposed(isa, b, k, k, n, column, to);
            } else {
                pack_panel(b, n, k, n, column, to);
            }
        });
        if cut.a_len > 0 {
            let to = SendPtr(a_packed.as_mut_ptr());
            cpu.parallel(batches * tiles, |task, _| {
                let (i, (row, rows)) = (task / tiles, cut.tiling.tile(task % tiles));
                let from = &a[(i * m + row) * k..][..rows * k];
                // SAFETY: tiles are disjoint parts of the packed operand.
                unsafe {
                    let to = to.get().add((i * m + row) * k);
                    transpose(isa, rows, k, |row| from.as_ptr().add(row * k), to, rows);
                }
            });
        }
        let (a_packed, b_packed) = (&*a_packed, &*b_packed);
        let c = SendPtr(c[first * m * n..].as_mut_ptr());
        let finish = Finish::plain(n);
        // Where columns and batches are few, rows are split too.
        let splits = TASKS.div_ceil(batches * groups_of_panels).min(tiles);
        cpu.parallel(batches * groups_of_panels * splits, |task, _| {
            let (split, task) = (task % splits, task / splits);
            let (i, panel) = (task / groups_of_panels, task % groups_of_panels * cut.tiling.panels);
            let count = cut.tiling.panels.min(cut.panels - panel);
            let mut buffer = TileBuffer::new();
            let runs = [Run { a: 0, b: 0, len: k }];
            for index in split * tiles / splits..(split + 1) * tiles / splits {
                let (row, rows) = cut.tiling.tile(index);
                let (a, a_step) = match op.transpose_a {
                    true => (a[i * m * k + row..].as_ptr(), m),
                    false => (a_packed[(i * m + row) * k..].as_ptr(), rows),
                };
                let tile = Tile {
                    runs: &runs,
                    a,
                    a_step,
                    b: b_packed[i * cut.b_len + panel * panel_len(k)..].as_ptr(),
                    b_step: PANEL,
                    b_panel: panel_len(k),
                    c: buffer.0.as_mut_ptr(),
                    c_row: TileBuffer::ROW,
                    c_panel: PANEL,
                    accumulate: false,
                };
                let offsets: [usize; MAX_ROWS] = std::array::from_fn(|j| (i * m + row + j) * n);
                // SAFETY: operands are as large as the extents say; tasks write disjoint columns or batches.
                unsafe {
                    kernel(isa, rows, count)(&tile);
                    finish.write(isa, &buffer, c.get(), &offsets[..rows], panel, count);
                }
            }
        });
    }
}
