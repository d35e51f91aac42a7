//! Attributes of convolutions and the optional inputs of the fused op.

use crate::graph::Value;
use crate::ops::{Input, Narrow, expect_counts};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// How a window moves over its input: one entry per spatial dimension, none for a dense layer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConvAttrs {
    /// Distance between windows.
    pub stride: Vec<usize>,
    /// Distance between the taps of a window.
    pub dilation: Vec<usize>,
    /// Zeros before and after.
    pub padding: Vec<[usize; 2]>,
    /// Whether negative results become zero.
    pub relu: bool,
}

impl ConvAttrs {
    /// Stride 1, dilation 1, no padding.
    pub fn valid(spatial: usize) -> Self {
        Self { stride: vec![1; spatial], dilation: vec![1; spatial], padding: vec![[0; 2]; spatial], relu: false }
    }

    /// TensorFlow's SAME for dilation 1: `ceil(n / s)` outputs; where the padding is odd, the extra zero comes after.
    pub fn same(input: &[usize], kernel: &[usize], stride: &[usize]) -> Self {
        let pad = |((n, k), s): ((&usize, &usize), &usize)| {
            let total = (n.div_ceil(*s).saturating_sub(1) * s + k).saturating_sub(*n);
            [total / 2, total - total / 2]
        };
        let padding = input.iter().zip(kernel).zip(stride).map(pad).collect();
        Self { stride: stride.to_vec(), dilation: vec![1; stride.len()], padding, relu: false }
    }

    /// With these strides.
    pub fn with_stride(mut self, stride: &[usize]) -> Self {
        self.stride = stride.to_vec();
        self
    }

    /// With these dilations.
    pub fn with_dilation(mut self, dilation: &[usize]) -> Self {
        self.dilation = dilation.to_vec();
        self
    }

    /// With this padding, `[before, after]` per dimension.
    pub fn with_padding(mut self, padding: &[[usize; 2]]) -> Self {
        self.padding = padding.to_vec();
        self
    }

    /// With or without a ReLU at the end.
    pub fn with_relu(mut self, relu: bool) -> Self {
        self.relu = relu;
        self
    }

    /// Number of spatial dimensions.
    pub fn spatial(&self) -> usize {
        self.stride.len()
    }
}

/// Optional inputs of a convolution.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// Added to every pixel: `[Cout]`.
    pub bias: Option<Value>,
    /// Added to the result, before the ReLU: of the result's shape.
    pub residual: Option<Value>,
    /// Where this is not positive the result is zero: of the result's shape. The gradient of a ReLU, with the ReLU's result.
    pub mask: Option<Value>,
    /// How many rows of the leading axis are valid: `i32 [G]`, see [`crate::ops`].
    pub counts: Option<Value>,
}

impl Extras {
    /// Only a bias.
    pub fn bias(bias: Value) -> Self {
        Self { bias: Some(bias), ..Self::default() }
    }

    /// With device-side counts of valid rows.
    pub fn with_counts(self, counts: Option<Value>) -> Self {
        Self { counts, ..self }
    }

    /// Which are there.
    pub fn fused(&self) -> Fused {
        Fused {
            bias: self.bias.is_some(),
            residual: self.residual.is_some(),
            mask: self.mask.is_some(),
            counts: self.counts.is_some(),
        }
    }

    /// The op's inputs in their fixed order.
    pub fn inputs(&self, x: Value, w: Value) -> Vec<Value> {
        [Some(x), Some(w), self.bias, self.residual, self.mask, self.counts].into_iter().flatten().collect()
    }
}

/// Which optional inputs follow `x` and `w`, always in the order bias, residual, mask, counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fused {
    /// A bias `[Cout]`.
    pub bias: bool,
    /// A residual of the result's shape.
    pub residual: bool,
    /// A mask of the result's shape.
    pub mask: bool,
    /// `i32 [G]` valid rows of the leading axis.
    pub counts: bool,
}

