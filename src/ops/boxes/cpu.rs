//! CPU bodies of the box ops.

use super::BoxMapKind;
use super::geometry::{box_at, clip, decode, encode, iou as iou_of};
use crate::Result;
use crate::device::Cpu;
use crate::ops::{CpuArgs, is_valid_row};
use crate::tensor::DType;

const ROWS_PER_TASK: usize = 256;

pub(super) fn map(kind: &BoxMapKind, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let boxes = args.inputs[0].f32();
    let (second, counts) = if kind.is_binary() { (args.inputs[1].f32(), 2) } else { (&[][..], 1) };
    let counts = args.inputs.get(counts).map(|counts| counts.i32());
    let rows = boxes.len() / 4;
    cpu.parallel_chunks(args.outputs[0].f32(), 4 * ROWS_PER_TASK, |task, out| {
        for (i, out) in out.chunks_exact_mut(4).enumerate() {
            let row = task * ROWS_PER_TASK + i;
            if !is_valid_row(row, rows, counts) {
                out.fill(0.0);
                continue;
            }
            let b = box_at(boxes, row);
            out.copy_from_slice(&match *kind {
                BoxMapKind::Encode { std_dev } => encode(b, box_at(second, row), std_dev),
                BoxMapKind::Decode { std_dev, window } => {
                    let moved = decode(b, box_at(second, row), std_dev);
                    window.map_or(moved, |window| clip(moved, window))
                }
                BoxMapKind::Clip { window } => clip(b, window),
                BoxMapKind::Normalise { image, norm } => norm.normalise(b, image),
                BoxMapKind::ToPixels { image, norm, round } => {
                    norm.to_pixels(b, image).map(|v| if round { v.round_ties_even() as f32 } else { v as f32 })
                }
            });
        }
    });
    Ok(())
}

pub(super) fn iou(cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (a, b) = (args.inputs[0].f32(), args.inputs[1].f32());
    let columns = b.len() / 4;
    cpu.parallel_chunks(args.outputs[0].f32(), columns, |row, out| {
        let a = box_at(a, row);
        out.iter_mut().enumerate().for_each(|(column, out)| *out = iou_of(a, box_at(b, column)));
    });
    Ok(())
}

pub(super) fn mask_boxes(cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let masks = &args.inputs[0];
    let rank = masks.shape().rank();
    let (height, width) = (masks.shape()[rank - 2], masks.shape()[rank - 1]);
    let pixels = height * width;
    cpu.parallel_chunks(args.outputs[0].f32(), 4, |index, out| {
        let range = index * pixels..(index + 1) * pixels;
        let bounds = match masks.ty().dtype {
            DType::U8 => bounds(&masks.values::<u8>()[range], width, |v| v > 0),
            _ => bounds(&masks.f32()[range], width, |v| v > 0.5),
        };
        out.copy_from_slice(&bounds.map(|v| v as f32));
    });
    Ok(())
}

/// First row and column, last row and column + 1 of the values that are `inside`; zeros if none is.
fn bounds<T: Copy>(mask: &[T], width: usize, inside: impl Fn(T) -> bool) -> [usize; 4] {
    let mut found: Option<[usize; 4]> = None;
    for (y, row) in mask.chunks_exact(width.max(1)).enumerate() {
        let Some(first) = row.iter().position(|v| inside(*v)) else { continue };
        let last = row.iter().rposition(|v| inside(*v)).unwrap_or(first);
        let [y1, x1, _, x2] = found.unwrap_or([y, first, 0, 0]);
        found = Some([y1, x1.min(first), y + 1, x2.max(last + 1)]);
    }
    found.unwrap_or_default()
}
