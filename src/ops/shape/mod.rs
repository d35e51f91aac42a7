//! Ops that move values without computing: reshape, transpose, concat, slice, pad, upsampling, gathering rows.
//!
//! They take `f32` and `i32`; gradients exist for `f32`.

mod broadcast;
mod concat;
mod cpu;
mod crop;
mod cuda;
mod gather;
mod pad;
pub mod problem;
mod reshape;
mod slice;
mod transpose;
mod upsample;

pub use broadcast::BroadcastTo;
pub use concat::Concat;
pub use crop::CropWindows;
pub use gather::{GatherRows, GatherRowsGrad};
pub use pad::Pad;
pub use reshape::Reshape;
pub use slice::{Slice, SliceGrad};
pub use transpose::Transpose;
pub use upsample::{UpsampleNearest2x, UpsampleNearest2xGrad};

use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::ensure;
use crate::tensor::{DType, Shape, TensorType};

/// Builders of ops that move values.
impl Graph {
    /// The same values in the same order under another shape: no copy. Fails if the sizes differ.
    pub fn reshape(&mut self, x: Value, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        if *self.shape(x) == shape { Ok(x) } else { self.apply1(Reshape { shape }, &[x]) }
    }

    /// `x` repeated along axes of extent 1 (or missing in front) to `shape`.
    pub fn broadcast_to(&mut self, x: Value, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        if *self.shape(x) == shape { Ok(x) } else { self.apply1(BroadcastTo { shape }, &[x]) }
    }

    /// Axes reordered: axis `i` of the result is axis `permutation[i]` of `x`.
    pub fn transpose(&mut self, x: Value, permutation: &[usize]) -> Result<Value> {
        self.apply1(Transpose { permutation: permutation.to_vec() }, &[x])
    }

    /// Tensors one after another along `axis`; all other extents equal.
    pub fn concat(&mut self, values: &[Value], axis: usize) -> Result<Value> {
        self.apply1(Concat { axis }, values)
    }

    /// Entries `start, start + step, ...`, `len` of them, along `axis`.
    pub fn slice(&mut self, x: Value, axis: usize, start: usize, len: usize, step: usize) -> Result<Value> {
        self.apply1(Slice { axis, start, len, step }, &[x])
    }

    /// `padding[axis] = [before, after]` entries of `value` added at both ends of every axis.
    pub fn pad(&mut self, x: Value, padding: &[[usize; 2]], value: f32) -> Result<Value> {
        self.apply1(Pad { padding: padding.to_vec(), value }, &[x])
    }

    /// `[N,H,W,C] -> [N,2H,2W,C]`, each value copied to 2 x 2.
    pub fn upsample_nearest_2x(&mut self, x: Value) -> Result<Value> {
        self.apply1(UpsampleNearest2x, &[x])
    }

    /// Windows of `size` round the centres of `boxes [N,4]` in every frame of `x [N,T,H,W]`: `[N,T,h,w]`. See [`CropWindows`].
    pub fn crop_windows(&mut self, x: Value, boxes: Value, size: [usize; 2]) -> Result<Value> {
        self.apply1(CropWindows { size }, &[x, boxes])
    }

    /// Rows of `x [R,...]` named by `indices`, `i32` of any shape: `[indices..., ...]`. An index outside `0..R` gives a
    /// row of zeros.
    pub fn gather_rows(&mut self, x: Value, indices: Value) -> Result<Value> {
        self.apply1(GatherRows, &[x, indices])
    }
}

fn expect_movable(op: &str, ty: &TensorType) -> Result<()> {
    ensure(op, matches!(ty.dtype, DType::F32 | DType::I32), || format!("moves f32 or i32, got {ty}"))
}

fn expect_axis(op: &str, axis: usize, ty: &TensorType) -> Result<()> {
    ensure(op, axis < ty.shape.rank(), || format!("axis {axis} is not an axis of {ty}"))
}

/// Extents before `axis`, at it, and after it, each multiplied out.
fn around(shape: &Shape, axis: usize) -> (usize, usize, usize) {
    let dims = shape.dims();
    (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product())
}
