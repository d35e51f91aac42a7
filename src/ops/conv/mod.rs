//! Convolution in up to three spatial dimensions, and what is convolution in disguise: dense layers (no spatial
//! dimension) and transposed convolution (the data gradient of a convolution).
//!
//! Layouts, channels last: `x [N, spatial.., Cin]`, `w [kernel.., Cin, Cout]`, `y [N, spatial.., Cout]`. A dense layer
//! takes any leading axes: `x [.., Cin]`, `w [Cin, Cout]`.

mod attrs;
mod bias_grad;
pub(crate) mod cpu;
mod cuda;
mod cuda_rows;
mod dgrad;
mod fprop;
mod geometry;
pub mod problem;
mod wgrad;

pub use attrs::{ConvAttrs, Extras, Fused};
pub use bias_grad::{BiasGrad, KeepRows};
pub use dgrad::ConvDgrad;
pub use fprop::Conv;
pub use geometry::Geometry;
pub use wgrad::ConvWgrad;

use crate::graph::{Graph, Value};
use crate::{Error, Result};

impl Graph {
    /// Convolution with everything that can ride along: `y = relu?(conv(x, w) + bias + residual)`, zero where
    /// the mask is not positive.
    ///
    /// `x [N, spatial.., Cin]`, `w [kernel.., Cin, Cout]`, bias `[Cout]`, residual and mask of y's shape. Kernels are not flipped
    /// (cross-correlation, as in every deep-learning library). With `counts`, invalid rows of N give zero, whatever bias
    /// and residual are. Fails if shapes do not fit or the window is larger than the padded input.
    pub fn conv(&mut self, x: Value, w: Value, attrs: &ConvAttrs, extras: Extras) -> Result<Value> {
        let op = Conv { attrs: attrs.clone(), fused: extras.fused() };
        self.apply1(op, &extras.inputs(x, w))
    }

    /// Transposed convolution that doubles both axes of a map: `y[2i+a, 2j+b] = relu?(x[i, j] * w[a, b]^T + bias +
    /// residual)`. `x [N, H, W, Cin]`, `w [2, 2, Cout, Cin]`, `y [N, 2H, 2W, Cout]`.
    pub fn conv_transpose_2x2(&mut self, x: Value, w: Value, relu: bool, extras: Extras) -> Result<Value> {
        let shape = self.shape(x).clone();
        let [_, height, width, _] = *shape.dims() else {
            return Err(Error::op("conv_transpose_2x2", format!("x must be [N, H, W, Cin], got {shape}")));
        };
        if self.shape(w).get(..2) != Some(&[2, 2]) {
            let found = self.ty(w);
            return Err(Error::op("conv_transpose_2x2", format!("w must be [2, 2, Cout, Cin], got {found}")));
        }
        let attrs = ConvAttrs::valid(2).with_stride(&[2, 2]).with_relu(relu);
        self.conv_transpose(x, w, &[2 * height, 2 * width], &attrs, extras)
    }

    /// Transposed convolution: the data gradient of the convolution with these attributes that takes maps of extent
    /// `output` to maps of x's extent. `x [N, spatial.., Cin]`, `w [kernel.., Cout, Cin]`, `y [N, output.., Cout]`.
    pub fn conv_transpose(
        &mut self,
        x: Value,
        w: Value,
        output: &[usize],
        attrs: &ConvAttrs,
        extras: Extras,
    ) -> Result<Value> {
        let op = ConvDgrad { attrs: attrs.clone(), input: output.to_vec(), fused: extras.fused() };
        self.apply1(op, &extras.inputs(x, w))
    }

    /// Dense layer on the last axis: `y = relu?(x w + bias + residual)`, `x [.., in]`, `w [in, out]`, `y [.., out]`.
    pub fn dense(&mut self, x: Value, w: Value, relu: bool, extras: Extras) -> Result<Value> {
        self.conv(x, w, &ConvAttrs::valid(0).with_relu(relu), extras)
    }

    /// Sum over all axes but the last, invalid rows left out: the gradient of a bias.
    pub fn bias_grad(&mut self, dy: Value, counts: Option<Value>) -> Result<Value> {
        let inputs: Vec<Value> = [dy].into_iter().chain(counts).collect();
        self.apply1(BiasGrad, &inputs)
    }

    /// `x` with the invalid rows of its leading axis set to zero.
    pub fn keep_rows(&mut self, x: Value, counts: Value) -> Result<Value> {
        self.apply1(KeepRows, &[x, counts])
    }
}
