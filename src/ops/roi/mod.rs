//! RoiAlign: each box's part of a feature map, resampled to a fixed size.

mod cpu;
mod cuda;
pub mod problem;
pub(crate) mod sample;

use std::sync::Arc;

use super::{Cost, CpuArgs, Narrow, Op, ensure};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::boxes::{Box4, expect_boxes, expect_image_counts};
use crate::tensor::{DType, TensorType};

/// Which level of a pyramid a box is cropped from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LevelRule {
    /// Always this one (0 is the finest given).
    Fixed(usize),
    /// By size, as in the FPN paper (eq. 1) with the reference's rounding:
    /// `base_level + round(log2(sqrt(h w) / (canonical_px / sqrt(H W))))`, limited to the levels there are.
    Size {
        /// Side of a box, in pixels, that belongs to `base_level`: 224.
        canonical_px: f32,
        /// Height and width of the input image in pixels.
        image: [usize; 2],
        /// Number of the finest level given: 2.
        first_level: i32,
        /// Level of a box of the canonical size: 4.
        base_level: i32,
    },
}

impl LevelRule {
    /// The rule of the reference for an image `[height, width]`, levels from P2.
    pub fn reference(image: [usize; 2]) -> Self {
        LevelRule::Size { canonical_px: 224.0, image, first_level: 2, base_level: 4 }
    }

    /// Index of the level that a normalised box is cropped from, of `levels`. Boxes without area: the finest.
    pub fn level(&self, b: Box4, levels: usize) -> usize {
        match *self {
            LevelRule::Fixed(level) => level,
            LevelRule::Size { canonical_px, image, first_level, base_level } => {
                let area = (b[2] - b[0]) * (b[3] - b[1]);
                if area.is_nan() || area <= 0.0 {
                    return 0;
                }
                let image = (image[0] * image[1]) as f32;
                let octaves = (area.sqrt() / (canonical_px / image.sqrt())).ln() / std::f32::consts::LN_2;
                let level = base_level.saturating_add(octaves.round_ties_even() as i32).saturating_sub(first_level);
                level.clamp(0, levels as i32 - 1) as usize
            }
        }
    }
}

/// Attributes of RoiAlign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlignAttrs {
    /// Height and width of a crop.
    pub pool: [usize; 2],
    /// Which map a box is cropped from.
    pub level_rule: LevelRule,
    /// Whether samples within 1e-4 cells outside the map count as on its edge. TensorFlow (and the default) is strict:
    /// rounding then zeroes the last row or column of some boxes that end at 1.
    pub clamp_edge: bool,
}

impl RoiAlignAttrs {
    /// Square crops by a rule, strict edges.
    pub fn new(pool: usize, level_rule: LevelRule) -> Self {
        Self { pool: [pool, pool], level_rule, clamp_edge: false }
    }
}

/// Bilinear crops, one sample per output cell, corner samples on the box's corners, 0 outside the map (TensorFlow's
/// `crop_and_resize`). Inputs: boxes `f32 [N, R, 4]` normalised, maps `f32 [N, H, W, C]` finest first, counts `i32 [N]` if
/// any. Output `f32 [N*R, pool, pool, C]`. Gradients reach the maps; boxes are constants.
#[derive(Clone, Copy, Debug)]
pub struct RoiAlign {
    /// The attributes.
    pub attrs: RoiAlignAttrs,
}

/// The gradients of [`RoiAlign`] with respect to its maps. Inputs: boxes, gradient of the crops, counts if any.
#[derive(Clone, Debug)]
pub struct RoiAlignGrad {
    /// The attributes.
    pub attrs: RoiAlignAttrs,
    /// Types of the maps.
    pub levels: Vec<TensorType>,
}

