//! CPU body of the proposal layer: one task per image. Deltas are applied as boxes are visited, so that anchors behind
//! the last one kept cost nothing.

use super::Proposals;
use crate::Result;
use crate::device::Cpu;
use crate::ops::boxes::geometry::{box_at, clip, decode};
use crate::ops::disjoint::Disjoint;
use crate::ops::select::order::{descending_key, key_index, sort_smallest};
use crate::ops::select::suppress::{scratch_len, suppress};
use crate::ops::select::take_keys;
use crate::ops::{CpuArgs, Scratch};

pub(super) fn run(op: &Proposals, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (images, anchors_each) = (args.inputs[0].shape()[0], args.inputs[0].shape()[1]);
    let (probs, deltas, anchors) = (args.inputs[0].f32(), args.inputs[1].f32(), args.inputs[2].f32());
    let [boxes, counts] = args.outputs else { unreachable!("proposals has two outputs") };
    let (boxes, counts) = (Disjoint::new(boxes.f32(), 4 * op.count), Disjoint::new(counts.i32(), 1));
    let scratch = Disjoint::per_worker(args.scratch, cpu);
    cpu.parallel(images, |image, worker| {
        // SAFETY: one image per task, one piece of scratch per worker.
        let (boxes, count, scratch) = unsafe { (boxes.run(image), counts.run(image), scratch.run(worker)) };
        let mut scratch = Scratch::new(scratch);
        let keys = take_keys(&mut scratch, anchors_each);
        let first = image * anchors_each;
        keys.iter_mut().enumerate().for_each(|(i, key)| *key = descending_key(probs[2 * (first + i) + 1], i));
        let best = sort_smallest(keys, op.pre_nms);
        let candidates = best.iter().map(|key| {
            let anchor = key_index(*key);
            clip(decode(box_at(anchors, anchor), box_at(deltas, first + anchor), op.std_dev), op.window)
        });
        let kept_boxes = scratch.take(scratch_len(op.count));
        let number = suppress(cpu.isa(), candidates, op.nms_iou, op.count, kept_boxes, |slot, _, kept| {
            boxes[4 * slot..4 * slot + 4].copy_from_slice(&kept);
        });
        boxes[4 * number..].fill(0.0);
        count[0] = number as i32;
    });
    Ok(())
}