impl Fused {
    /// Only counts, or nothing.
    pub fn counts(counts: bool) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Where the residual is among the inputs, or would be.
    pub(crate) fn residual_at(self) -> usize {
        2 + self.bias as usize
    }

    /// Where the mask is among the inputs, or would be.
    pub(crate) fn mask_at(self) -> usize {
        self.residual_at() + self.residual as usize
    }

    /// Where the counts are among the inputs, or would be.
    fn counts_at(self) -> usize {
        self.mask_at() + self.mask as usize
    }

    /// Position of the bias among the inputs.
    pub fn bias_index(self) -> Option<usize> {
        self.bias.then_some(2)
    }

    /// Position of the residual among the inputs.
    pub fn residual_index(self) -> Option<usize> {
        self.residual.then_some(self.residual_at())
    }

    /// Position of the mask among the inputs.
    pub fn mask_index(self) -> Option<usize> {
        self.mask.then_some(self.mask_at())
    }

    /// What may be kept as bf16 of a convolution or data gradient: what it reads, and the result with residual and mask.
    pub(super) fn narrow(self) -> Vec<Narrow> {
        vec![Narrow::new([0], []), Narrow::new(self.residual_index().into_iter().chain(self.mask_index()), [0])]
    }

    /// Inputs whose memory the result may take over: residual and mask.
    pub(super) fn in_place(self) -> &'static [usize] {
        &[0, 1, 2, 3, 4][self.residual_at()..self.counts_at()]
    }

    /// Position of the counts among the inputs.
    pub fn counts_index(self) -> Option<usize> {
        self.counts.then_some(self.counts_at())
    }

    /// Number of inputs in all.
    pub fn inputs(self) -> usize {
        self.counts_at() + self.counts as usize
    }

    /// Checks the optional inputs against the result's type.
    pub(super) fn check(self, op: &str, inputs: &[TensorType], y: &TensorType) -> Result<()> {
        if inputs.len() != self.inputs() {
            return Err(Error::op(op, format!("{self:?} means {} inputs, got {}", self.inputs(), inputs.len())));
        }
        if let Some(bias) = self.bias_index().map(|i| &inputs[i]) {
            let expected = TensorType::f32([y.shape.last()]);
            if *bias != expected {
                return Err(Error::op(op, format!("the bias must be {expected}, got {bias}")));
            }
        }
        for (what, index) in [("residual", self.residual_index()), ("mask", self.mask_index())] {
            if let Some(found) = index.map(|i| &inputs[i]).filter(|found| *found != y) {
                return Err(Error::op(op, format!("the {what} must be {y} as the result is, got {found}")));
            }
        }
        match self.counts_index() {
            Some(i) => expect_counts(op, &inputs[i], y.shape.first().copied().unwrap_or(1)),
            None => Ok(()),
        }
    }

    /// The optional inputs of a run.
    pub(super) fn take<'a>(self, inputs: &[Input<'a>]) -> FusedInputs<'a> {
        FusedInputs {
            bias: self.bias_index().map(|i| inputs[i].f32()),
            residual: self.residual_index().map(|i| inputs[i].f32()),
            mask: self.mask_index().map(|i| inputs[i].f32()),
            counts: self.counts_index().map(|i| inputs[i].i32()),
        }
    }
}

/// The optional inputs of one run.
#[derive(Clone, Copy, Default)]
pub(crate) struct FusedInputs<'a> {
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [f32]>,
    pub mask: Option<&'a [f32]>,
    pub counts: Option<&'a [i32]>,
}

/// Fails unless every type is `f32`.
pub(super) fn expect_f32(op: &str, types: &[TensorType]) -> Result<()> {
    match types.iter().find(|ty| ty.dtype != DType::F32) {
        Some(ty) => Err(Error::op(op, format!("works on f32, got {ty}"))),
        None => Ok(()),
    }
}