fn check(
    op: &str,
    attrs: &RoiAlignAttrs,
    boxes: &TensorType,
    maps: &[TensorType],
    counts: Option<&TensorType>,
) -> Result<()> {
    expect_boxes(op, "boxes", boxes)?;
    ensure(op, boxes.shape.rank() == 3, || format!("boxes must be f32 [N,R,4], got {boxes}"))?;
    ensure(op, attrs.pool.iter().all(|n| *n > 0), || format!("pool must be at least [1,1], got {:?}", attrs.pool))?;
    ensure(op, !maps.is_empty(), || "needs at least one feature map".into())?;
    for map in maps {
        let fits = map.dtype == DType::F32
            && map.shape.rank() == 4
            && map.shape[0] == boxes.shape[0]
            && map.shape.last() == maps[0].shape.last()
            && map.shape[1] * map.shape[2] > 0;
        ensure(op, fits, || format!("maps must be f32 [{},H,W,C] with one C, got {map}", boxes.shape[0]))?;
    }
    if let LevelRule::Fixed(level) = attrs.level_rule {
        ensure(op, level < maps.len(), || format!("level {level} asked for, {} given", maps.len()))?;
    }
    if let Some(counts) = counts {
        expect_image_counts(op, "counts", counts, boxes.shape[0])?;
    }
    Ok(())
}

fn crops_shape(attrs: &RoiAlignAttrs, boxes: &TensorType, channels: usize) -> [usize; 4] {
    [boxes.shape.rows(), attrs.pool[0], attrs.pool[1], channels]
}

impl Op for RoiAlign {
    fn name(&self) -> &'static str {
        "roi_align"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        ensure(self.name(), inputs.len() >= 2, || format!("takes boxes and maps, got {} inputs", inputs.len()))?;
        let (maps, counts) = split_counts(&inputs[1..]);
        check(self.name(), &self.attrs, &inputs[0], maps, counts)?;
        Ok(vec![TensorType::f32(crops_shape(&self.attrs, &inputs[0], maps[0].shape.last()))])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let types: Vec<TensorType> = context.inputs[1..].iter().map(|v| context.graph.ty(*v).clone()).collect();
        let (maps, counts) = split_counts(&types);
        let grad = RoiAlignGrad { attrs: self.attrs, levels: maps.to_vec() };
        let mut inputs = vec![context.inputs[0], dy];
        inputs.extend(counts.and(context.inputs.last()));
        let mut gradients = vec![None];
        gradients.extend(context.graph.apply(grad, &inputs)?.into_iter().map(Some));
        gradients.resize(context.inputs.len(), None);
        Ok(gradients)
    }

    fn again(&self, inputs: &[Value], _: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        Some((Arc::new(*self), inputs.to_vec()))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(6 * outputs[0].len() as u64, inputs, outputs)
    }

    fn narrow(&self, inputs: &[TensorType]) -> Vec<Narrow> {
        let maps = split_counts(&inputs[1..]).0.len();
        vec![Narrow::new(1..1 + maps, [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::forward(&self.attrs, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::forward(&self.attrs, cpu, args)
    }
}

impl Op for RoiAlignGrad {
    fn name(&self) -> &'static str {
        "roi_align_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        super::expect_inputs(self.name(), inputs, 2..=3)?;
        check(self.name(), &self.attrs, &inputs[0], &self.levels, inputs.get(2))?;
        let crops = TensorType::f32(crops_shape(&self.attrs, &inputs[0], self.levels[0].shape.last()));
        ensure(self.name(), inputs[1] == crops, || format!("crops' gradient must be {crops}, got {}", inputs[1]))?;
        Ok(self.levels.clone())
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(8 * inputs[1].len() as u64, inputs, outputs)
    }

    fn optional_outputs(&self) -> Vec<usize> {
        (0..self.levels.len()).collect()
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([1], 0..self.levels.len())]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::backward(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::backward(self, cpu, args)
    }
}

/// Takes trailing counts (the only `i32`) off the maps.
fn split_counts(types: &[TensorType]) -> (&[TensorType], Option<&TensorType>) {
    match types.split_last() {
        Some((last, rest)) if last.dtype == DType::I32 => (rest, Some(last)),
        _ => (types, None),
    }
}

impl Graph {
    /// Crops of normalised `boxes` (`f32 [N, R, 4]`) from feature maps (`f32 [N, H, W, C]`, finest first):
    /// `f32 [N*R, pool, pool, C]`; rows beyond `counts` (`i32 [N]`) are zero. See [`RoiAlign`].
    pub fn roi_align(
        &mut self,
        boxes: Value,
        levels: &[Value],
        attrs: &RoiAlignAttrs,
        counts: Option<Value>,
    ) -> Result<Value> {
        let inputs: Vec<Value> = [boxes].iter().chain(levels).copied().chain(counts).collect();
        self.apply1(RoiAlign { attrs: *attrs }, &inputs)
    }
}
