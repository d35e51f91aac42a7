//! CPU bodies: top-k and non-maximum suppression, rows or images in parallel.

use super::order::{descending_key, key_index, sort_smallest};
use super::suppress::{scratch_len, suppress};
use super::{Nms, take_keys};
use crate::Result;
use crate::device::Cpu;
use crate::ops::boxes::geometry::box_at;
use crate::ops::disjoint::Disjoint;
use crate::ops::{CpuArgs, Scratch};

pub(super) fn top_k(k: usize, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let n = args.inputs[0].shape().last();
    let x = args.inputs[0].f32();
    let [values, indices] = args.outputs else { unreachable!("top_k has two outputs") };
    let (values, indices) = (Disjoint::new(values.f32(), k), Disjoint::new(indices.i32(), k));
    let scratch = Disjoint::per_worker(args.scratch, cpu);
    cpu.parallel(x.len().checked_div(n).unwrap_or(0), |row, worker| {
        // SAFETY: one row per task, one piece of scratch per worker.
        let (values, indices, scratch) = unsafe { (values.run(row), indices.run(row), scratch.run(worker)) };
        let keys = take_keys(&mut Scratch::new(scratch), n);
        let x = &x[row * n..(row + 1) * n];
        keys.iter_mut().enumerate().for_each(|(i, key)| *key = descending_key(x[i], i));
        for (i, key) in sort_smallest(keys, k).iter().enumerate() {
            indices[i] = key_index(*key) as i32;
            values[i] = x[key_index(*key)];
        }
    });
    Ok(())
}

pub(super) fn nms(op: &Nms, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (images, boxes_each) = (args.inputs[1].shape()[0], args.inputs[1].shape()[1]);
    let (boxes, scores) = (args.inputs[0].f32(), args.inputs[1].f32());
    let counts = args.inputs.get(2).map(|counts| counts.i32());
    let [selected, kept] = args.outputs else { unreachable!("nms has two outputs") };
    let (selected, kept) = (Disjoint::new(selected.i32(), op.max), Disjoint::new(kept.i32(), 1));
    let scratch = Disjoint::per_worker(args.scratch, cpu);
    cpu.parallel(images, |image, worker| {
        // SAFETY: one image per task, one piece of scratch per worker.
        let (selected, kept, scratch) = unsafe { (selected.run(image), kept.run(image), scratch.run(worker)) };
        let mut scratch = Scratch::new(scratch);
        let valid = counts.map_or(boxes_each, |counts| (counts[image].max(0) as usize).min(boxes_each));
        let keys = take_keys(&mut scratch, boxes_each);
        let first = image * boxes_each;
        let keys = &mut keys[..valid];
        keys.iter_mut().enumerate().for_each(|(i, key)| *key = descending_key(scores[first + i], i));
        keys.sort_unstable();
        selected.fill(-1);
        let candidates = keys.iter().map(|key| box_at(boxes, first + key_index(*key)));
        let kept_boxes = scratch.take(scratch_len(op.max));
        let number = suppress(cpu.isa(), candidates, op.iou, op.max, kept_boxes, |slot, position, _| {
            selected[slot] = key_index(keys[position]) as i32;
        });
        kept[0] = number as i32;
    });
    Ok(())
}
