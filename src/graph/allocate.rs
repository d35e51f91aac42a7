//! Where values and scratch lie within the arena, from how long they live.

use super::Value;

/// A byte range wanted from step `first` to step `last`, both included.
pub(super) struct Interval {
    pub owner: Owner,
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
}

pub(super) enum Owner {
    Value(Value),
    Packed(usize),
    Scratch(usize),
}

/// Offsets of the intervals, and the bytes needed, from the bytes that a place of some bytes takes.
pub(super) type Allocator = fn(&[Interval], &dyn Fn(usize) -> usize) -> (Vec<usize>, usize);

/// The step with the most bytes, and who holds them, largest first.
pub(super) fn fullest_step(intervals: &[Interval], steps: usize) -> (usize, Vec<(Option<Value>, usize)>) {
    let mut taken = vec![0usize; steps];
    for interval in intervals {
        let last = interval.last.min(steps.saturating_sub(1));
        taken.iter_mut().take(last + 1).skip(interval.first).for_each(|taken| *taken += interval.bytes);
    }
    let Some(fullest) = (0..steps).rev().max_by_key(|step| taken[*step]) else { return (0, Vec::new()) };
    let holder = |interval: &Interval| match interval.owner {
        Owner::Value(value) => (Some(value), interval.bytes),
        Owner::Packed(_) | Owner::Scratch(_) => (None, interval.bytes),
    };
    let alive = intervals.iter().filter(|interval| interval.first <= fullest && fullest <= interval.last);
    let mut holders: Vec<_> = alive.map(holder).collect();
    holders.sort_by_key(|(value, bytes)| (std::cmp::Reverse(*bytes), *value));
    (fullest, holders)
}

/// Offsets of the intervals so that those which overlap in time do not overlap in memory, and the bytes needed: largest
/// first, each at the lowest offset that is free during its whole life.
pub(super) fn allocate(intervals: &[Interval], aligned: &dyn Fn(usize) -> usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(intervals[i].bytes), intervals[i].first, intervals[i].last));
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for index in order {
        let wanted = &intervals[index];
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| intervals[other].first <= wanted.last && wanted.first <= intervals[other].last)
            .map(|&other| (offsets[other], offsets[other] + aligned(intervals[other].bytes)))
            .collect();
        busy.sort_unstable();
        let mut offset = 0;
        for (begin, end) in busy {
            if offset + aligned(wanted.bytes) <= begin {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        total = total.max(offset + aligned(wanted.bytes));
        placed.push(index);
    }
    (offsets, total)
}

/// Offsets one after the other: no memory is used twice.
pub(super) fn side_by_side(intervals: &[Interval], aligned: &dyn Fn(usize) -> usize) -> (Vec<usize>, usize) {
    let mut total = 0;
    let mut place = |interval: &Interval| {
        let offset = total;
        total += aligned(interval.bytes);
        offset
    };
    (intervals.iter().map(&mut place).collect(), total)
}
