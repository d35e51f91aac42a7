//! Convolution and its data gradient as one thing: sums over taps on regular lattices of pixels.
//!
//! Along each axis, output pixel `out_step * q + out_start` is the sum over taps of input pixel `in_step * q + offset`
//! times the tap's weights. A convolution is one such class of pixels with `in_step` its stride; the data gradient of a
//! strided convolution is one class for each remainder of the pixel by the stride, with only the taps that hit it.

use super::super::Geometry;

/// A tap along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Index in the kernel.
    pub k: usize,
    /// Input pixel for q = 0.
    pub offset: isize,
}

/// A class of output pixels along one axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub taps: Vec<Tap>,
    /// Number of output pixels.
    pub count: usize,
    pub out_start: usize,
}

/// The whole computation. The order of axes is t, y, x.
#[derive(Clone, Debug)]
pub(super) struct Correlation {
    pub n: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    /// Channels of the input and of the output.
    pub channels_in: usize,
    pub channels_out: usize,
    pub in_step: [usize; 3],
    pub out_step: [usize; 3],
    /// For each axis its classes (one or more); classes of pixels are all combinations.
    pub axes: [Vec<Axis>; 3],
}

impl Correlation {
    /// The convolution itself. Without counts to mind, the rows of a pointwise one are one long axis.
    pub fn fprop(g: &Geometry, counts: bool) -> Self {
        let axes = std::array::from_fn(|i| {
            let tap = |k: usize| Tap { k, offset: (k * g.dilation[i]) as isize - g.before[i] as isize };
            vec![Axis { taps: (0..g.kernel[i]).map(tap).collect(), count: g.output[i], out_start: 0 }]
        });
        let correlation = Self {
            n: g.n,
            input: g.input,
            output: g.output,
            kernel: g.kernel,
            channels_in: g.cin,
            channels_out: g.cout,
            in_step: g.stride,
            out_step: [1; 3],
            axes,
        };
        correlation.flattened(counts)
    }

    /// The data gradient: from `dy` to `dx`.
    pub fn dgrad(g: &Geometry, counts: bool) -> Self {
        let axes = std::array::from_fn(|i| {
            let class = |start: usize| {
                let tap = |k: usize| {
                    let at = (start + g.before[i]) as isize - (k * g.dilation[i]) as isize;
                    let stride = g.stride[i] as isize;
                    (at.rem_euclid(stride) == 0).then(|| Tap { k, offset: at.div_euclid(stride) })
                };
                let count = (g.input[i] - start).div_ceil(g.stride[i]);
                Axis { taps: (0..g.kernel[i]).filter_map(tap).collect(), count, out_start: start }
            };
            (0..g.stride[i].min(g.input[i])).map(class).collect()
        });
        let correlation = Self {
            n: g.n,
            input: g.output,
            output: g.input,
            kernel: g.kernel,
            channels_in: g.cout,
            channels_out: g.cin,
            in_step: [1; 3],
            out_step: g.stride,
            axes,
        };
        correlation.flattened(counts)
    }

    /// Number of taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Terms of the longest sum.
    pub fn terms(&self) -> usize {
        self.taps() * self.channels_in
    }

    fn flattened(mut self, counts: bool) -> Self {
        let pointwise = self.input == self.output
            && self.axes.iter().all(|classes| classes.len() == 1 && classes[0].taps == [Tap { k: 0, offset: 0 }]);
        if pointwise {
            let mut pixels: usize = self.input.iter().product();
            if !counts {
                pixels *= self.n;
                self.n = 1;
            }
            for (i, pixels) in [1, 1, pixels].into_iter().enumerate() {
                (self.input[i], self.output[i], self.axes[i][0].count) = (pixels, pixels, pixels);
            }
        }
        self
    }
}
