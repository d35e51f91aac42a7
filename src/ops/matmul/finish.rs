//! What happens to a tile when it leaves the registers: bias, residual, ReLU, mask, the last panel's missing columns.

use super::kernel::{MAX_PANELS, MAX_ROWS, PANEL};
use crate::device::cpu::Isa;
use crate::device::cpu::simd::{Portable, Simd};

/// A tile on its way from the kernel to the result.
#[repr(align(64))]
pub struct TileBuffer(pub [f32; MAX_ROWS * MAX_PANELS * PANEL]);

impl TileBuffer {
    /// Elements between rows.
    pub const ROW: usize = MAX_PANELS * PANEL;

    /// An empty one.
    pub fn new() -> Self {
        Self([0.0; MAX_ROWS * MAX_PANELS * PANEL])
    }
}

impl Default for TileBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// A tensor laid out as the result, read where a tile is written.
#[derive(Clone, Copy)]
pub enum Beside<'a> {
    /// There is none.
    Absent,
    /// In memory of its own.
    Apart(&'a [f32]),
    /// In the result's memory, until it is overwritten.
    InPlace,
}

impl<'a> Beside<'a> {
    /// An optional operand of a result of `len` elements; an empty one shares the result's memory.
    pub fn new(operand: Option<&'a [f32]>, len: usize) -> Self {
        match operand {
            None => Self::Absent,
            Some([]) if len > 0 => Self::InPlace,
            Some(values) => Self::Apart(values),
        }
    }

    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn pointer(&self, result: *const f32) -> Option<*const f32> {
        match self {
            Self::Absent => None,
            Self::Apart(values) => Some(values.as_ptr()),
            Self::InPlace => Some(result),
        }
    }
}

/// Where tiles go and what is done on the way: `where_positive(mask, relu?(tile + bias + residual))`.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// What is added.
    pub residual: Beside<'a>,
    /// Whether negative values become zero.
    pub relu: bool,
    /// What must be positive for a value not to become zero.
    pub mask: Beside<'a>,
    /// Columns of the result.
    pub columns: usize,
}

impl Finish<'_> {
    /// Nothing is done on the way to a result of so many columns.
    pub fn plain(columns: usize) -> Self {
        Self { bias: None, residual: Beside::Absent, relu: false, mask: Beside::Absent, columns }
    }

    /// Whether tiles can be written by the kernel itself.
    pub fn is_plain(&self) -> bool {
        let nothing = self.bias.is_none() && self.residual.is_absent() && !self.relu && self.mask.is_absent();
        nothing && self.columns.is_multiple_of(PANEL)
    }

    /// Writes `rows.len()` rows of `panels` panels, beginning at panel `first`; row i goes to `y + rows[i]`.
    ///
    /// # Safety
    /// `y + rows[i]` must be valid for a whole row of the result, and nobody else may touch the tile's part of it.
    pub unsafe fn write(&self, isa: Isa, tile: &TileBuffer, y: *mut f32, rows: &[usize], first: usize, panels: usize) {
        // SAFETY: the caller's contract; `isa` is present.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512(self, tile, y, rows, first, panels),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2(self, tile, y, rows, first, panels),
                _ => write::<Portable>(self, tile, y, rows, first, panels),
            }
        }
    }
}

#[inline(always)]
unsafe fn write<S: Simd>(f: &Finish<'_>, tile: &TileBuffer, y: *mut f32, rows: &[usize], first: usize, panels: usize) {
    let (residual, mask) = (f.residual.pointer(y), f.mask.pointer(y));
    for panel in 0..panels {
        let column = (first + panel) * PANEL;
        let count = PANEL.min(f.columns - column);
        // SAFETY: the caller's contract; `count` keeps loads and stores inside the row.
        unsafe {
            let zero = S::splat(0.0);
            let bias = f.bias.map_or(zero, |bias| S::load_first(bias.as_ptr().add(column), count));
            for (i, row) in rows.iter().enumerate() {
                let mut value = S::load(tile.0.as_ptr().add(i * TileBuffer::ROW + panel * PANEL));
                value = S::add(value, bias);
                if let Some(residual) = residual {
                    value = S::add(value, S::load_first(residual.add(row + column), count));
                }
                if f.relu {
                    value = S::max(value, zero);
                }
                if let Some(mask) = mask {
                    value = S::where_positive(S::load_first(mask.add(row + column), count), value);
                }
                let to = y.add(row + column);
                if count == PANEL { S::store(to, value) } else { S::store_first(to, value, count) }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(f: &Finish<'_>, tile: &TileBuffer, y: *mut f32, rows: &[usize], first: usize, panels: usize) {
    // SAFETY: the caller's contract.
    unsafe { write::<crate::device::cpu::simd::Avx2>(f, tile, y, rows, first, panels) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(f: &Finish<'_>, tile: &TileBuffer, y: *mut f32, rows: &[usize], first: usize, panels: usize) {
    // SAFETY: the caller's contract.
    unsafe { write::<crate::device::cpu::simd::Avx512>(f, tile, y, rows, first, panels) }
}
