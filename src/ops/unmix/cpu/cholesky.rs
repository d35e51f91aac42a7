//! Cholesky's factorisation of small symmetric matrices, in `f64`. Meant to be compiled into loops made for one instruction
//! set, see [`crate::ops::per_isa`].

/// A pivot below this part of the diagonal is rounding: the row depends on those before it.
const NO_PIVOT: f64 = 1e-12;

/// The factor of a matrix of `count` rows of `stride`, in place of its lower triangle, with the diagonal's reciprocals;
/// 0 there takes a row that has nothing of its own out of the equations.
#[inline(always)]
pub(super) fn factorise(matrix: &mut [f64], count: usize, stride: usize) {
    for i in 0..count {
        let (before, row) = matrix.split_at_mut(i * stride);
        let size = row[i];
        for j in 0..=i {
            let other = if i == j { &row[..j] } else { &before[j * stride..][..j] };
            let value = row[j] - row[..j].iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
            row[j] = match i == j {
                true if value > NO_PIVOT * size => 1.0 / value.sqrt(),
                true => 0.0,
                false => value * before[j * stride + j],
            };
        }
    }
}

/// Solves in place for all columns of `x [count,columns]`, given the factor.
#[inline(always)]
pub(super) fn substitute(factor: &[f64], stride: usize, count: usize, columns: usize, x: &mut [f64]) {
    for i in 0..count {
        let (before, rest) = x.split_at_mut(i * columns);
        let row = &mut rest[..columns];
        for (j, other) in before.chunks_exact(columns).enumerate() {
            let factor = factor[i * stride + j];
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= factor * y);
        }
        row.iter_mut().for_each(|x| *x *= factor[i * stride + i]);
    }
    for i in (0..count).rev() {
        let (before, rest) = x.split_at_mut((i + 1) * columns);
        let row = &mut before[i * columns..];
        for (j, other) in rest[..(count - i - 1) * columns].chunks_exact(columns).enumerate() {
            let factor = factor[(i + 1 + j) * stride + i];
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= factor * y);
        }
        row.iter_mut().for_each(|x| *x *= factor[i * stride + i]);
    }
}
