//! CPU body of the detection layer: one task per image.

use super::Detections;
use crate::Result;
use crate::device::Cpu;
use crate::ops::boxes::geometry::{box_at, clip, decode};
use crate::ops::disjoint::Disjoint;
use crate::ops::select::order::{descending_key, key_index, sort_smallest};
use crate::ops::select::suppress::{scratch_len, suppress};
use crate::ops::select::take_keys;
use crate::ops::{CpuArgs, Scratch};

pub(super) fn run(op: &Detections, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (images, rois_each) = (args.inputs[0].shape()[0], args.inputs[0].shape()[1]);
    let (rois, probs, deltas) = (args.inputs[0].f32(), args.inputs[1].f32(), args.inputs[2].f32());
    let classes = probs.len() / (images * rois_each);
    let counts = args.inputs.get(3).map(|counts| counts.i32());
    let [detections, numbers] = args.outputs else { unreachable!("detections has two outputs") };
    let (detections, numbers) = (Disjoint::new(detections.f32(), 6 * op.max), Disjoint::new(numbers.i32(), 1));
    let scratch = Disjoint::per_worker(args.scratch, cpu);
    cpu.parallel(images, |image, worker| {
        // SAFETY: one image per task, one piece of scratch per worker.
        let (rows, number, scratch) = unsafe { (detections.run(image), numbers.run(image), scratch.run(worker)) };
        let mut scratch = Scratch::new(scratch);
        let (keys, kept) = (take_keys(&mut scratch, rois_each), take_keys(&mut scratch, rois_each));
        let class_of = scratch.take::<i32>(rois_each);
        let boxes = scratch.take::<f32>(4 * rois_each);
        let kept_boxes = scratch.take::<f32>(scratch_len(op.max));
        let valid = counts.map_or(rois_each, |counts| (counts[image].max(0) as usize).min(rois_each));
        let first = image * rois_each;
        for roi in 0..valid {
            let row = first + roi;
            let (class, score) = most_probable(&probs[row * classes..(row + 1) * classes]);
            let keep = class > 0 && (op.min_confidence == 0.0 || score >= op.min_confidence);
            class_of[roi] = if keep { class as i32 } else { 0 };
            if keep {
                let moved = decode(box_at(rois, row), box_at(deltas, row * classes + class), op.std_dev);
                boxes[4 * roi..4 * roi + 4].copy_from_slice(&clip(moved, op.window));
            }
        }
        let score_of = |roi: usize| probs[(first + roi) * classes + class_of[roi] as usize];
        let mut total = 0;
        for class in 1..classes as i32 {
            let mut found = 0;
            for roi in (0..valid).filter(|roi| class_of[*roi] == class) {
                keys[found] = descending_key(score_of(roi), roi);
                found += 1;
            }
            let keys = sort_smallest(&mut keys[..found], found);
            let candidates = keys.iter().map(|key| box_at(boxes, key_index(*key)));
            total += suppress(cpu.isa(), candidates, op.nms_iou, op.max, kept_boxes, |slot, position, _| {
                kept[total + slot] = keys[position];
            });
        }
        let best = sort_smallest(&mut kept[..total], op.max);
        rows.fill(0.0);
        for (row, key) in rows.chunks_exact_mut(6).zip(best) {
            let roi = key_index(*key);
            row[..4].copy_from_slice(&boxes[4 * roi..4 * roi + 4]);
            row[4] = class_of[roi] as f32;
            row[5] = score_of(roi);
        }
        number[0] = best.len() as i32;
    });
    Ok(())
}

/// The first class of the highest probability; class 0 if none is a number.
fn most_probable(probs: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &p) in probs.iter().enumerate() {
        if p > best.1 {
            best = (class, p);
        }
    }
    best
}
