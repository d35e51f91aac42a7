//! Targets of the heads: which proposals are trained on, and towards what.

use super::{detection_cpu, detection_cuda};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::boxes::{STD_DEV, expect_image_counts};
use crate::ops::select::key_bytes;
use crate::ops::{Cost, CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// What mask targets are sampled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskTargets {
    /// Height and width of a target: 28, 28.
    pub shape: [usize; 2],
    /// Whether the masks given are mini masks (each spanning its object's box) or span the whole image.
    pub mini: bool,
}

/// Samples proposals of each image and tells the heads what to say about them.
///
/// A proposal is positive if its intersection over union with some object is at least `positive_iou`, else negative.
/// `P = min(positives, floor(rois_per_image * positive_share))` positives are kept and
/// `floor(P / positive_share) - P` negatives, each in the order of their keys. **Without a positive nothing is kept** (as in
/// the reference), unless `fill_with_negatives` is set. Rows: positives, negatives, zero padding. Every positive goes to the
/// object it overlaps most (ties: the first): its class, the deltas towards it, its mask inside the ROI (sampled as
/// [`crate::ops::roi::RoiAlign`] does, rounded, halves to even).
///
/// Inputs: proposals `f32 [N, P, 4]` and their numbers `i32 [N]`, objects' boxes `f32 [N, G, 4]` (both normalised), classes
/// `i32 [N, G]` (negative: a crowd, which is no object, and no proposal near it is a negative) and their numbers `i32 [N]`, keys `f32 [N, P]` (`[N, P + G]` with `add_objects`), and, if `masks` is set, the
/// objects' masks `f32` or `u8 [N, G, h, w]`. Outputs, with R = `rois_per_image` and M the most positives there can be: ROIs
/// `f32 [N, R, 4]`, classes `i32 [N, R]`, deltas `f32 [N, R, 4]`, numbers of ROIs `i32 [N]`, of positives `i32 [N]`, and
/// with `masks` the mask targets `f32 [N, M, h', w']` of the first M ROIs. Zero boxes are neither proposals nor objects.
/// No gradient: ROIs and targets are constants to the losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionTargets {
    /// ROIs kept at most, per image: 200.
    pub rois_per_image: usize,
    /// Share of positives among the ROIs: 0.33.
    pub positive_share: f64,
    /// Positive from this overlap on: 0.5.
    pub positive_iou: f32,
    /// Divides the deltas.
    pub std_dev: [f32; 4],
    /// Mask targets; `None` for networks without a mask head.
    pub masks: Option<MaskTargets>,
    /// Whether the objects' own boxes join the proposals, behind them. Not in the reference.
    pub add_objects: bool,
    /// Whether negatives fill all rows that positives leave, also when there is no positive. Not in the reference.
    pub fill_with_negatives: bool,
}

impl Default for DetectionTargets {
    fn default() -> Self {
        Self {
            rois_per_image: 200,
            positive_share: 0.33,
            positive_iou: 0.5,
            std_dev: STD_DEV,
            masks: Some(MaskTargets { shape: [28, 28], mini: true }),
            add_objects: false,
            fill_with_negatives: false,
        }
    }
}

impl DetectionTargets {
    /// The most positives an image can have: the rows of the mask targets.
    pub fn max_positives(&self) -> usize {
        ((self.rois_per_image as f64 * self.positive_share) as usize).min(self.rois_per_image)
    }

    /// How many of `available` negatives go with `positives`.
    pub(super) fn negatives(&self, positives: usize, available: usize) -> usize {
        let free = self.rois_per_image - positives;
        // One product in f32, as the reference: 1/0.33 * 66 must give 200.
        let wanted = (1.0 / self.positive_share) as f32 * positives as f32;
        let wanted = if self.fill_with_negatives { free } else { (wanted as usize).saturating_sub(positives) };
        wanted.min(free).min(available)
    }

    /// Boxes that may become ROIs, per image.
    pub(super) fn candidates(&self, proposals: usize, objects: usize) -> usize {
        proposals + if self.add_objects { objects } else { 0 }
    }
}

