//! What a CPU body is handed: typed views of inputs, outputs and scratch.

use std::marker::PhantomData;

use crate::tensor::{Element, Shape, TensorType};

/// A node's input. Empty (`len() == 0`) if the node overwrites it: a variable, or memory that an output takes over.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    ty: &'a TensorType,
    data: &'a [u8],
}

impl<'a> Input<'a> {
    /// A view of `data` as `ty`.
    pub fn new(ty: &'a TensorType, data: &'a [u8]) -> Self {
        Self { ty, data }
    }

    /// Element type and shape.
    pub fn ty(&self) -> &'a TensorType {
        self.ty
    }

    /// Shape.
    pub fn shape(&self) -> &'a Shape {
        &self.ty.shape
    }

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// The elements. Panics if `T` is not the element type that [`super::Op::infer`] accepted: a bug of the op.
    pub fn values<T: Element>(&self) -> &'a [T] {
        assert_eq!(self.ty.dtype, T::DTYPE, "op body reads an input as the wrong type");
        // No bytes need no alignment.
        if self.data.is_empty() { &[] } else { bytemuck::cast_slice(self.data) }
    }

    /// The elements as `f32`.
    pub fn f32(&self) -> &'a [f32] {
        self.values()
    }

    /// The elements as `i32`.
    pub fn i32(&self) -> &'a [i32] {
        self.values()
    }
}

/// A node's output. Empty if it is optional and nothing reads it.
pub struct Output<'a> {
    ty: &'a TensorType,
    data: &'a mut [u8],
}

impl<'a> Output<'a> {
    /// A view of `data` as `ty`.
    pub fn new(ty: &'a TensorType, data: &'a mut [u8]) -> Self {
        Self { ty, data }
    }

    /// Element type and shape.
    pub fn ty(&self) -> &'a TensorType {
        self.ty
    }

    /// Shape.
    pub fn shape(&self) -> &'a Shape {
        &self.ty.shape
    }

    /// Whether something reads this output.
    pub fn is_needed(&self) -> bool {
        self.ty.is_empty() || !self.data.is_empty()
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.data
    }

    /// The elements. Panics if `T` is not the element type that [`super::Op::infer`] gave: a bug of the op.
    pub fn values<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(self.ty.dtype, T::DTYPE, "op body writes an output as the wrong type");
        if self.data.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(self.data) }
    }

    /// The elements as `f32`.
    pub fn f32(&mut self) -> &mut [f32] {
        self.values()
    }

    /// The elements as `i32`.
    pub fn i32(&mut self) -> &mut [i32] {
        self.values()
    }
}

/// All that a CPU body works on. Take it apart by fields: `let [dx] = args.outputs else { ... }`.
pub struct CpuArgs<'a> {
    /// Inputs in the node's order.
    pub inputs: &'a [Input<'a>],
    /// Outputs in the op's order.
    pub outputs: &'a mut [Output<'a>],
    /// What [`super::Op::cpu_pack`] made.
    pub packed: &'a [u8],
    /// Scratch of the size that [`super::Op::cpu_workspace`] asked for; its content is arbitrary.
    pub scratch: &'a mut [u8],
}

/// Hands out pieces of a scratch buffer, each 64-byte aligned.
pub struct Scratch<'a> {
    rest: *mut u8,
    left: usize,
    buffer: PhantomData<&'a mut [u8]>,
}

impl<'a> Scratch<'a> {
    /// Takes over `buffer`, which must be 64-byte aligned (as the executor's is).
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { rest: buffer.as_mut_ptr(), left: buffer.len(), buffer: PhantomData }
    }

    /// Bytes to ask for so that `len` elements of `T` can be taken.
    pub const fn bytes<T>(len: usize) -> usize {
        (len * size_of::<T>()).div_ceil(64) * 64
    }

    /// The next `len` elements, content arbitrary. Panics if the workspace asked for was too small: a bug of the op.
    pub fn take<T: Element>(&mut self, len: usize) -> &'a mut [T] {
        let bytes = Self::bytes::<T>(len);
        assert!(bytes <= self.left && self.rest as usize % 64 == 0, "scratch is too small or misaligned");
        // SAFETY: the piece lies inside the buffer, is aligned, and is handed out once.
        let piece = unsafe { std::slice::from_raw_parts_mut(self.rest.cast::<T>(), len) };
        // SAFETY: stays inside or one past the buffer.
        self.rest = unsafe { self.rest.add(bytes) };
        self.left -= bytes;
        piece
    }
}
