//! Selection: the largest values of a row, non-maximum suppression.

mod cpu;
pub(crate) mod cuda;
pub mod order;
pub mod problem;
pub mod suppress;

use super::{Cost, CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::boxes::{expect_boxes, expect_image_counts};
use crate::tensor::{DType, TensorType};

/// The `k` largest values of each row, largest first, ties by lower index, NaN last: `f32 [.., n]` to `f32 [.., k]` and
/// their indices, `i32 [.., k]`.
#[derive(Clone, Copy, Debug)]
pub struct TopK {
    /// How many; at most `n`.
    pub k: usize,
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let ty = &inputs[0];
        let ok = ty.dtype == DType::F32 && ty.shape.rank() >= 1 && self.k <= ty.shape.last();
        ensure(self.name(), ok, || format!("needs f32 rows of at least {} values, got {ty}", self.k))?;
        let mut shape = ty.shape.to_vec();
        shape[ty.shape.rank() - 1] = self.k;
        Ok(vec![TensorType::f32(shape.clone()), TensorType::i32(shape)])
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        Workspace { packed: 0, scratch: cpu.threads() * key_bytes(inputs[0].shape.last()) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::top_k(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::top_k(self.k, cpu, args)
    }
}

/// Greedy non-maximum suppression of each image's boxes. Inputs: boxes `f32 [N, A, 4]` (corners may be swapped), scores
/// `f32 [N, A]`, counts `i32 [N]` if any. Outputs: indices of the kept boxes by descending score, `i32 [N, max]` padded with
/// -1, and their numbers `i32 [N]`. Ties by lower index; a box goes if its intersection over union with a kept one is
/// greater than (not equal to) the threshold; boxes without area stay.
#[derive(Clone, Copy, Debug)]
pub struct Nms {
    /// The threshold.
    pub iou: f32,
    /// Boxes kept at most.
    pub max: usize,
}

impl Op for Nms {
    fn name(&self) -> &'static str {
        "nms"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=3)?;
        let (boxes, scores) = (&inputs[0], &inputs[1]);
        expect_boxes(self.name(), "boxes", boxes)?;
        let ok = boxes.shape.rank() == 3 && *scores == TensorType::f32(&boxes.shape.dims()[..2]);
        ensure(self.name(), ok, || format!("needs boxes [N,A,4] and scores f32 [N,A], got {boxes}, {scores}"))?;
        let images = boxes.shape[0];
        if let Some(counts) = inputs.get(2) {
            expect_image_counts(self.name(), "counts", counts, images)?;
        }
        Ok(vec![TensorType::i32([images, self.max]), TensorType::i32([images])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let pairs = (inputs[1].len() * self.max.min(inputs[1].shape[1])) as u64 / 2;
        Cost::new(14 * pairs, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let kept = Scratch::bytes::<f32>(suppress::scratch_len(self.max));
        Workspace { packed: 0, scratch: cpu.threads() * (key_bytes(inputs[1].shape[1]) + kept) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::nms(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::nms(self, cpu, args)
    }
}

/// Scratch bytes of `len` sort keys.
pub(crate) fn key_bytes(len: usize) -> usize {
    // A key is as large as two `i32`.
    Scratch::bytes::<i32>(2 * len)
}

/// Takes `len` sort keys from scratch that [`key_bytes`] sized.
pub(crate) fn take_keys<'a>(scratch: &mut Scratch<'a>, len: usize) -> &'a mut [u64] {
    bytemuck::cast_slice_mut(scratch.take::<i32>(2 * len))
}

impl Graph {
    /// The `k` largest values of each row of `x` (`f32 [.., n]`), largest first, and their indices (`i32`).
    pub fn top_k(&mut self, x: Value, k: usize) -> Result<(Value, Value)> {
        let outputs = self.apply(TopK { k }, &[x])?;
        Ok((outputs[0], outputs[1]))
    }

    /// Greedy non-maximum suppression, see [`Nms`]: indices `i32 [N, max]` and counts `i32 [N]`.
    pub fn nms(&mut self, boxes: Value, scores: Value, op: Nms, counts: Option<Value>) -> Result<(Value, Value)> {
        let inputs: Vec<Value> = [boxes, scores].into_iter().chain(counts).collect();
        let outputs = self.apply(op, &inputs)?;
        Ok((outputs[0], outputs[1]))
    }
}
