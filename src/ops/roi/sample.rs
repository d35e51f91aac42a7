//! Where a crop reads its map: the coordinates of TensorFlow's `crop_and_resize`.

use crate::ops::boxes::Box4;

/// How far outside the map a sample may lie and still be moved to its edge, if [`super::RoiAlign::clamp_edge`] is set.
const EDGE: f32 = 1e-4;

/// One sample along one axis: the value is `(1 - f) * map[low] + f * map[high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub low: usize,
    pub high: usize,
    pub f: f32,
}

/// The samples of one axis of a crop: `count` of them between two normalised ends on a map of `size` cells, the first and
/// last exactly on the ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    start: f32,
    step: f32,
    last: f32,
    clamp: bool,
}

impl Axis {
    pub fn new(ends: [f32; 2], size: usize, count: usize, clamp: bool) -> Self {
        let last = size.saturating_sub(1) as f32;
        // Every product and sum is rounded on its own, in TensorFlow's order: for boxes that end at 1, rounding decides
        // whether the last sample is on the map or outside of it.
        let (start, step) = match count {
            1 => (0.5 * (ends[0] + ends[1]) * last, 0.0),
            _ => (ends[0] * last, (ends[1] - ends[0]) * last / (count.max(2) - 1) as f32),
        };
        Self { start, step, last, clamp }
    }

    /// Sample `i`; `None` outside the map (or at a coordinate that is not a number).
    pub fn at(&self, i: usize) -> Option<Sample> {
        let mut position = self.start + i as f32 * self.step;
        if self.clamp && position > -EDGE && position < self.last + EDGE {
            position = position.clamp(0.0, self.last);
        }
        if !(position >= 0.0 && position <= self.last) {
            return None;
        }
        let low = position.floor();
        Some(Sample { low: low as usize, high: position.ceil() as usize, f: position - low })
    }
}

/// The vertical and horizontal samples of a crop of `pool` from a map of `size` (both height, width).
pub(crate) fn axes(b: Box4, size: [usize; 2], pool: [usize; 2], clamp: bool) -> [Axis; 2] {
    [Axis::new([b[0], b[2]], size[0], pool[0], clamp), Axis::new([b[1], b[3]], size[1], pool[1], clamp)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_meet_the_corners_and_stop_at_the_edge() {
        let axis = Axis::new([0.0, 1.0], 5, 3, false);
        assert_eq!(axis.at(1), Some(Sample { low: 2, high: 2, f: 0.0 }));
        assert_eq!(axis.at(2), Some(Sample { low: 4, high: 4, f: 0.0 }));
        assert_eq!(Axis::new([-0.1, 1.0], 5, 3, false).at(0), None);
        assert_eq!(Axis::new([f32::NAN, 1.0], 5, 3, true).at(0), None);
        // 1 + 1e-6 lies outside, and on the edge with clamping; 1.01 lies outside in any case.
        assert_eq!(Axis::new([0.0, 1.0 + 1e-6], 5, 3, false).at(2), None);
        assert_eq!(Axis::new([0.0, 1.0 + 1e-6], 5, 3, true).at(2), Some(Sample { low: 4, high: 4, f: 0.0 }));
        assert_eq!(Axis::new([0.0, 1.01], 5, 3, true).at(2), None);
        assert_eq!(Axis::new([0.2, 0.3], 5, 1, false).at(0).map(|s| s.low), Some(1));
    }
}
