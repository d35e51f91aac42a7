//! Rearranging operands into what the kernel reads: k-major, tile rows or panel columns adjacent.

use super::kernel::PANEL;
use crate::device::cpu::Isa;
use crate::device::cpu::simd::{LANES, Portable, Simd};

/// Elements of one panel of a packed second operand with `k` terms. A few more than needed: panels whose distance is a
/// multiple of 4 KiB would fall on the same lines of the first cache.
pub const fn panel_len(k: usize) -> usize {
    (k + 1) * PANEL
}

/// Elements of a packed second operand with `k` terms and `n` columns.
pub const fn packed_len(k: usize, n: usize) -> usize {
    n.div_ceil(PANEL) * panel_len(k)
}

/// Distance between k's for `rows` adjacent values that keeps them apart in the cache.
pub const fn padded_pitch(rows: usize) -> usize {
    if rows.is_multiple_of(64) { rows + LANES } else { rows }
}

/// `to[column * pitch + row] = from(row)[column]` for `rows` x `columns`; a null pointer stands for a row of zeros.
///
/// # Safety
/// Pointers must be valid for `columns` values, `to` for the last index written.
pub unsafe fn transpose(
    isa: Isa,
    rows: usize,
    columns: usize,
    from: impl Fn(usize) -> *const f32,
    to: *mut f32,
    pitch: usize,
) {
    let mut group = [std::ptr::null(); LANES];
    for first in (0..rows).step_by(LANES) {
        let count = LANES.min(rows - first);
        for (i, pointer) in group[..count].iter_mut().enumerate() {
            *pointer = from(first + i);
        }
        // SAFETY: the caller's contract; `isa` is present.
        unsafe {
            let (group, to) = (&group[..count], to.add(first));
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 if columns > 3 => avx512(group, columns, to, pitch),
                _ => strip::<Portable>(group, columns, to, pitch),
            }
        }
    }
}

#[inline(always)]
unsafe fn strip<S: Simd>(rows: &[*const f32], columns: usize, to: *mut f32, pitch: usize) {
    let mut here = [std::ptr::null(); LANES];
    for first in (0..columns).step_by(LANES) {
        for (here, row) in here.iter_mut().zip(rows) {
            *here = if row.is_null() { *row } else { row.wrapping_add(first) };
        }
        // SAFETY: the caller's contract.
        unsafe { S::transpose(&here[..rows.len()], LANES.min(columns - first), to.add(first * pitch), pitch) };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(rows: &[*const f32], columns: usize, to: *mut f32, pitch: usize) {
    // SAFETY: the caller's contract.
    unsafe { strip::<crate::device::cpu::simd::Avx512>(rows, columns, to, pitch) }
}

/// One panel of a second operand stored `[k, n]` with rows `ldb` apart: columns `first..first + 16`, zeros beyond `n`.
pub fn pack_panel(b: &[f32], ldb: usize, k: usize, n: usize, first: usize, to: &mut [f32]) {
    let count = PANEL.min(n - first);
    for (row, to) in to.chunks_exact_mut(PANEL).take(k).enumerate() {
        let from = &b[row * ldb + first..][..count];
        if count == PANEL {
            to.copy_from_slice(from);
        } else {
            to[..count].copy_from_slice(from);
            to[count..].fill(0.0);
        }
    }
}

/// One panel of a second operand stored transposed, `[n, k]` with rows `ldb` apart.
pub fn pack_panel_transposed(isa: Isa, b: &[f32], ldb: usize, k: usize, n: usize, first: usize, to: &mut [f32]) {
    let count = PANEL.min(n - first);
    assert!(to.len() >= k * PANEL && (first + count - 1) * ldb + k <= b.len(), "operand or panel is too small");
    let row = |i: usize| if i < count { b[(first + i) * ldb..].as_ptr() } else { std::ptr::null() };
    // SAFETY: rows lie inside `b`, the last write is `to[k * 16 - 1]`: asserted above.
    unsafe { transpose(isa, PANEL, k, row, to.as_mut_ptr(), PANEL) };
}
