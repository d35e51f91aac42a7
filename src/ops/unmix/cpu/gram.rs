//! Gram matrices.

use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;

/// Columns are padded to a multiple of this.
pub(super) const PAD: usize = 32;

/// `g [n,n] = a^T a` for `a [rows,n]`, `n` a multiple of [`PAD`]. The tile is what the registers hold.
pub(super) fn gram(isa: Isa, a: &[f32], n: usize, g: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512(a: &[f32], n: usize, g: &mut [f32]) {
            gram_tiles::<8, 32, true>(a, n, g);
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(a: &[f32], n: usize, g: &mut [f32]) {
            gram_tiles::<4, 16, true>(a, n, g);
        }
        match isa {
            // SAFETY: `Cpu` hands out only instruction sets that `Isa::detect` found.
            Isa::Avx512 => return unsafe { avx512(a, n, g) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(a, n, g) },
            Isa::Portable => {}
        }
    }
    let _ = isa;
    gram_tiles::<4, 8, false>(a, n, g);
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Tiles of `M x N` results in registers, one row of `a` added at a time; the upper triangle is computed and mirrored.
#[inline(always)]
fn gram_tiles<const M: usize, const N: usize, const FUSED: bool>(a: &[f32], n: usize, g: &mut [f32]) {
    for j in (0..n).step_by(N) {
        for i in (0..j + N).step_by(M) {
            let mut tile = [[0.0f32; N]; M];
            for row in a.chunks_exact(n) {
                let right: &[f32; N] = row[j..].first_chunk().expect("n is a multiple of the tile");
                let left: &[f32; M] = row[i..].first_chunk().expect("n is a multiple of the tile");
                for (tile, left) in tile.iter_mut().zip(left) {
                    for (sum, right) in tile.iter_mut().zip(right) {
                        *sum = multiply_add::<FUSED>(*left, *right, *sum);
                    }
                }
            }
            for (line, tile) in tile.iter().enumerate() {
                g[(i + line) * n + j..][..N].copy_from_slice(tile);
            }
        }
    }
    for i in 0..n {
        for j in i + 1..n {
            g[j * n + i] = g[i * n + j];
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
