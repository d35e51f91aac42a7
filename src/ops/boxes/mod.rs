//! Ops on boxes `(y1, x1, y2, x2)`: deltas, clipping, coordinates, overlap, boxes of masks.
//!
//! Boxes come as `f32 [.., 4]`; an optional `counts` (`i32`, see [`crate::ops`]) makes rows beyond it zero. The networks
//! treat boxes as constants: none of these ops has a gradient.

mod cpu;
mod cuda;
pub mod geometry;
pub mod problem;

pub use geometry::{Box4, BoxNorm, STD_DEV, WHOLE};

use super::{Cost, CpuArgs, Op, ensure, expect_counts, expect_inputs};
use crate::Result;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::tensor::{DType, TensorType};

/// What [`BoxMap`] does to each row of boxes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BoxMapKind {
    /// Second input: targets, one per box. Gives the deltas from boxes to targets.
    Encode {
        /// Divides the deltas.
        std_dev: [f32; 4],
    },
    /// Second input: deltas, one row per box. Gives the moved boxes, clipped if there is a window.
    Decode {
        /// Multiplies the deltas.
        std_dev: [f32; 4],
        /// Window to clip to.
        window: Option<Box4>,
    },
    /// Clips to a window.
    Clip {
        /// The window.
        window: Box4,
    },
    /// Pixels to normalised coordinates.
    Normalise {
        /// Height and width in pixels.
        image: [usize; 2],
        /// The convention.
        norm: BoxNorm,
    },
    /// Normalised coordinates to pixels, rounded to whole ones (halves to even) if asked.
    ToPixels {
        /// Height and width in pixels.
        image: [usize; 2],
        /// The convention.
        norm: BoxNorm,
        /// Whether to round.
        round: bool,
    },
}

impl BoxMapKind {
    fn is_binary(&self) -> bool {
        matches!(self, BoxMapKind::Encode { .. } | BoxMapKind::Decode { .. })
    }
}

/// A row-wise op on boxes: `f32 [.., 4]` (twice for deltas), counts if any, to `f32 [.., 4]`.
#[derive(Clone, Copy, Debug)]
pub struct BoxMap {
    /// What it does.
    pub kind: BoxMapKind,
}

impl Op for BoxMap {
    fn name(&self) -> &'static str {
        match self.kind {
            BoxMapKind::Encode { .. } => "box_encode",
            BoxMapKind::Decode { .. } => "box_decode",
            BoxMapKind::Clip { .. } => "box_clip",
            BoxMapKind::Normalise { .. } => "box_normalise",
            BoxMapKind::ToPixels { .. } => "box_to_pixels",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let data = if self.kind.is_binary() { 2 } else { 1 };
        expect_inputs(self.name(), inputs, data..=data + 1)?;
        expect_boxes(self.name(), "boxes", &inputs[0])?;
        ensure(self.name(), inputs[data - 1] == inputs[0], || {
            format!("the second input must be like the boxes {}, got {}", inputs[0], inputs[data - 1])
        })?;
        if let Some(counts) = inputs.get(data) {
            expect_counts(self.name(), counts, inputs[0].shape.rows())?;
        }
        Ok(vec![inputs[0].clone()])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::map(&self.kind, types)
    }

    fn cpu_run(&self, cpu: &crate::device::Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::map(&self.kind, cpu, args)
    }
}

/// Intersection over union of all pairs: `f32 [A, 4]`, `f32 [B, 4]` to `f32 [A, B]`.
#[derive(Clone, Copy, Debug)]
pub struct BoxIou;

