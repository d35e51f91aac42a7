//! Gram matrices, and the products that Lanczos' iteration is made of.

use crate::device::cpu::Isa;
use crate::device::cpu::simd::{LANES, Portable, Simd};
use crate::ops::per_isa::per_isa;

/// Columns are padded to a multiple of this.
pub(super) const PAD: usize = 32;

/// `g [n,n] = a^T a` for `a [rows,n]`, `n` a multiple of [`PAD`]. The tile is what the registers hold.
pub(super) fn gram(isa: Isa, a: &[f32], n: usize, g: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::device::cpu::simd::{Avx2, Avx512};

        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512(a: &[f32], n: usize, g: &mut [f32]) {
            // SAFETY: the instruction set is there, as the caller says.
            unsafe { upper_tiles::<Avx512, 8, 2>(a, n, g) }
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(a: &[f32], n: usize, g: &mut [f32]) {
            // SAFETY: as above.
            unsafe { upper_tiles::<Avx2, 4, 1>(a, n, g) }
        }
        match isa {
            // SAFETY: `Cpu` hands out only instruction sets that `Isa::detect` found.
            Isa::Avx512 => unsafe { avx512(a, n, g) },
            // SAFETY: as above.
            Isa::Avx2 => unsafe { avx2(a, n, g) },
            // SAFETY: arrays work everywhere.
            Isa::Portable => unsafe { upper_tiles::<Portable, 2, 1>(a, n, g) },
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: arrays work everywhere.
    unsafe {
        let _ = isa;
        upper_tiles::<Portable, 2, 1>(a, n, g);
    }
    for i in 0..n {
        for j in i + 1..n {
            g[j * n + i] = g[i * n + j];
        }
    }
}

/// All tiles of `M` rows and `N` vectors that reach the upper triangle; the sums stay in registers, one row of `a` is
/// added at a time.
///
/// # Safety
/// The instruction set of `S` must be present.
#[inline(always)]
unsafe fn upper_tiles<S: Simd, const M: usize, const N: usize>(a: &[f32], n: usize, g: &mut [f32]) {
    let width = N * LANES;
    assert!(n.is_multiple_of(width) && width.is_multiple_of(M) && a.len().is_multiple_of(n) && g.len() == n * n);
    for j in (0..n).step_by(width) {
        for i in (0..j + width).step_by(M) {
            // SAFETY: by the checks above, rows of the tile and of `a` lie inside their slices.
            unsafe {
                let mut tile = [[S::splat(0.0); N]; M];
                let (mut row, end) = (a.as_ptr(), a.as_ptr().add(a.len()));
                while row < end {
                    let mut right = [S::splat(0.0); N];
                    for (k, right) in right.iter_mut().enumerate() {
                        *right = S::load(row.add(j + k * LANES));
                    }
                    for (line, sums) in tile.iter_mut().enumerate() {
                        let left = S::splat(*row.add(i + line));
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = S::mul_add(left, right, *sum);
                        }
                    }
                    row = row.add(n);
                }
                for (line, sums) in tile.iter().enumerate() {
                    for (k, sum) in sums.iter().enumerate() {
                        S::store(g.as_mut_ptr().add((i + line) * n + j + k * LANES), *sum);
                    }
                }
            }
        }
    }
}

per_isa! {
    /// `y = g x`, `g` symmetric `[n,n]`.
    pub(super) fn symmetric_times[](g: &[f32], x: &[f32], y: &mut [f32]) {
        let n = x.len();
        y.fill(0.0);
        for (x, g) in x.chunks_exact(4).zip(g.chunks_exact(4 * n)) {
            let (a, rest) = g.split_at(n);
            let (b, rest) = rest.split_at(n);
            let (c, d) = rest.split_at(n);
            for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *y += (x[0] * a + x[1] * b) + (x[2] * c + x[3] * d);
            }
        }
    }
}

per_isa! {
    /// `x . y`; lengths are multiples of 32.
    pub(super) fn dot[](x: &[f32], y: &[f32]) -> f32 {
        dot_lanes(x, y)
    }
}

#[inline(always)]
pub(super) fn dot_lanes(x: &[f32], y: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0f32; LANES];
    for (x, y) in x.as_chunks::<LANES>().0.iter().zip(y.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

per_isa! {
    /// Takes from `x` its parts along the orthonormal rows of `basis [k,n]`, all measured before any is taken.
    pub(super) fn orthogonalise[](basis: &[f32], x: &mut [f32], parts: &mut [f32]) {
        let n = x.len();
        for (part, row) in parts.iter_mut().zip(basis.chunks_exact(n)) {
            *part = dot_lanes(row, x);
        }
        for (part, row) in parts.iter().zip(basis.chunks_exact(n)) {
            x.iter_mut().zip(row).for_each(|(x, q)| *x -= part * q);
        }
    }
}
