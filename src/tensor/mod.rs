//! Host tensors: shape, element type, contiguous row-major data aligned for vector loads.

mod aligned;
mod dtype;
mod safetensors;
mod shape;

pub use aligned::AlignedBytes;
pub use dtype::{DType, Element};
pub use safetensors::{TensorFile, write_beside};
pub use shape::Shape;

use crate::{Error, Result};

/// Element type and shape of a tensor: all that planning needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extent of every axis, outermost first.
    pub shape: Shape,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// `f32` of the given shape.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self::new(DType::F32, shape)
    }

    /// `i32` of the given shape.
    pub fn i32(shape: impl Into<Shape>) -> Self {
        Self::new(DType::I32, shape)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// A tensor in host memory: row-major, contiguous, 64-byte aligned.
#[derive(Clone, Debug)]
pub struct Tensor {
    ty: TensorType,
    data: AlignedBytes,
}

impl Tensor {
    /// All zeros.
    pub fn zeros(dtype: DType, shape: impl Into<Shape>) -> Self {
        let ty = TensorType::new(dtype, shape);
        let data = AlignedBytes::zeroed(ty.bytes());
        Self { ty, data }
    }

    /// A tensor from values in row-major order. Fails if their number is not the product of `shape`.
    pub fn new<T: Element>(shape: impl Into<Shape>, values: &[T]) -> Result<Self> {
        let shape = shape.into();
        if shape.len() != values.len() {
            return Err(Error::op(
                "tensor",
                format!("shape {shape} needs {} values, got {}", shape.len(), values.len()),
            ));
        }
        let mut tensor = Self::zeros(T::DTYPE, shape);
        tensor.data.copy_from_slice(bytemuck::cast_slice(values));
        Ok(tensor)
    }

    /// A tensor of the given type from its bytes (native little-endian order). Fails if their number does not fit.
    pub fn from_bytes(ty: TensorType, bytes: &[u8]) -> Result<Self> {
        if ty.bytes() != bytes.len() {
            return Err(Error::op("tensor", format!("{ty} needs {} bytes, got {}", ty.bytes(), bytes.len())));
        }
        let mut data = AlignedBytes::zeroed(bytes.len());
        data.copy_from_slice(bytes);
        Ok(Self { ty, data })
    }

    /// One `f32` value of shape `[1]`.
    pub fn scalar(value: f32) -> Self {
        let mut tensor = Self::zeros(DType::F32, [1]);
        tensor.data.copy_from_slice(bytemuck::bytes_of(&value));
        tensor
    }

    /// Element type and shape.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.ty.dtype
    }

    /// Extents.
    pub fn shape(&self) -> &Shape {
        &self.ty.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.ty.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The raw bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The values, if the element type is `T`.
    pub fn values<T: Element>(&self) -> Result<&[T]> {
        self.check::<T>()?;
        Ok(bytemuck::cast_slice(&self.data))
    }

    /// The values, if the element type is `T`.
    pub fn values_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        self.check::<T>()?;
        Ok(bytemuck::cast_slice_mut(&mut self.data))
    }

    fn check<T: Element>(&self) -> Result<()> {
        if self.ty.dtype == T::DTYPE {
            return Ok(());
        }
        Err(Error::op("tensor", format!("expected elements of type {}, found {}", T::DTYPE, self.ty)))
    }

    /// The same values under another shape of equal size.
    pub fn reshaped(mut self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.len() != self.len() {
            return Err(Error::op("tensor", format!("cannot view {} as {shape}", self.ty)));
        }
        self.ty.shape = shape;
        Ok(self)
    }

    /// The values converted to `f32` (from f16, bf16, i32 or u8).
    pub fn to_f32(&self) -> Tensor {
        let mut out = Tensor::zeros(DType::F32, self.ty.shape.clone());
        let to: &mut [f32] = bytemuck::cast_slice_mut(&mut out.data);
        match self.ty.dtype {
            DType::F32 => out.data.copy_from_slice(&self.data),
            DType::F16 => convert(to, bytemuck::cast_slice(&self.data), |v: half::f16| v.to_f32()),
            DType::Bf16 => convert(to, bytemuck::cast_slice(&self.data), |v: half::bf16| v.to_f32()),
            DType::I32 => convert(to, bytemuck::cast_slice(&self.data), |v: i32| v as f32),
            DType::U8 => convert(to, &self.data, |v: u8| v as f32),
        }
        out
    }

    /// The values rounded to `dtype`, from `f32`. Fails if this tensor is not `f32` or `dtype` is not a float type.
    pub fn to_float(&self, dtype: DType) -> Result<Tensor> {
        let from = self.values::<f32>()?;
        let mut out = Tensor::zeros(dtype, self.ty.shape.clone());
        match dtype {
            DType::F32 => out.data.copy_from_slice(&self.data),
            DType::F16 => convert(bytemuck::cast_slice_mut(&mut out.data), from, half::f16::from_f32),
            DType::Bf16 => convert(bytemuck::cast_slice_mut(&mut out.data), from, half::bf16::from_f32),
            other => return Err(Error::op("tensor", format!("cannot round f32 to {other}: not a float type"))),
        }
        Ok(out)
    }

    /// A view as an n-dimensional array of `ndarray`.
    pub fn view<T: Element>(&self) -> Result<ndarray::ArrayViewD<'_, T>> {
        let values = self.values::<T>()?;
        ndarray::ArrayViewD::from_shape(self.ty.shape.dims().to_vec(), values)
            .map_err(|e| Error::op("tensor", format!("{}: {e}", self.ty)))
    }

    /// A copy of an array of `ndarray`, in row-major order.
    pub fn from_array<T: Element, D: ndarray::Dimension>(array: ndarray::ArrayView<'_, T, D>) -> Self {
        let mut out = Self::zeros(T::DTYPE, array.shape());
        let to: &mut [T] = bytemuck::cast_slice_mut(&mut out.data);
        to.iter_mut().zip(array.iter()).for_each(|(to, from)| *to = *from);
        out
    }
}

fn convert<A: Copy, B>(to: &mut [B], from: &[A], f: impl Fn(A) -> B) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = f(*from));
}
