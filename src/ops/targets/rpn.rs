//! Targets of the region proposal network.

use super::{rpn_cpu, rpn_cuda};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::boxes::{STD_DEV, expect_image_counts};
use crate::ops::select::key_bytes;
use crate::ops::{Cost, CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// Which anchors should answer to an object, and with which deltas.
///
/// An anchor is positive (1) if its intersection over union with some object is at least `positive_iou`, or the
/// largest that this object has with any anchor (all ties, up to rounding); else negative (-1) below `negative_iou`, else
/// neutral (0). At most `per_image / 2` stay positive and `per_image - positives` negative; a surplus, by keys,
/// becomes neutral.
///
/// Inputs: anchors `f32 [A, 4]` and object boxes `f32 [N, G, 4]`, both in pixels, numbers of objects `i32 [N]`, keys
/// `f32 [N, A]`. Outputs: match `i32 [N, A]`; deltas `f32 [N, P, 4]` with `P = min(per_image / 2, A)`, one row per
/// positive in anchor order, towards the object it overlaps most, padded with zeros. Boxes without area are no objects.
/// No gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RpnTargets {
    /// Positive from this overlap on: 0.7.
    pub positive_iou: f32,
    /// Negative below this overlap: 0.3.
    pub negative_iou: f32,
    /// Anchors that take part in the loss, per image: 256.
    pub per_image: usize,
    /// Divides the deltas.
    pub std_dev: [f32; 4],
}

impl Default for RpnTargets {
    fn default() -> Self {
        Self { positive_iou: 0.7, negative_iou: 0.3, per_image: 256, std_dev: STD_DEV }
    }
}

impl RpnTargets {
    /// Positives kept at most.
    pub(super) fn max_positives(&self, anchors: usize) -> usize {
        (self.per_image / 2).min(anchors)
    }
}

impl Op for RpnTargets {
    fn name(&self) -> &'static str {
        "rpn_targets"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 4..=4)?;
        let (anchors, boxes, keys) = (&inputs[0], &inputs[1], &inputs[3]);
        let ok = match (anchors.shape.dims(), boxes.shape.dims()) {
            (&[a, 4], &[n, _, 4]) => *keys == TensorType::f32([n, a]),
            _ => false,
        };
        ensure(self.name(), ok && anchors.dtype == DType::F32 && boxes.dtype == DType::F32, || {
            format!("needs f32 anchors [A,4], boxes [N,G,4], keys [N,A], got {anchors}, {boxes}, {keys}")
        })?;
        let (a, n) = (anchors.shape[0], boxes.shape[0]);
        expect_image_counts(self.name(), "numbers of objects", &inputs[2], n)?;
        Ok(vec![TensorType::i32([n, a]), TensorType::f32([n, self.max_positives(a), 4])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(14 * (inputs[0].shape[0] * inputs[1].shape.rows()) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let (anchors, objects) = (inputs[0].shape[0], inputs[1].shape[1]);
        let each = key_bytes(anchors) + Scratch::bytes::<f32>(anchors * objects) + Scratch::bytes::<i32>(anchors);
        Workspace { packed: 0, scratch: cpu.threads() * (each + Scratch::bytes::<f32>(objects)) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        rpn_cuda::run(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        rpn_cpu::run(self, cpu, args)
    }
}

impl Graph {
    /// Match `i32 [N, A]` (1, -1, 0) and deltas `f32 [N, P, 4]` of the positives, from pixel anchors `[A, 4]`, pixel boxes
    /// `[N, G, 4]`, their numbers `i32 [N]` and random keys `f32 [N, A]`. See [`RpnTargets`].
    pub fn rpn_targets(
        &mut self,
        anchors_px: Value,
        boxes_px: Value,
        counts: Value,
        keys: Value,
        op: RpnTargets,
    ) -> Result<(Value, Value)> {
        let outputs = self.apply(op, &[anchors_px, boxes_px, counts, keys])?;
        Ok((outputs[0], outputs[1]))
    }
}