impl Op for BoxIou {
    fn name(&self) -> &'static str {
        "box_iou"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        for ty in inputs {
            expect_boxes(self.name(), "boxes", ty)?;
            ensure(self.name(), ty.shape.rank() == 2, || format!("boxes must be f32 [n,4], got {ty}"))?;
        }
        Ok(vec![TensorType::f32([inputs[0].shape[0], inputs[1].shape[0]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(14 * outputs[0].len() as u64, inputs, outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::iou(types)
    }

    fn cpu_run(&self, cpu: &crate::device::Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::iou(cpu, args)
    }
}

/// Pixel boxes of masks: `f32` or `u8 [.., H, W]` to `f32 [.., 4]`: first row and column with a value above 0.5 (above 0
/// for `u8`), last one + 1; zeros for an empty mask.
#[derive(Clone, Copy, Debug)]
pub struct MaskBoxes;

impl Op for MaskBoxes {
    fn name(&self) -> &'static str {
        "mask_boxes"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let ty = &inputs[0];
        let ok = matches!(ty.dtype, DType::F32 | DType::U8) && ty.shape.rank() >= 2;
        ensure(self.name(), ok, || format!("masks must be f32 or u8 [..,H,W], got {ty}"))?;
        let mut shape = ty.shape.dims()[..ty.shape.rank() - 2].to_vec();
        shape.push(4);
        Ok(vec![TensorType::f32(shape)])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::mask_boxes(types)
    }

    fn cpu_run(&self, cpu: &crate::device::Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::mask_boxes(cpu, args)
    }
}

/// Checks for `f32 [.., 4]`.
pub(crate) fn expect_boxes(op: &str, what: &str, ty: &TensorType) -> Result<()> {
    let ok = ty.dtype == DType::F32 && ty.shape.rank() >= 1 && ty.shape.last() == 4;
    ensure(op, ok, || format!("{what} must be f32 [..,4], got {ty}"))
}

/// Checks for `i32 [images]`: one count per image.
pub(crate) fn expect_image_counts(op: &str, what: &str, counts: &TensorType, images: usize) -> Result<()> {
    ensure(op, *counts == TensorType::i32([images]), || format!("{what} must be i32[{images}], got {counts}"))
}

impl Graph {
    fn box_map(&mut self, kind: BoxMapKind, inputs: &[Value], counts: Option<Value>) -> Result<Value> {
        let inputs: Vec<Value> = inputs.iter().copied().chain(counts).collect();
        self.apply1(BoxMap { kind }, &inputs)
    }

    /// Deltas that move `boxes` onto `targets` (both `f32 [.., 4]`), divided by `std_dev`.
    pub fn box_encode(
        &mut self,
        boxes: Value,
        targets: Value,
        std_dev: [f32; 4],
        counts: Option<Value>,
    ) -> Result<Value> {
        self.box_map(BoxMapKind::Encode { std_dev }, &[boxes, targets], counts)
    }

    /// `boxes` moved by `deltas` (both `f32 [.., 4]`) times `std_dev`, clipped if there is a window.
    pub fn box_decode(
        &mut self,
        boxes: Value,
        deltas: Value,
        std_dev: [f32; 4],
        window: Option<Box4>,
        counts: Option<Value>,
    ) -> Result<Value> {
        self.box_map(BoxMapKind::Decode { std_dev, window }, &[boxes, deltas], counts)
    }

    /// `boxes` (`f32 [.., 4]`) clipped to `window`.
    pub fn box_clip(&mut self, boxes: Value, window: Box4, counts: Option<Value>) -> Result<Value> {
        self.box_map(BoxMapKind::Clip { window }, &[boxes], counts)
    }

    /// Pixel boxes of an image `[height, width]` in normalised coordinates.
    pub fn box_normalise(
        &mut self,
        boxes_px: Value,
        image: [usize; 2],
        norm: BoxNorm,
        counts: Option<Value>,
    ) -> Result<Value> {
        self.box_map(BoxMapKind::Normalise { image, norm }, &[boxes_px], counts)
    }

    /// Normalised boxes in pixels of an image `[height, width]`, rounded to whole ones if `round`.
    pub fn box_to_pixels(
        &mut self,
        boxes: Value,
        image: [usize; 2],
        norm: BoxNorm,
        round: bool,
        counts: Option<Value>,
    ) -> Result<Value> {
        self.box_map(BoxMapKind::ToPixels { image, norm, round }, &[boxes], counts)
    }

    /// Intersection over union of all pairs of `a [A, 4]` and `b [B, 4]`: `[A, B]`.
    pub fn box_iou(&mut self, a: Value, b: Value) -> Result<Value> {
        self.apply1(BoxIou, &[a, b])
    }

    /// Pixel boxes `f32 [.., 4]` of masks (`f32` or `u8 [.., H, W]`); zeros for empty masks.
    pub fn mask_boxes(&mut self, masks: Value) -> Result<Value> {
        self.apply1(MaskBoxes, &[masks])
    }
}
