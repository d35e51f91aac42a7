//! Signals without a network, from a recording and its territories: what a network must be compared with.

use super::masks::Masks;
use crate::{Error, Result};

fn check(velocity: &[f32], masks: Masks<'_>) -> Result<usize> {
    if velocity.is_empty() || !velocity.len().is_multiple_of(masks.pixels()) {
        let message = format!("{} values are not whole frames of {} pixels", velocity.len(), masks.pixels());
        return Err(Error::value("velocity", message));
    }
    Ok(velocity.len() / masks.pixels())
}

/// Sums over each mask in each frame, `[masks][frames]`, and each mask's number of pixels.
fn sums(velocity: &[f32], masks: Masks<'_>) -> (Vec<Vec<f64>>, Vec<usize>) {
    let inside: Vec<Vec<usize>> =
        masks.iter().map(|mask| (0..mask.len()).filter(|pixel| mask[*pixel] != 0).collect()).collect();
    let over = |pixels: &Vec<usize>, frame: &[f32]| pixels.iter().map(|pixel| f64::from(frame[*pixel])).sum();
    let sums = inside.iter().map(|pixels| velocity.chunks_exact(masks.pixels()).map(|f| over(pixels, f)).collect());
    (sums.collect(), inside.iter().map(Vec::len).collect())
}

/// The mean over each mask, `[masks][frames]`, in the recording's unit; zeros for an empty mask. `velocity` is
/// `[frames, height, width]`. Fails if it does not hold whole frames of the masks' size.
pub fn mask_mean(velocity: &[f32], masks: Masks<'_>) -> Result<Vec<Vec<f32>>> {
    check(velocity, masks)?;
    let (sums, sizes) = sums(velocity, masks);
    let mean =
        |(sums, size): (&Vec<f64>, &usize)| sums.iter().map(|sum| (sum / (*size).max(1) as f64) as f32).collect();
    Ok(sums.iter().zip(&sizes).map(mean).collect())
}

/// Least-squares unmixing, `[masks][frames]`: the signals whose sum over masks comes nearest to the recording in every
/// frame. Masks that others make up (the same one twice) share the signal. Arguments and errors as for [`mask_mean`].
pub fn least_squares(velocity: &[f32], masks: Masks<'_>) -> Result<Vec<Vec<f32>>> {
    check(velocity, masks)?;
    let (mut signals, _) = sums(velocity, masks);
    // Normal equations: common pixels of each pair of masks. The ridge, far below noise, keeps them solvable.
    let common = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| **a != 0 && **b != 0).count() as f64;
    let mut normal: Vec<Vec<f64>> = masks
        .iter()
        .enumerate()
        .map(|(i, mask)| masks.iter().take(i + 1).map(|other| common(mask, other)).collect())
        .collect();
    normal.iter_mut().enumerate().for_each(|(i, row)| row[i] += RIDGE * row[i].max(1.0));
    cholesky(&mut normal);
    // Forward, then back substitution, all frames at once.
    for (i, row) in normal.iter().enumerate() {
        let (before, [signal, ..]) = signals.split_at_mut(i) else { break };
        before.iter().zip(row).for_each(|(other, factor)| subtract(signal, other, *factor));
        signal.iter_mut().for_each(|value| *value /= row[i]);
    }
    for i in (0..signals.len()).rev() {
        let ([.., signal], after) = signals.split_at_mut(i + 1) else { break };
        after.iter().zip(&normal[i + 1..]).for_each(|(other, row)| subtract(signal, other, row[i]));
        signal.iter_mut().for_each(|value| *value /= normal[i][i]);
    }
    Ok(signals.iter().map(|signal| signal.iter().map(|value| *value as f32).collect()).collect())
}

fn subtract(signal: &mut [f64], other: &[f64], factor: f64) {
    signal.iter_mut().zip(other).for_each(|(value, other)| *value -= factor * other);
}

const RIDGE: f64 = 1e-6;

/// Lower triangular factor of a positive definite matrix, in place of its lower triangle (row `i` holds `i + 1` elements).
fn cholesky(matrix: &mut [Vec<f64>]) {
    for i in 0..matrix.len() {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let rest = matrix[i][j] - known;
            matrix[i][j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / matrix[j][j] };
        }
    }
}

/// Chance: for each MU the true train of another one of the same recording (the next, round the circle); `None` for a lone MU,
/// which has no other.
pub fn chance<T: Clone>(true_trains: &[T]) -> Option<Vec<T>> {
    let n = true_trains.len();
    (n > 1).then(|| (0..n).map(|k| true_trains[(k + 1) % n].clone()).collect())
}
