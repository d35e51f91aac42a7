//! CPU body of the region proposal network's targets: one task per image.

use super::rpn::RpnTargets;
use crate::Result;
use crate::device::Cpu;
use crate::ops::boxes::geometry::{area, box_at, encode, iou};
use crate::ops::disjoint::Disjoint;
use crate::ops::select::order::{ascending_key, key_index, sort_smallest};
use crate::ops::select::take_keys;
use crate::ops::{CpuArgs, Scratch};

/// Two overlaps closer than this (relative) are a tie: anchors that only differ by a shift give overlaps that differ by the
/// rounding of their coordinates.
const TIE: f32 = 1e-5;

pub(super) fn run(op: &RpnTargets, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let anchors = args.inputs[0].f32();
    let anchor_count = anchors.len() / 4;
    let (images, objects_each) = (args.inputs[1].shape()[0], args.inputs[1].shape()[1]);
    let (boxes, counts, random) = (args.inputs[1].f32(), args.inputs[2].i32(), args.inputs[3].f32());
    let rows = op.max_positives(anchor_count);
    let [matches, deltas] = args.outputs else { unreachable!("rpn_targets has two outputs") };
    let (matches, deltas) = (Disjoint::new(matches.i32(), anchor_count), Disjoint::new(deltas.f32(), 4 * rows));
    let scratch = Disjoint::per_worker(args.scratch, cpu);
    cpu.parallel(images, |image, worker| {
        // SAFETY: one image per task, one piece of scratch per worker.
        let (matches, deltas, scratch) = unsafe { (matches.run(image), deltas.run(image), scratch.run(worker)) };
        let mut scratch = Scratch::new(scratch);
        let keys = take_keys(&mut scratch, anchor_count);
        let overlaps = scratch.take::<f32>(anchor_count * objects_each);
        let nearest = scratch.take::<i32>(anchor_count);
        let best_of_object = scratch.take::<f32>(objects_each);
        let objects = (counts[image].max(0) as usize).min(objects_each);
        let boxes = &boxes[4 * image * objects_each..4 * (image * objects_each + objects)];
        let random = &random[image * anchor_count..(image + 1) * anchor_count];

        best_of_object.fill(0.0);
        for anchor in 0..anchor_count {
            let a = box_at(anchors, anchor);
            let row = &mut overlaps[anchor * objects_each..anchor * objects_each + objects];
            let (mut best, mut best_object) = (0.0, 0);
            for (object, (overlap, best_of_object)) in row.iter_mut().zip(best_of_object.iter_mut()).enumerate() {
                let b = box_at(boxes, object);
                *overlap = if area(b) > 0.0 { iou(a, b) } else { 0.0 };
                *best_of_object = best_of_object.max(*overlap);
                if *overlap > best {
                    (best, best_object) = (*overlap, object);
                }
            }
            nearest[anchor] = best_object as i32;
            matches[anchor] = match best {
                best if best >= op.positive_iou && best > 0.0 => 1,
                best if best < op.negative_iou => -1,
                _ => 0,
            };
        }
        for anchor in 0..anchor_count {
            let row = &overlaps[anchor * objects_each..anchor * objects_each + objects];
            let is_best = |(overlap, best): (&f32, &f32)| *overlap > 0.0 && *overlap >= best * (1.0 - TIE);
            if row.iter().zip(best_of_object.iter()).any(is_best) {
                matches[anchor] = 1;
            }
        }

        let positives = limit(matches, 1, rows, random, keys);
        limit(matches, -1, op.per_image - positives, random, keys);
        deltas.fill(0.0);
        let positive = (0..anchor_count).filter(|anchor| matches[*anchor] == 1);
        for (anchor, row) in positive.zip(deltas.chunks_exact_mut(4)) {
            let target = box_at(boxes, nearest[anchor] as usize);
            row.copy_from_slice(&encode(box_at(anchors, anchor), target, op.std_dev));
        }
    });
    Ok(())
}

/// Sets all but the `limit` elements of `matches` that equal `value` and have the smallest keys to 0; returns how many stay.
fn limit(matches: &mut [i32], value: i32, limit: usize, random: &[f32], keys: &mut [u64]) -> usize {
    let mut found = 0;
    for (i, _) in matches.iter().enumerate().filter(|(_, m)| **m == value) {
        keys[found] = ascending_key(random[i], i);
        found += 1;
    }
    if found <= limit {
        return found;
    }
    sort_smallest(&mut keys[..found], limit);
    keys[limit..found].iter().for_each(|key| matches[key_index(*key)] = 0);
    limit
}
