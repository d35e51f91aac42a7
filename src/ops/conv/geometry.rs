//! The numbers of a convolution in one place, checked.

use super::ConvAttrs;
use crate::tensor::Shape;
use crate::{Error, Result};

/// Extents and attributes, always with three spatial dimensions: missing ones are put in front with extent 1. A dense
/// layer is a 1x1 convolution whose only spatial axis is the product of its middle axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Extent of the leading axis.
    pub n: usize,
    /// Input extents.
    pub input: [usize; 3],
    /// Taps per dimension.
    pub kernel: [usize; 3],
    /// Output extents.
    pub output: [usize; 3],
    /// Distance between windows.
    pub stride: [usize; 3],
    /// Distance between taps.
    pub dilation: [usize; 3],
    /// Zeros before the input.
    pub before: [usize; 3],
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
}

impl Geometry {
    /// The geometry of a convolution of `x` with `w`.
    pub fn new(op: &str, attrs: &ConvAttrs, x: &Shape, w: &Shape) -> Result<Self> {
        let dims = attrs.spatial();
        let fail = |message: String| Err(Error::op(op, message));
        if x.last() == 0 || w.is_empty() {
            return fail(format!("x {x} and w {w} must have at least one channel and one tap"));
        }
        if dims > 3 || attrs.dilation.len() != dims || attrs.padding.len() != dims {
            return fail(format!(
                "stride, dilation and padding must have one entry for each of 0 to 3 axes: {attrs:?}"
            ));
        }
        if dims == 0 {
            let (Some((&cin, rest)), &[w_in, cout]) = (x.split_last(), w.dims()) else {
                return fail(format!("needs x [.., in] and w [in, out], got {x} and {w}"));
            };
            if cin != w_in {
                return fail(format!("x {x} has {cin} features, w {w} takes {w_in}"));
            }
            let (n, rows) = rest.split_first().map_or((1, 1), |(n, rest)| (*n, rest.iter().product()));
            let one = [1; 3];
            let rows = [1, 1, rows];
            let (input, output) = (rows, rows);
            return Ok(Self { n, input, output, kernel: one, stride: one, dilation: one, before: [0; 3], cin, cout });
        }
        if x.rank() != dims + 2 || w.rank() != dims + 2 {
            return fail(format!(
                "{dims} spatial axes need x [N, spatial.., Cin], w [kernel.., Cin, Cout]; got {x}, {w}"
            ));
        }
        let (cin, cout) = (x.last(), w.last());
        if w[dims] != cin {
            return fail(format!("x {x} has {cin} channels, w {w} takes {}", w[dims]));
        }
        let mut geometry = Self {
            n: x[0],
            input: [1; 3],
            kernel: [1; 3],
            output: [1; 3],
            stride: [1; 3],
            dilation: [1; 3],
            before: [0; 3],
            cin,
            cout,
        };
        for i in 0..dims {
            let (to, [before, after]) = (3 - dims + i, attrs.padding[i]);
            let (n, k, s, d) = (x[i + 1], w[i], attrs.stride[i], attrs.dilation[i]);
            if k == 0 || s == 0 || d == 0 {
                return fail(format!("kernel, stride and dilation must be at least 1: w {w}, {attrs:?}"));
            }
            let (window, padded) = (d * (k - 1) + 1, n + before + after);
            if window > padded {
                return fail(format!(
                    "the window covers {window} pixels of spatial axis {i}, the padded input has {padded}"
                ));
            }
            geometry.input[to] = n;
            geometry.kernel[to] = k;
            geometry.stride[to] = s;
            geometry.dilation[to] = d;
            geometry.before[to] = before;
            geometry.output[to] = (padded - window) / s + 1;
        }
        Ok(geometry)
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Pixels of one input map.
    pub fn input_pixels(&self) -> usize {
        self.input.iter().product()
    }

    /// Pixels of one output map.
    pub fn output_pixels(&self) -> usize {
        self.output.iter().product()
    }

    /// Multiply-accumulates, taps that meet only padding left out.
    pub fn macs(&self) -> u64 {
        let along = |i: usize| -> u64 {
            let mut pairs = 0;
            for k in 0..self.kernel[i] {
                let meets = |o: &usize| {
                    let at = o * self.stride[i] + k * self.dilation[i];
                    at >= self.before[i] && at - self.before[i] < self.input[i]
                };
                pairs += (0..self.output[i]).filter(meets).count() as u64;
            }
            pairs
        };
        (self.n * self.cin * self.cout) as u64 * along(0) * along(1) * along(2)
    }

    /// Output shape for an input of shape `x`.
    pub fn output_shape(&self, attrs: &ConvAttrs, x: &Shape) -> Shape {
        let mut dims = x.dims().to_vec();
        let spatial = attrs.spatial();
        if spatial > 0 {
            dims[1..=spatial].copy_from_slice(&self.output[3 - spatial..]);
        }
        if let Some(last) = dims.last_mut() {
            *last = self.cout;
        }
        Shape::from(dims)
    }
}
