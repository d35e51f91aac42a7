//! The largest eigenvalues of a symmetric matrix: Lanczos' iteration, then the tridiagonal problem in full.

use super::gram::{dot, orthogonalise, symmetric_times};
use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;

/// Longest basis.
pub(in crate::ops::unmix) const LANCZOS_STEPS: usize = 40;
/// A new direction shorter than this part of the matrix's trace is rounding: the basis spans an invariant subspace.
const INVARIANT: f64 = 1e-7;

/// Floats of scratch for a matrix of side `n`: the basis and one vector.
pub(super) fn lanczos_scratch(n: usize) -> usize {
    (LANCZOS_STEPS + 1) * n
}

/// The largest eigenvalues of `g [n,n]`, symmetric, positive semidefinite, zero beyond its first `side` rows and columns,
/// and their eigenvectors of length 1. Writes at most `min(side, values.len())` pairs, largest first, returns how many.
/// Deterministic.
pub(super) fn largest_eigenpairs(
    isa: Isa,
    g: &[f32],
    n: usize,
    side: usize,
    scratch: &mut [f32],
    values: &mut [f64],
    vectors: &mut [f32],
) -> usize {
    let trace: f64 = (0..side).map(|i| g[i * n + i] as f64).sum();
    if !(trace > 0.0 && trace.is_finite()) {
        return 0;
    }
    let steps = side.min(LANCZOS_STEPS);
    let (basis, next) = scratch[..lanczos_scratch(n)].split_at_mut(LANCZOS_STEPS * n);
    let (mut diagonal, mut beside) = ([0.0f64; LANCZOS_STEPS], [0.0f64; LANCZOS_STEPS]);
    fresh_direction(isa, &[], side, 0, next);
    for step in 0..steps {
        let current = &mut basis[step * n..][..n];
        current.copy_from_slice(next);
        symmetric_times(isa, g, current, next);
        diagonal[step] = dot(isa, current, next) as f64;
        if step + 1 == steps {
            break;
        }
        let known = &basis[..(step + 1) * n];
        let mut parts = [0.0f32; LANCZOS_STEPS];
        orthogonalise(isa, known, next, &mut parts[..=step]);
        let first = norm(isa, next);
        orthogonalise(isa, known, next, &mut parts[..=step]);
        let length = norm(isa, next);
        if length > INVARIANT * trace && length > 0.5 * first {
            beside[step] = length;
            let factor = (1.0 / length) as f32;
            next.iter_mut().for_each(|x| *x *= factor);
        } else {
            fresh_direction(isa, known, side, step + 1, next);
        }
    }
    let mut rotations = [[0.0f64; LANCZOS_STEPS]; LANCZOS_STEPS];
    tridiagonal(isa, &mut diagonal[..steps], &mut beside[..steps], &mut rotations);
    let mut order: [usize; LANCZOS_STEPS] = std::array::from_fn(|i| i);
    order[..steps].sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
    let found = steps.min(values.len());
    for (k, &pair) in order[..found].iter().enumerate() {
        values[k] = diagonal[pair].max(0.0);
        let vector = &mut vectors[k * n..][..n];
        vector.fill(0.0);
        for (weight, row) in rotations[pair].iter().zip(basis.chunks_exact(n)).take(steps) {
            let weight = *weight as f32;
            vector.iter_mut().zip(row).for_each(|(v, q)| *v += weight * q);
        }
    }
    found
}

fn norm(isa: Isa, x: &[f32]) -> f64 {
    (dot(isa, x, x) as f64).sqrt()
}

/// A direction of length 1 orthogonal to the basis, from a fixed sequence; zero beyond `side`.
fn fresh_direction(isa: Isa, basis: &[f32], side: usize, number: usize, x: &mut [f32]) {
    let mut state = number as u64;
    let mut parts = [0.0f32; LANCZOS_STEPS];
    let known = basis.len() / x.len();
    x[side..].fill(0.0);
    for value in &mut x[..side] {
        // The increments and multiplier of a 64-bit linear congruential generator; its high bits are good enough here.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *value = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    }
    for _ in 0..3 {
        orthogonalise(isa, basis, x, &mut parts[..known]);
        let length = norm(isa, x);
        if length > 0.0 {
            let factor = (1.0 / length) as f32;
            x.iter_mut().for_each(|x| *x *= factor);
        }
    }
}

per_isa! {
    /// Eigenvalues of the symmetric tridiagonal matrix with `beside[i]` between `diagonal[i]` and `diagonal[i + 1]`, left in
    /// `diagonal`, and eigenvectors in the rows of `rotations`: implicit QL with Wilkinson's shift.
    fn tridiagonal[const N: usize](diagonal: &mut [f64], beside: &mut [f64], rotations: &mut [[f64; N]; N]) {
        let n = diagonal.len();
        rotations
            .iter_mut()
            .enumerate()
            .for_each(|(i, row)| row.iter_mut().enumerate().for_each(|(j, x)| *x = (i == j) as u8 as f64));
        for low in 0..n {
            // Two or three sweeps an eigenvalue are usual; the bound only guards against values that are not finite.
            for _ in 0..64 {
                let small = |i: usize| beside[i].abs() <= f64::EPSILON * (diagonal[i].abs() + diagonal[i + 1].abs());
                let high = (low..n - 1).find(|i| small(*i)).unwrap_or(n - 1);
                if high == low {
                    break;
                }
                let half = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low]);
                let shift = diagonal[low] - beside[low] / (half + (half * half + 1.0).sqrt().copysign(half));
                let (mut sine, mut cosine, mut carried) = (1.0, 1.0, 0.0);
                let mut bulge = diagonal[high] - shift;
                let mut split = false;
                for i in (low..high).rev() {
                    let (f, b) = (sine * beside[i], cosine * beside[i]);
                    let radius = (f * f + bulge * bulge).sqrt();
                    beside[i + 1] = radius;
                    if radius == 0.0 {
                        diagonal[i + 1] -= carried;
                        beside[high] = 0.0;
                        split = true;
                        break;
                    }
                    (sine, cosine) = (f / radius, bulge / radius);
                    let g = diagonal[i + 1] - carried;
                    let r = (diagonal[i] - g) * sine + 2.0 * cosine * b;
                    carried = sine * r;
                    diagonal[i + 1] = g + carried;
                    bulge = cosine * r - b;
                    let (upper, lower) = rotations.split_at_mut(i + 1);
                    for (x, y) in upper[i].iter_mut().zip(&mut lower[0]) {
                        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
                    }
                }
                if !split {
                    diagonal[low] -= carried;
                    beside[low] = bulge;
                    beside[high] = 0.0;
                }
            }
        }
    }
}
