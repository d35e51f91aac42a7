//! A matrix product for one thread, for bodies that call it from inside a parallel task.

use std::ops::Range;

use super::finish::{Finish, TileBuffer};
use super::kernel::{MAX_ROWS, Run, Tile, Tiling, kernel};
use super::pack::{pack_panel, pack_panel_transposed, panel_len, transpose};
use crate::device::cpu::Isa;

pub use super::kernel::PANEL;
pub use super::pack::packed_len;

/// Packs the second operand, `[k, n]` or, transposed, `[n, k]`, with rows `ldb` apart, into `packed`, which has
/// [`packed_len`] elements.
pub fn pack_b(isa: Isa, b: &[f32], ldb: usize, transposed: bool, k: usize, n: usize, packed: &mut [f32]) {
    for (panel, to) in packed.chunks_exact_mut(panel_len(k)).take(n.div_ceil(PANEL)).enumerate() {
        if transposed {
            pack_panel_transposed(isa, b, ldb, k, n, panel * PANEL, to);
        } else {
            pack_panel(b, ldb, k, n, panel * PANEL, to);
        }
    }
}

/// Scratch that [`run`] needs, in elements.
pub const fn scratch_len(m: usize, k: usize) -> usize {
    if m == 1 { 0 } else { (if m < MAX_ROWS { m } else { MAX_ROWS }) * k }
}

/// Extents of a product and the part of it to compute.
#[derive(Clone, Debug)]
pub struct Gemm {
    /// Rows.
    pub m: usize,
    /// Length of the sums.
    pub k: usize,
    /// Columns of the whole product.
    pub n: usize,
    /// Panels of sixteen columns to compute: all are `0..n.div_ceil(16)`.
    pub panels: Range<usize>,
    /// Whether to add to what `c` holds.
    pub accumulate: bool,
}

/// `c (+)= a b` for the columns of `gemm.panels`: `a [m, k]` with rows `lda` apart, `packed` from [`pack_b`], `c [m, n]` with
/// rows `ldc` apart; `scratch` has [`scratch_len`] elements. Panics if an operand is too small. The sums run over k in
/// order, so the bits do not depend on how panels are spread over tasks.
#[allow(clippy::too_many_arguments, reason = "operands, extents and what is fused: all of them are needed")]
pub fn run(
    isa: Isa,
    gemm: &Gemm,
    a: &[f32],
    lda: usize,
    packed: &[f32],
    c: &mut [f32],
    ldc: usize,
    scratch: &mut [f32],
) {
    let Gemm { m, k, n, ref panels, .. } = *gemm;
    if m == 0 || panels.is_empty() {
        return;
    }
    let fits = a.len() >= (m - 1) * lda + k && c.len() >= (m - 1) * ldc + n && panels.end <= n.div_ceil(PANEL);
    assert!(fits && packed.len() >= packed_len(k, n) && scratch.len() >= scratch_len(m, k), "gemm: operand too small");
    // SAFETY: the operands hold what the extents say: asserted above.
    unsafe { run_raw(isa, gemm, a.as_ptr(), lda, packed.as_ptr(), c.as_mut_ptr(), ldc, scratch.as_mut_ptr()) }
}

/// Safety: the operands must be as large as [`run`] asserts.
#[allow(clippy::too_many_arguments, reason = "operands and extents: all of them are needed")]
unsafe fn run_raw(
    isa: Isa,
    gemm: &Gemm,
    a: *const f32,
    lda: usize,
    packed: *const f32,
    c: *mut f32,
    ldc: usize,
    scratch: *mut f32,
) {
    let Gemm { m, k, n, ref panels, accumulate } = *gemm;
    let tiling = Tiling::new(isa, m, panels.len());
    let finish = Finish::plain(n);
    let runs = [Run { a: 0, b: 0, len: k }];
    let mut buffer = TileBuffer::new();
    for index in 0..tiling.tiles {
        let (first_row, rows) = tiling.tile(index);
        // SAFETY: the caller's contract bounds all that is touched.
        unsafe {
            let a = a.add(first_row * lda);
            let (a, a_step) = if rows == 1 {
                (a, 1)
            } else {
                transpose(isa, rows, k, |row| a.add(row * lda), scratch, rows);
                (scratch.cast_const(), rows)
            };
            let mut panel = panels.start;
            while panel < panels.end {
                let count = tiling.panels.min(panels.end - panel);
                let b = packed.add(panel * panel_len(k));
                let mut tile = Tile {
                    runs: &runs,
                    a,
                    a_step,
                    b,
                    b_step: PANEL,
                    b_panel: panel_len(k),
                    c: c.add(first_row * ldc + panel * PANEL),
                    c_row: ldc,
                    c_panel: PANEL,
                    accumulate,
                };
                let kernel = kernel(isa, rows, count);
                if (panel + count) * PANEL <= n {
                    kernel(&tile);
                } else {
                    let (c, offsets) = (c.add(first_row * ldc), std::array::from_fn::<usize, MAX_ROWS, _>(|i| i * ldc));
                    if accumulate {
                        load(&mut buffer, c, &offsets[..rows], panel, count, n);
                    }
                    (tile.c, tile.c_row, tile.c_panel) = (buffer.0.as_mut_ptr(), TileBuffer::ROW, PANEL);
                    kernel(&tile);
                    finish.write(isa, &buffer, c, &offsets[..rows], panel, count);
                }
                panel += count;
            }
        }
    }
}

unsafe fn load(buffer: &mut TileBuffer, c: *const f32, rows: &[usize], panel: usize, panels: usize, n: usize) {
    let first = panel * PANEL;
    let count = (panels * PANEL).min(n - first);
    for (to, row) in buffer.0.chunks_exact_mut(TileBuffer::ROW).zip(rows) {
        // SAFETY: the caller's contract: the row has n columns.
        to[..count].copy_from_slice(unsafe { std::slice::from_raw_parts(c.add(row + first), count) });
    }
}