impl Op for DetectionTargets {
    fn name(&self) -> &'static str {
        "detection_targets"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let expected = if self.masks.is_some() { 7 } else { 6 };
        expect_inputs(self.name(), inputs, expected..=expected)?;
        let share = self.positive_share;
        ensure(self.name(), share > 0.0 && share <= 1.0, || format!("positive_share must be in (0, 1], got {share}"))?;
        let (&[n, p, 4], &[m, g, 4]) = (inputs[0].shape.dims(), inputs[2].shape.dims()) else {
            return Err(crate::Error::op(
                self.name(),
                format!("needs proposals [N,P,4] and boxes [N,G,4], got {}, {}", inputs[0], inputs[2]),
            ));
        };
        let candidates = self.candidates(p, g);
        let ok = n == m
            && inputs[0].dtype == DType::F32
            && inputs[2].dtype == DType::F32
            && inputs[3] == TensorType::i32([n, g])
            && inputs[5] == TensorType::f32([n, candidates]);
        ensure(self.name(), ok, || {
            format!(
                "needs f32 proposals [N,P,4], f32 boxes [N,G,4], i32 classes [N,G], f32 keys [{n},{candidates}], \
                 got {}, {}, {}, {}",
                inputs[0], inputs[2], inputs[3], inputs[5]
            )
        })?;
        expect_image_counts(self.name(), "numbers of proposals", &inputs[1], n)?;
        expect_image_counts(self.name(), "numbers of objects", &inputs[4], n)?;
        let r = self.rois_per_image;
        let mut outputs = vec![
            TensorType::f32([n, r, 4]),
            TensorType::i32([n, r]),
            TensorType::f32([n, r, 4]),
            TensorType::i32([n]),
            TensorType::i32([n]),
        ];
        if let Some(masks) = &self.masks {
            let given = &inputs[6];
            let ok = matches!(*given.shape.dims(), [a, b, h, w] if a == n && b == g && h * w > 0);
            let ok = ok && matches!(given.dtype, DType::F32 | DType::U8) && masks.shape.iter().all(|n| *n > 0);
            ensure(self.name(), ok, || format!("masks must be f32 or u8 [{n},{g},h,w], got {given}"))?;
            outputs.push(TensorType::f32([n, self.max_positives(), masks.shape[0], masks.shape[1]]));
        }
        Ok(outputs)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let pairs = inputs[0].shape.rows() * inputs[2].shape[1];
        Cost::new(14 * pairs as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let candidates = self.candidates(inputs[0].shape[1], inputs[2].shape[1]);
        let each = 2 * key_bytes(candidates) + Scratch::bytes::<i32>(candidates);
        Workspace { packed: 0, scratch: cpu.threads() * each }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        detection_cuda::run(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        detection_cpu::run(self, cpu, args)
    }
}

/// What [`Graph::detection_targets`] gives.
#[derive(Clone, Copy, Debug)]
pub struct DetectionTargetValues {
    /// ROIs, normalised: `f32 [N, R, 4]`.
    pub rois: Value,
    /// Their classes, 0 for negatives and padding: `i32 [N, R]`.
    pub classes: Value,
    /// Deltas of the positives: `f32 [N, R, 4]`.
    pub deltas: Value,
    /// Numbers of ROIs: `i32 [N]`.
    pub counts: Value,
    /// Numbers of positives, which come first: `i32 [N]`.
    pub positives: Value,
    /// Mask targets of the first M ROIs: `f32 [N, M, h, w]`.
    pub masks: Option<Value>,
}

impl Graph {
    /// Samples ROIs from `(proposals, counts)` against the objects `(boxes, classes, counts)` and, with `op.masks`, their
    /// masks. See [`DetectionTargets`] for types.
    pub fn detection_targets(
        &mut self,
        (proposals, proposal_counts): (Value, Value),
        (boxes, classes, object_counts): (Value, Value, Value),
        masks: Option<Value>,
        keys: Value,
        op: DetectionTargets,
    ) -> Result<DetectionTargetValues> {
        let inputs = [proposals, proposal_counts, boxes, classes, object_counts, keys];
        let inputs: Vec<Value> = inputs.into_iter().chain(masks).collect();
        let outputs = self.apply(op, &inputs)?;
        Ok(DetectionTargetValues {
            rois: outputs[0],
            classes: outputs[1],
            deltas: outputs[2],
            counts: outputs[3],
            positives: outputs[4],
            masks: outputs.get(5).copied(),
        })
    }
}
