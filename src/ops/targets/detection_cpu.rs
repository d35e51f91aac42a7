//! CPU body of the heads' targets: ROIs one task per image, then mask targets one task per ROI.

use super::detection::DetectionTargets;
use crate::Result;
use crate::device::Cpu;
use crate::ops::boxes::Box4;
use crate::ops::boxes::geometry::{box_at, encode, iou};
use crate::ops::disjoint::Disjoint;
use crate::ops::roi::sample::axes;
use crate::ops::select::order::{ascending_key, key_index, sort_smallest};
use crate::ops::select::take_keys;
use crate::ops::{CpuArgs, Input, Scratch};
use crate::tensor::DType;

pub(super) fn run(op: &DetectionTargets, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (images, proposals_each) = (args.inputs[0].shape()[0], args.inputs[0].shape()[1]);
    let objects_each = args.inputs[2].shape()[1];
    let (proposals, boxes) = (args.inputs[0].f32(), args.inputs[2].f32());
    let (proposal_counts, object_counts) = (args.inputs[1].i32(), args.inputs[4].i32());
    let (classes, random) = (args.inputs[3].i32(), args.inputs[5].f32());
    let candidates = op.candidates(proposals_each, objects_each);
    let rows = op.rois_per_image;
    let [rois, roi_classes, deltas, counts, positives, mask_targets @ ..] = args.outputs else {
        unreachable!("detection_targets has at least five outputs")
    };
    {
        let (rois, roi_classes) = (Disjoint::new(rois.f32(), 4 * rows), Disjoint::new(roi_classes.i32(), rows));
        let deltas = Disjoint::new(deltas.f32(), 4 * rows);
        let (counts, positives) = (Disjoint::new(counts.i32(), 1), Disjoint::new(positives.i32(), 1));
        let scratch = Disjoint::per_worker(args.scratch, cpu);
        cpu.parallel(images, |image, worker| {
            // SAFETY: one image per task, one piece of scratch per worker.
            let (rois, roi_classes, deltas) = unsafe { (rois.run(image), roi_classes.run(image), deltas.run(image)) };
            // SAFETY: as above.
            let (count, positive, scratch) = unsafe { (counts.run(image), positives.run(image), scratch.run(worker)) };
            let mut scratch = Scratch::new(scratch);
            let positive_keys = take_keys(&mut scratch, candidates);
            let negative_keys = take_keys(&mut scratch, candidates);
            let nearest = scratch.take::<i32>(candidates);
            let valid_proposals = (proposal_counts[image].max(0) as usize).min(proposals_each);
            let objects = Objects::of(boxes, classes, object_counts, image, objects_each);
            let candidate = |i: usize| match i.checked_sub(proposals_each) {
                Some(object) => objects.get(object),
                None => Some(box_at(proposals, image * proposals_each + i)).filter(|_| i < valid_proposals),
            };
            let (mut found_positive, mut found_negative) = (0, 0);
            for i in 0..candidates {
                let Some(b) = candidate(i).filter(|b| !is_zero(*b)) else { continue };
                let (overlap, object) = objects.nearest(b);
                nearest[i] = object as i32;
                let key = ascending_key(random[image * candidates + i], i);
                if overlap >= op.positive_iou && overlap > 0.0 {
                    positive_keys[found_positive] = key;
                    found_positive += 1;
                } else if !objects.is_in_crowd(b) {
                    negative_keys[found_negative] = key;
                    found_negative += 1;
                }
            }
            let kept = found_positive.min(op.max_positives());
            let negatives = op.negatives(kept, found_negative);
            let kept_keys = sort_smallest(&mut positive_keys[..found_positive], kept);
            let negative_keys = sort_smallest(&mut negative_keys[..found_negative], negatives);
            rois.fill(0.0);
            roi_classes.fill(0);
            deltas.fill(0.0);
            for (row, key) in kept_keys.iter().chain(negative_keys).enumerate() {
                let i = key_index(*key);
                let b = candidate(i).unwrap_or_default();
                rois[4 * row..4 * row + 4].copy_from_slice(&b);
                if row < kept {
                    let object = nearest[i] as usize;
                    roi_classes[row] = classes[image * objects_each + object];
                    let to = box_at(boxes, image * objects_each + object);
                    deltas[4 * row..4 * row + 4].copy_from_slice(&encode(b, to, op.std_dev));
                }
            }
            count[0] = (kept + negatives) as i32;
            positive[0] = kept as i32;
        });
    }
    let (Some(targets), Some(settings)) = (mask_targets.first_mut(), &op.masks) else { return Ok(()) };
    let (rois, positives, masks) = (rois.f32(), positives.i32(), &args.inputs[6]);
    let (size, max_positives) = ([masks.shape()[2], masks.shape()[3]], op.max_positives());
    let (rois, positives): (&[f32], &[i32]) = (rois, positives);
    cpu.parallel_chunks(targets.f32(), settings.shape[0] * settings.shape[1], |index, out| {
        let (image, row) = (index / max_positives, index % max_positives);
        if row >= positives[image] as usize {
            out.fill(0.0);
            return;
        }
        let roi = box_at(rois, image * rows + row);
        // The object is found again by the same search: cheaper than keeping it.
        let objects = Objects::of(boxes, classes, object_counts, image, objects_each);
        let (_, object) = objects.nearest(roi);
        let object_box = box_at(boxes, image * objects_each + object);
        let window = if settings.mini { relative(roi, object_box) } else { roi };
        sample_mask(masks, image * objects_each + object, size, window, settings.shape, out);
    });
    Ok(())
}

