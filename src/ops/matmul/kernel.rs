//! The one inner kernel of every product and convolution: a register tile.
//!
//! `c[i, j] = sum over k of a[k, i] * b[k, j]` for `rows` values of i and `16 panels` values of j, the sum running over any
//! number of [`Run`]s. Both operands are read k-major: a tile's `rows` values of `a` are adjacent, so that each is one
//! broadcast from a fixed displacement, and sixteen values of `b` are adjacent. The tile stays in registers for the whole
//! sum.
//!
//! With AVX-512, up to 28 of the 32 registers hold the tile: 28 x 1, 14 x 2, 9 x 3 or 6 x 4 (rows x panels).

use crate::device::cpu::Isa;
use crate::device::cpu::simd::{LANES, Portable, Simd};

/// Columns of a panel: lanes of a vector.
pub const PANEL: usize = LANES;
/// Most panels of a tile.
pub const MAX_PANELS: usize = 4;
/// Most rows of a tile.
pub const MAX_ROWS: usize = 28;

/// A stretch of the sum with constant steps through both operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Run {
    /// Where it begins, in elements from the tile's `a`.
    pub a: usize,
    /// Where it begins, in elements from the tile's `b`.
    pub b: usize,
    /// Number of terms.
    pub len: usize,
}

/// One call of the kernel.
pub struct Tile<'a> {
    /// The sum's stretches.
    pub runs: &'a [Run],
    /// First operand.
    pub a: *const f32,
    /// Elements between consecutive k in `a`.
    pub a_step: usize,
    /// Second operand.
    pub b: *const f32,
    /// Elements between consecutive k in `b`.
    pub b_step: usize,
    /// Elements between panels of `b`.
    pub b_panel: usize,
    /// The result: row i, panel p at `c + i * c_row + p * c_panel`, sixteen values each.
    pub c: *mut f32,
    /// Elements between rows of `c`.
    pub c_row: usize,
    /// Elements between panels of `c`.
    pub c_panel: usize,
    /// Whether to add to what `c` holds.
    pub accumulate: bool,
}

/// The kernel for one shape of tile. Safety: the tile's pointers must be valid for all that its fields describe.
pub type TileFn = unsafe fn(&Tile<'_>);

#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const PANELS: usize>(t: &Tile<'_>) {
    // SAFETY: the caller vouches for the pointers and for the instruction set.
    unsafe {
        let mut sum = [[S::splat(0.0); PANELS]; ROWS];
        if t.accumulate {
            for (i, sum) in sum.iter_mut().enumerate() {
                for (p, sum) in sum.iter_mut().enumerate() {
                    *sum = S::load(t.c.add(i * t.c_row + p * t.c_panel));
                }
            }
        }
        for run in t.runs {
            let (mut a, mut b) = (t.a.add(run.a), t.b.add(run.b));
            for _ in 0..run.len {
                let mut columns = [S::splat(0.0); PANELS];
                for (p, columns) in columns.iter_mut().enumerate() {
                    *columns = S::load(b.add(p * t.b_panel));
                }
                for (i, sum) in sum.iter_mut().enumerate() {
                    let a = S::splat(*a.add(i));
                    for (sum, columns) in sum.iter_mut().zip(columns) {
                        *sum = S::mul_add(a, columns, *sum);
                    }
                }
                // Wrapping: the step past the last term may leave the buffer.
                a = a.wrapping_add(t.a_step);
                b = b.wrapping_add(t.b_step);
            }
        }
        for (i, sum) in sum.iter().enumerate() {
            for (p, sum) in sum.iter().enumerate() {
                S::store(t.c.add(i * t.c_row + p * t.c_panel), *sum);
            }
        }
    }
}

