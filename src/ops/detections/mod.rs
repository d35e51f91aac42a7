//! From the heads' outputs to detections, and from their small masks to masks on the image.

mod cpu;
mod cuda;
pub mod paste;
mod paste_cpu;
mod paste_cuda;
pub mod problem;
pub mod resize;

pub use paste::{MaskPaste, PasteMode, PasteOutput};

use super::select::{key_bytes, suppress};
use super::{CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::boxes::{Box4, STD_DEV, WHOLE, expect_boxes, expect_image_counts};
use crate::tensor::{DType, TensorType};

/// For each image: every ROI's most probable class and its box moved by that class's deltas; background and doubtful ones
/// dropped; non-maximum suppression within each class; the `max` best, by descending score (ties: lower ROI index).
///
/// Inputs: ROIs `f32 [N, R, 4]`, class probabilities `f32` of `N*R*C` values, deltas `f32` of `N*R*C*4` values (class by
/// class), counts of ROIs `i32 [N]` if any. Outputs: rows (y1, x1, y2, x2, class, score) `f32 [N, max, 6]` padded with
/// zeros, numbers of them `i32 [N]`. Without counts padded ROIs take part, as in the reference. No gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detections {
    /// Detections kept at most, in each class and in all: 100.
    pub max: usize,
    /// Least probability of the class; 0 for no test: 0.7.
    pub min_confidence: f32,
    /// Boxes that overlap a better one of their class by more than this are dropped: 0.3.
    pub nms_iou: f32,
    /// Multiplies the deltas.
    pub std_dev: [f32; 4],
    /// Window that boxes are clipped to.
    pub window: Box4,
}

impl Default for Detections {
    fn default() -> Self {
        Self { max: 100, min_confidence: 0.7, nms_iou: 0.3, std_dev: STD_DEV, window: WHOLE }
    }
}

impl Op for Detections {
    fn name(&self) -> &'static str {
        "detections"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=4)?;
        let (rois, probs, deltas) = (&inputs[0], &inputs[1], &inputs[2]);
        expect_boxes(self.name(), "ROIs", rois)?;
        ensure(self.name(), rois.shape.rank() == 3, || format!("ROIs must be f32 [N,R,4], got {rois}"))?;
        let (images, rows) = (rois.shape[0], rois.shape.rows());
        let ok = probs.dtype == DType::F32 && deltas.dtype == DType::F32;
        let ok = ok && rows > 0 && probs.len() % rows == 0 && deltas.len() == 4 * probs.len() && !probs.is_empty();
        ensure(self.name(), ok, || {
            format!("needs f32 probabilities [{rows},C] and deltas [{rows},C,4] for {rows} ROIs, got {probs}, {deltas}")
        })?;
        if let Some(counts) = inputs.get(3) {
            expect_image_counts(self.name(), "counts", counts, images)?;
        }
        Ok(vec![TensorType::f32([images, self.max, 6]), TensorType::i32([images])])
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let rois = inputs[0].shape[1];
        let kept = Scratch::bytes::<f32>(suppress::scratch_len(self.max));
        let each = 2 * key_bytes(rois) + Scratch::bytes::<i32>(rois) + Scratch::bytes::<f32>(4 * rois) + kept;
        Workspace { packed: 0, scratch: cpu.threads() * each }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::run(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::run(self, cpu, args)
    }
}

impl Graph {
    /// Detections `f32 [N, max, 6]` and their numbers `i32 [N]` from ROIs `[N, R, 4]`, class probabilities and deltas of
    /// each class. See [`Detections`].
    pub fn detections(
        &mut self,
        rois: Value,
        probs: Value,
        deltas: Value,
        counts: Option<Value>,
        op: Detections,
    ) -> Result<(Value, Value)> {
        let inputs: Vec<Value> = [rois, probs, deltas].into_iter().chain(counts).collect();
        let outputs = self.apply(op, &inputs)?;
        Ok((outputs[0], outputs[1]))
    }

    /// The masks of detections `[N, D, 6]` on the image, from the mask head's probabilities (`N*D*h*w*C` values, shape
    /// `[.., h, w, C]`): `[N, D, H, W]`, `u8` 0 or 1 or `f32` probabilities; zero beyond `counts` and for class 0. See
    /// [`MaskPaste`].
    pub fn mask_paste(
        &mut self,
        detections: Value,
        probs: Value,
        counts: Option<Value>,
        op: MaskPaste,
    ) -> Result<Value> {
        let inputs: Vec<Value> = [detections, probs].into_iter().chain(counts).collect();
        self.apply1(op, &inputs)
    }
}