/// A proposal that overlaps a crowd by this much is no negative.
const CROWD_IOU: f32 = 0.001;

/// The valid objects of an image, and crowds among them.
struct Objects<'a> {
    boxes: &'a [f32],
    classes: &'a [i32],
}

impl<'a> Objects<'a> {
    fn of(boxes: &'a [f32], classes: &'a [i32], counts: &[i32], image: usize, each: usize) -> Self {
        let (first, count) = (image * each, (counts[image].max(0) as usize).min(each));
        Self { boxes: &boxes[4 * first..4 * (first + count)], classes: &classes[first..first + count] }
    }

    fn get(&self, object: usize) -> Option<Box4> {
        self.classes.get(object).filter(|class| **class >= 0).map(|_| box_at(self.boxes, object))
    }

    /// The largest overlap of `b` with an object (not a crowd), and that object.
    fn nearest(&self, b: Box4) -> (f32, usize) {
        let mut best = (0.0, 0);
        for object in (0..self.classes.len()).filter(|object| self.classes[*object] >= 0) {
            let overlap = iou(b, box_at(self.boxes, object));
            if overlap > best.0 {
                best = (overlap, object);
            }
        }
        best
    }

    /// Whether `b` overlaps a crowd.
    fn is_in_crowd(&self, b: Box4) -> bool {
        let is_near = |(object, class): (usize, &i32)| *class < 0 && iou(b, box_at(self.boxes, object)) >= CROWD_IOU;
        self.classes.iter().enumerate().any(is_near)
    }
}

fn is_zero(b: Box4) -> bool {
    b.iter().all(|v| *v == 0.0)
}

/// `roi` in coordinates of `object`: (0, 0, 1, 1) where they agree.
fn relative(roi: Box4, object: Box4) -> Box4 {
    let (h, w) = (object[2] - object[0], object[3] - object[1]);
    let (y, x) = (object[0], object[1]);
    [(roi[0] - y) / h, (roi[1] - x) / w, (roi[2] - y) / h, (roi[3] - x) / w]
}

/// The part of mask `index` in a normalised window, rounded to 0 or 1.
fn sample_mask(masks: &Input<'_>, index: usize, size: [usize; 2], window: Box4, shape: [usize; 2], out: &mut [f32]) {
    let start = index * size[0] * size[1];
    match masks.ty().dtype {
        DType::U8 => {
            let masks = masks.values::<u8>();
            crop(size, window, shape, out, |cell| f32::from(masks[start + cell]));
        }
        _ => {
            let masks = masks.f32();
            crop(size, window, shape, out, |cell| masks[start + cell]);
        }
    }
}

fn crop(size: [usize; 2], window: Box4, shape: [usize; 2], out: &mut [f32], read: impl Fn(usize) -> f32) {
    let [vertical, horizontal] = axes(window, size, shape, false);
    for (i, out) in out.chunks_exact_mut(shape[1]).enumerate() {
        let y = vertical.at(i);
        for (j, out) in out.iter_mut().enumerate() {
            let (Some(y), Some(x)) = (y, horizontal.at(j)) else {
                *out = 0.0;
                continue;
            };
            let row = |y: usize| {
                let (left, right) = (read(y * size[1] + x.low), read(y * size[1] + x.high));
                left + (right - left) * x.f
            };
            let (top, bottom) = (row(y.low), row(y.high));
            *out = (top + (bottom - top) * y.f).round_ties_even();
        }
    }
}
