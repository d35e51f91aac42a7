//! CPU bodies of RoiAlign. Forward: one task per box, inner loops over channels. Backward: one task per image, level and
//! block of channels, boxes in order, so that sums have one fixed order.

use super::sample::{Axis, Sample, axes};
use super::{RoiAlignAttrs, RoiAlignGrad};
use crate::Result;
use crate::device::Cpu;
use crate::ops::boxes::geometry::box_at;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;
use crate::ops::{CpuArgs, is_valid_row};
use crate::tensor::DType;

/// Channels that a backward task owns: that part of a 32x32 map stays in the second-level cache.
const CHANNEL_BLOCK: usize = 64;

/// A map of one image.
#[derive(Clone, Copy)]
struct Map<'a> {
    data: &'a [f32],
    width: usize,
    channels: usize,
}

impl Map<'_> {
    fn cell(&self, y: usize, x: usize) -> &[f32] {
        let start = (y * self.width + x) * self.channels;
        &self.data[start..start + self.channels]
    }
}

pub(super) fn forward(attrs: &RoiAlignAttrs, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let rest = &args.inputs[1..];
    let (maps, counts) = match rest.split_last() {
        Some((last, maps)) if last.ty().dtype == DType::I32 => (maps, Some(last.i32())),
        _ => (rest, None),
    };
    let shape = args.inputs[0].shape();
    let (rows, per_image) = (shape.rows(), shape[1]);
    let boxes = args.inputs[0].f32();
    let channels = maps[0].shape().last();
    cpu.parallel_chunks(args.outputs[0].f32(), attrs.pool[0] * attrs.pool[1] * channels, |row, out| {
        if !is_valid_row(row, rows, counts) {
            out.fill(0.0);
            return;
        }
        let b = box_at(boxes, row);
        let map = &maps[attrs.level_rule.level(b, maps.len())];
        let (height, width) = (map.shape()[1], map.shape()[2]);
        let image = height * width * channels;
        let start = row / per_image * image;
        let map = Map { data: &map.f32()[start..start + image], width, channels };
        crop(cpu.isa(), map, axes(b, [height, width], attrs.pool, attrs.clamp_edge), attrs.pool[1], out);
    });
    Ok(())
}

per_isa! {
fn crop [] (map: Map<'_>, axes: [Axis; 2], columns: usize, out: &mut [f32]) {
    let [vertical, horizontal] = axes;
    for (i, out) in out.chunks_exact_mut(columns * map.channels).enumerate() {
        let Some(y) = vertical.at(i) else {
            out.fill(0.0);
            continue;
        };
        for (j, out) in out.chunks_exact_mut(map.channels).enumerate() {
            match horizontal.at(j) {
                Some(x) => blend(map, y, x, out),
                None => out.fill(0.0),
            }
        }
    }
}
}

#[inline(always)]
fn blend(map: Map<'_>, y: Sample, x: Sample, out: &mut [f32]) {
    let (top_left, top_right) = (map.cell(y.low, x.low), map.cell(y.low, x.high));
    let (bottom_left, bottom_right) = (map.cell(y.high, x.low), map.cell(y.high, x.high));
    let n = out.len();
    let (top_left, top_right) = (&top_left[..n], &top_right[..n]);
    let (bottom_left, bottom_right) = (&bottom_left[..n], &bottom_right[..n]);
    for c in 0..n {
        let top = top_left[c] + (top_right[c] - top_left[c]) * x.f;
        let bottom = bottom_left[c] + (bottom_right[c] - bottom_left[c]) * x.f;
        out[c] = top + (bottom - top) * y.f;
    }
}

pub(super) fn backward(op: &RoiAlignGrad, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let shape = args.inputs[0].shape();
    let (images, rows, per_image) = (shape[0], shape.rows(), shape[1]);
    let (boxes, dy) = (args.inputs[0].f32(), args.inputs[1].f32());
    let counts = args.inputs.get(2).map(|counts| counts.i32());
    let [pool_h, pool_w] = op.attrs.pool;
    let channels = op.levels[0].shape.last();
    let blocks = channels.div_ceil(CHANNEL_BLOCK);
    let levels = args.outputs.len();
    for (level, output) in args.outputs.iter_mut().enumerate() {
        if !output.is_needed() {
            continue;
        }
        let (height, width) = (output.shape()[1], output.shape()[2]);
        let dx = output.f32();
        // A task's share is strided: its channels of every cell of its image.
        let dx = Disjoint::new(dx, 1);
        cpu.parallel(images * blocks, |task, _| {
            let (image, first) = (task / blocks, task % blocks * CHANNEL_BLOCK);
            let width_c = CHANNEL_BLOCK.min(channels - first);
            // SAFETY: tasks differ in image or block of channels, so no two touch the same element.
            let cell =
                |y: usize, x: usize| unsafe { dx.runs(((image * height + y) * width + x) * channels + first, width_c) };
            (0..height * width).for_each(|i| cell(i / width, i % width).fill(0.0));
            for row in image * per_image..(image + 1) * per_image {
                let b = box_at(boxes, row);
                if !is_valid_row(row, rows, counts) || op.attrs.level_rule.level(b, levels) != level {
                    continue;
                }
                let [vertical, horizontal] = axes(b, [height, width], op.attrs.pool, op.attrs.clamp_edge);
                for i in 0..pool_h {
                    let Some(y) = vertical.at(i) else { continue };
                    for j in 0..pool_w {
                        let Some(x) = horizontal.at(j) else { continue };
                        let start = ((row * pool_h + i) * pool_w + j) * channels + first;
                        let dy = &dy[start..start + width_c];
                        add_scaled(cpu.isa(), cell(y.low, x.low), dy, (1.0 - y.f) * (1.0 - x.f));
                        add_scaled(cpu.isa(), cell(y.low, x.high), dy, (1.0 - y.f) * x.f);
                        add_scaled(cpu.isa(), cell(y.high, x.low), dy, y.f * (1.0 - x.f));
                        add_scaled(cpu.isa(), cell(y.high, x.high), dy, y.f * x.f);
                    }
                }
            }
        });
    }
    Ok(())
}

per_isa! {
fn add_scaled [] (to: &mut [f32], from: &[f32], factor: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}
}
