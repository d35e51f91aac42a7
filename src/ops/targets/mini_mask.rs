//! Mini masks: each object's mask cut to its box and resized to a fixed size.

use super::detection_cuda;
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::boxes::expect_boxes;
use crate::ops::boxes::geometry::box_at;
use crate::ops::detections::resize::Resize;
use crate::ops::{CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// Masks `f32` or `u8 [.., H, W]` (0 or 1) cut to their whole-pixel boxes `f32 [.., 4]`, resized with fading borders (as
/// [`crate::ops::detections::resize`]) and rounded, halves to even: same type, `[.., shape]`. Empty boxes give zeros.
#[derive(Clone, Copy, Debug)]
pub struct MiniMasks {
    /// Height and width: 56, 56.
    pub shape: [usize; 2],
}

impl Op for MiniMasks {
    fn name(&self) -> &'static str {
        "mini_masks"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let (masks, boxes) = (&inputs[0], &inputs[1]);
        let rank = masks.shape.rank();
        let ok = matches!(masks.dtype, DType::F32 | DType::U8) && rank >= 2;
        ensure(self.name(), ok, || format!("masks must be f32 or u8 [..,H,W], got {masks}"))?;
        expect_boxes(self.name(), "boxes", boxes)?;
        let lead = &masks.shape.dims()[..rank - 2];
        let count: usize = lead.iter().product();
        ensure(self.name(), boxes.shape.rows() == count, || format!("{count} masks need {count} boxes, got {boxes}"))?;
        let shape: Vec<usize> = lead.iter().chain(&self.shape).copied().collect();
        Ok(vec![TensorType::new(masks.dtype, shape)])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        detection_cuda::mini_masks(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (masks, boxes) = (&args.inputs[0], args.inputs[1].f32());
        let rank = masks.shape().rank();
        let size = [masks.shape()[rank - 2], masks.shape()[rank - 1]];
        let cells = self.shape[0] * self.shape[1];
        match masks.ty().dtype {
            DType::U8 => {
                let masks = masks.values::<u8>();
                cpu.parallel_chunks(args.outputs[0].values::<u8>(), cells, |i, out| {
                    let read = |cell: usize| f64::from(masks[i * size[0] * size[1] + cell]);
                    self.shrink(size, box_at(boxes, i), read, |cell, value| out[cell] = value as u8);
                });
            }
            _ => {
                let masks = masks.f32();
                cpu.parallel_chunks(args.outputs[0].f32(), cells, |i, out| {
                    let read = |cell: usize| f64::from(masks[i * size[0] * size[1] + cell]);
                    self.shrink(size, box_at(boxes, i), read, |cell, value| out[cell] = value as f32);
                });
            }
        }
        Ok(())
    }
}

impl MiniMasks {
    /// Calls `write` for every cell of the mini mask of a mask of `size`, read by `read(cell)`, in the pixel box `b`.
    fn shrink(&self, size: [usize; 2], b: [f32; 4], read: impl Fn(usize) -> f64, mut write: impl FnMut(usize, f64)) {
        let end = |v: f32, limit: usize| (v.max(0.0) as usize).min(limit);
        let [y1, x1, y2, x2] = [end(b[0], size[0]), end(b[1], size[1]), end(b[2], size[0]), end(b[3], size[1])];
        let cut = [y2.saturating_sub(y1), x2.saturating_sub(x1)];
        let resize = Resize::new(cut, self.shape, |y, x| read((y1 + y) * size[1] + x1 + x));
        let is_empty = cut.contains(&0);
        for y in 0..self.shape[0] {
            for x in 0..self.shape[1] {
                let value = if is_empty { 0.0 } else { resize.at(y, x).round_ties_even() };
                write(y * self.shape[1] + x, value);
            }
        }
    }
}

impl Graph {
    /// Mini masks of `shape` from masks (`f32` or `u8 [.., H, W]`) and their pixel boxes (`f32 [.., 4]`). See [`MiniMasks`].
    pub fn mini_masks(&mut self, masks: Value, boxes_px: Value, shape: [usize; 2]) -> Result<Value> {
        self.apply1(MiniMasks { shape }, &[masks, boxes_px])
    }
}
