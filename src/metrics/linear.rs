//! The little linear algebra that the blind baseline needs: row-major matrices, leading eigenvectors, orthonormal rows.

use crate::device::cpu::Isa;
use crate::ops::per_isa::per_isa;
use crate::ops::random::philox::Stream;

/// Columns that one pass of a product keeps in cache.
const BLOCK: usize = 512;

/// `a [rows, inner] * b [inner, columns]`.
pub(super) fn product(a: &[f32], b: &[f32], inner: usize, columns: usize) -> Vec<f32> {
    let mut c = vec![0f32; a.len() / inner * columns];
    for first in (0..columns).step_by(BLOCK) {
        let end = (first + BLOCK).min(columns);
        for (row, out) in a.chunks_exact(inner).zip(c.chunks_exact_mut(columns)) {
            combine(Isa::detect(), row, b, columns, first, &mut out[first..end]);
        }
    }
    c
}

per_isa! {
    /// Adds the rows of `b`, each times its weight, from column `first` on.
    fn combine[](weights: &[f32], b: &[f32], columns: usize, first: usize, out: &mut [f32]) {
        let width = out.len();
        let (pairs, rest) = weights.as_chunks::<4>();
        let row = |k: usize| &b[k * columns + first..k * columns + first + width];
        for (k, w) in pairs.iter().enumerate() {
            let (r0, r1, r2, r3) = (row(4 * k), row(4 * k + 1), row(4 * k + 2), row(4 * k + 3));
            for i in 0..width {
                out[i] += (w[0] * r0[i] + w[1] * r1[i]) + (w[2] * r2[i] + w[3] * r3[i]);
            }
        }
        for (k, w) in rest.iter().enumerate() {
            out.iter_mut().zip(row(4 * pairs.len() + k)).for_each(|(out, value)| *out += w * value);
        }
    }
}

/// `a [rows, columns]` with rows and columns exchanged.
pub(super) fn transpose(a: &[f32], columns: usize) -> Vec<f32> {
    let rows = a.len() / columns;
    (0..columns).flat_map(|column| (0..rows).map(move |row| a[row * columns + column])).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Makes the rows orthonormal, one after the other (Gram and Schmidt, twice); a row that depends on earlier ones becomes zero.
fn orthonormalise(rows: &mut [f32], columns: usize) {
    for k in 0..rows.len() / columns {
        let (before, rest) = rows.split_at_mut(k * columns);
        let row = &mut rest[..columns];
        let original = dot(row, row).sqrt();
        for _ in 0..2 {
            for other in before.chunks_exact(columns) {
                let share = dot(row, other) as f32;
                row.iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
            }
        }
        let norm = dot(row, row).sqrt();
        let scale = if norm > 1e-6 * original { (1.0 / norm) as f32 } else { 0.0 };
        row.iter_mut().for_each(|value| *value *= scale);
    }
}

/// The `count` leading eigenvectors of a symmetric positive matrix `[n, n]` as rows `[count, n]`, with their eigenvalues, by
/// subspace iteration from a fixed start. Neighbouring eigenvalues may stay mixed: the subspace is what counts here.
pub(super) fn leading_eigenvectors(matrix: &[f32], n: usize, count: usize) -> (Vec<f32>, Vec<f32>) {
    const ITERATIONS: usize = 40;
    let mut stream = Stream::new([0, 0], [0; 3]);
    let mut vectors: Vec<f32> = (0..count * n).map(|_| stream.normal()).collect();
    for _ in 0..ITERATIONS {
        orthonormalise(&mut vectors, n);
        vectors = product(&vectors, matrix, n, n);
    }
    orthonormalise(&mut vectors, n);
    let images = product(&vectors, matrix, n, n);
    let values = vectors.chunks_exact(n).zip(images.chunks_exact(n)).map(|(v, image)| dot(v, image) as f32).collect();
    (vectors, values)
}

/// The nearest matrix with orthonormal rows to a square one `[n, n]`: (W W')^(-1/2) W, by Newton's and Schulz's iteration.
pub(super) fn nearest_orthonormal(w: &[f32], n: usize) -> Vec<f32> {
    const ITERATIONS: usize = 60;
    let norm = dot(w, w).sqrt().max(1e-30) as f32;
    let mut w: Vec<f32> = w.iter().map(|value| value / norm).collect();
    for _ in 0..ITERATIONS {
        let gram = product(&w, &transpose(&w, n), n, n);
        let correction = product(&gram, &w, n, n);
        let mut change = 0f32;
        for (value, correction) in w.iter_mut().zip(correction) {
            let next = 1.5 * *value - 0.5 * correction;
            change = change.max((next - *value).abs());
            *value = next;
        }
        if change < 1e-6 {
            break;
        }
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(n: usize, seed: u32) -> Vec<f32> {
        let mut stream = Stream::new([seed, 0], [0; 3]);
        (0..n).map(|_| stream.normal()).collect()
    }

    #[test]
    fn products_agree_with_sums() {
        let (a, b) = (random(3 * 7, 1), random(7 * 600, 2));
        let c = product(&a, &b, 7, 600);
        for (row, column) in [(0, 0), (1, 511), (2, 512), (2, 599)] {
            let expected: f64 = (0..7).map(|k| f64::from(a[row * 7 + k]) * f64::from(b[k * 600 + column])).sum();
            assert!((f64::from(c[row * 600 + column]) - expected).abs() < 1e-5);
        }
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn eigenvectors_of_a_known_matrix_and_the_nearest_orthonormal_one() {
        let n = 12;
        let frame = nearest_orthonormal(&random(n * n, 3), n);
        let gram = product(&frame, &transpose(&frame, n), n, n);
        let identity = |k: usize| if k.is_multiple_of(n + 1) { 1.0 } else { 0.0 };
        assert!(gram.iter().enumerate().all(|(k, value)| (value - identity(k)).abs() < 1e-4));
        // Rows of `frame` with eigenvalues 1, 1/2, 1/4 ...
        let scaled: Vec<f32> = frame.iter().enumerate().map(|(k, v)| v * 0.5f32.powi((k / n) as i32)).collect();
        let matrix = product(&transpose(&frame, n), &scaled, n, n);
        let (vectors, values) = leading_eigenvectors(&matrix, n, 3);
        for k in 0..3 {
            assert!((values[k] - 0.5f32.powi(k as i32)).abs() < 1e-4, "{values:?}");
            let along = dot(&vectors[k * n..][..n], &frame[k * n..][..n]);
            assert!(along.abs() > 0.999, "{along}");
        }
    }
}
