//! Firing instants.

use super::config::Firing;
use super::draw::{Draw, Quantity};

/// Firing instants of every MU in seconds from the first frame, rising; from the warm-up (negative) to the recording's end.
pub(super) fn firings(config: &Firing, draw: &Draw, rates_hz: &[f32], end_s: f32) -> Vec<Vec<f32>> {
    let own: Vec<Vec<f32>> =
        rates_hz.iter().enumerate().map(|(unit, rate)| renewal(config, draw, unit, *rate, end_s)).collect();
    let share = config.synchrony.at(draw.recording(Quantity::Synchrony).uniform());
    let mut all: Vec<Vec<f32>> =
        (0..own.len()).map(|unit| synchronise(config, draw, unit, rates_hz[unit], share, &own)).collect();
    all.iter_mut().for_each(|train| train.retain(|t| *t < end_s));
    all
}

/// One MU alone: normal intervals with a floor. Goes one interval past the end, where others may look for a neighbour.
fn renewal(config: &Firing, draw: &Draw, unit: usize, rate_hz: f32, end_s: f32) -> Vec<f32> {
    let mut intervals = draw.unit(Quantity::Intervals, unit);
    let mut rate = draw.unit(Quantity::Rate, unit);
    rate.uniform();
    let mean = 1.0 / rate_hz;
    let mut t = -config.warm_up_s - rate.uniform() * mean;
    let mut train = vec![t];
    while t < end_s + mean {
        let interval = mean * (1.0 + config.interval_variation * intervals.normal());
        t += interval.max(config.interval_floor * mean);
        train.push(t);
    }
    train
}

/// Moves a share of an MU's firings, each onto the nearest firing of another MU drawn for it. The others count as they were
/// before any move, so the order of MUs does not matter. A move over more than half an interval, or one that would break the
/// interval's floor, is not made.
fn synchronise(config: &Firing, draw: &Draw, unit: usize, rate_hz: f32, share: f32, own: &[Vec<f32>]) -> Vec<f32> {
    let mut train = own[unit].clone();
    if own.len() < 2 || share <= 0.0 {
        return train;
    }
    let (reach, floor) = (0.5 / rate_hz, config.interval_floor / rate_hz);
    let mut moves = draw.unit(Quantity::Moves, unit);
    for k in 0..train.len() {
        let moved = moves.uniform() < share;
        let other = moves.below(own.len() as u32 - 1) as usize;
        if !moved {
            continue;
        }
        let other = other + usize::from(other >= unit);
        let target = nearest(&own[other], train[k]);
        let after_previous = k == 0 || target - train[k - 1] >= floor;
        let before_next = train.get(k + 1).is_none_or(|next| next - target >= floor);
        if (target - train[k]).abs() <= reach && after_previous && before_next {
            train[k] = target;
        }
    }
    train
}

/// The element of a rising, non-empty list that is nearest to `t`; the earlier one of two.
fn nearest(sorted: &[f32], t: f32) -> f32 {
    let after = sorted.partition_point(|x| *x < t);
    match (after.checked_sub(1).map(|before| sorted[before]), sorted.get(after)) {
        (Some(before), Some(&next)) if t - before <= next - t => before,
        (_, Some(&next)) => next,
        (Some(before), None) => before,
        (None, None) => t,
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_element() {
        let sorted = [1.0, 2.0, 4.0];
        for (t, expected) in [(0.0, 1.0), (1.4, 1.0), (1.5, 1.0), (1.6, 2.0), (3.1, 4.0), (9.0, 4.0), (2.0, 2.0)] {
            assert_eq!(nearest(&sorted, t), expected);
        }
    }
}