unsafe fn portable<const ROWS: usize, const PANELS: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's contract.
    unsafe { tile::<Portable, ROWS, PANELS>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const ROWS: usize, const PANELS: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's contract.
    unsafe { tile::<crate::device::cpu::simd::Avx2, ROWS, PANELS>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512<const ROWS: usize, const PANELS: usize>(t: &Tile<'_>) {
    // SAFETY: the caller's contract.
    unsafe { tile::<crate::device::cpu::simd::Avx512, ROWS, PANELS>(t) }
}

macro_rules! kernels {
    ($function:ident, $panels:literal: $($rows:literal)*) => { &[$($function::<$rows, $panels> as TileFn),*] };
}

const PORTABLE: &[&[TileFn]] = &[kernels!(portable, 1: 1 2 3), kernels!(portable, 2: 1)];
#[cfg(target_arch = "x86_64")]
const AVX2: &[&[TileFn]] = &[kernels!(avx2, 1: 1 2 3 4 5 6), kernels!(avx2, 2: 1 2)];
#[cfg(target_arch = "x86_64")]
const AVX512: &[&[TileFn]] = &[
    kernels!(avx512, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28),
    kernels!(avx512, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    kernels!(avx512, 3: 1 2 3 4 5 6 7 8 9),
    kernels!(avx512, 4: 1 2 3 4 5 6),
];

fn table(isa: Isa) -> &'static [&'static [TileFn]] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => AVX512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => AVX2,
        _ => PORTABLE,
    }
}

/// Most rows of a tile with that many panels; zero if there is no such tile.
pub fn max_rows(isa: Isa, panels: usize) -> usize {
    table(isa).get(panels.wrapping_sub(1)).map_or(0, |kernels| kernels.len())
}

/// The kernel for a tile of `rows` (1 to [`max_rows`]) and `panels`.
pub fn kernel(isa: Isa, rows: usize, panels: usize) -> TileFn {
    table(isa)[panels - 1][rows - 1]
}

/// How to cut `rows` x `panels` into tiles: panels per tile, and rows per tile at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Panels of a tile; the last group of panels may have fewer.
    pub panels: usize,
    /// Tiles along the rows; all have `rows / tiles` rows or one more.
    pub tiles: usize,
    /// Rows to cut.
    pub rows: usize,
}

impl Tiling {
    /// The cheapest cut.
    pub fn new(isa: Isa, rows: usize, panels: usize) -> Self {
        let (rows, panels) = (rows.max(1), panels.max(1));
        let candidates = (1..=MAX_PANELS.min(panels)).filter(|p| max_rows(isa, *p) > 0);
        let cuts = candidates.map(|panels| Self::with_panels(isa, rows, panels));
        let best = cuts.min_by(|a, b| a.cycles(isa, panels).total_cmp(&b.cycles(isa, panels)));
        best.unwrap_or(Self::with_panels(isa, rows, 1))
    }

    /// A cut with that many panels per tile, for which there must be kernels.
    pub fn with_panels(isa: Isa, rows: usize, panels: usize) -> Self {
        Self { panels, tiles: rows.div_ceil(max_rows(isa, panels)).max(1), rows }
    }

    /// Cycles per term of the sum, roughly: multiply-adds, loads and the latency of a short chain compete.
    pub fn cycles(&self, isa: Isa, panels: usize) -> f64 {
        // A panel is one register at one multiply-add a cycle, or two at two.
        let registers = if isa == Isa::Portable { 4.0 } else { 1.0 };
        let tile = |rows: usize, panels: usize| -> f64 {
            let (rows, panels) = (rows as f64, panels as f64);
            (rows * panels * registers).max(rows * 0.9 + panels).max(4.0) + 0.3
        };
        let (short, extra) = (self.rows / self.tiles, self.rows % self.tiles);
        let column = |panels: usize| {
            let long = if extra > 0 { extra as f64 * tile(short + 1, panels) } else { 0.0 };
            (self.tiles - extra) as f64 * tile(short, panels) + long
        };
        let (groups, rest) = (panels / self.panels, panels % self.panels);
        groups as f64 * column(self.panels) + if rest > 0 { column(rest) } else { 0.0 }
    }

    /// First row and number of rows of tile `index`.
    pub fn tile(&self, index: usize) -> (usize, usize) {
        let (short, extra) = (self.rows / self.tiles, self.rows % self.tiles);
        (index * short + index.min(extra), short + (index < extra) as usize)
    }

    /// Rows of the largest tile.
    pub fn max_rows(&self) -> usize {
        self.rows.div_ceil(self.tiles)
    }
}
