//! The bilinear resize that the reference puts masks on the image with (scikit-image's, without antialiasing): half-pixel
//! centres, zeros outside the source that take part in the interpolation, so that borders fade; the result limited to
//! the source's range.

/// One axis of a resize from `from` to `to` samples.
#[derive(Clone, Copy)]
struct ResizeAxis {
    scale: f64,
    from: usize,
}

impl ResizeAxis {
    fn new(from: usize, to: usize) -> Self {
        Self { scale: from as f64 / to.max(1) as f64, from }
    }

    /// The two source samples that target sample `i` lies between (`None`: outside, zero) and the weight of the second.
    fn at(&self, i: usize) -> ([Option<usize>; 2], f64) {
        let position = (i as f64 + 0.5) * self.scale - 0.5;
        let low = position.floor();
        let index = |v: f64| (v >= 0.0 && v < self.from as f64).then_some(v as usize);
        ([index(low), index(low + 1.0)], position - low)
    }
}

/// The value at `(i, j)` of a resize of `source` (`[height, width]` row-major, read through `read`) to `target`.
pub struct Resize<F> {
    read: F,
    axes: [ResizeAxis; 2],
    range: [f64; 2],
}

impl<F: Fn(usize, usize) -> f64> Resize<F> {
    /// A resize of `size` values given by `read(row, column)` to `target` (both height, width).
    pub fn new(size: [usize; 2], target: [usize; 2], read: F) -> Self {
        let mut range = [f64::INFINITY, f64::NEG_INFINITY];
        for y in 0..size[0] {
            for x in 0..size[1] {
                let value = read(y, x);
                range = [range[0].min(value), range[1].max(value)];
            }
        }
        let axes = [ResizeAxis::new(size[0], target[0]), ResizeAxis::new(size[1], target[1])];
        Self { read, axes, range }
    }

    /// The value of target row `i`, column `j`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        let ([top, bottom], fy) = self.axes[0].at(i);
        let ([left, right], fx) = self.axes[1].at(j);
        let value = |y: Option<usize>, x: Option<usize>| match (y, x) {
            (Some(y), Some(x)) => (self.read)(y, x),
            _ => 0.0,
        };
        let row = |y: Option<usize>| value(y, left) * (1.0 - fx) + value(y, right) * fx;
        let result = row(top) * (1.0 - fy) + row(bottom) * fy;
        // Not `clamp`, which refuses an empty range (a source without numbers).
        result.max(self.range[0]).min(self.range[1])
    }
}
