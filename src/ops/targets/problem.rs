//! Targets as test problems.

use super::{DetectionTargets, MaskTargets, RpnTargets};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::boxes::problem::{encode, iou, min, random_boxes, random_counts, row, valid};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Indices of `chosen` with the `limit` smallest keys (ties: lower index), by key.
fn smallest<R: Real>(mut chosen: Vec<usize>, keys: &[R], limit: usize) -> Vec<usize> {
    chosen.sort_by(|a, b| keys[*a].partial_cmp(&keys[*b]).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b)));
    chosen.truncate(limit);
    chosen
}

/// Boxes near the given ones: moved by up to a quarter of a side.
fn near(numbers: &mut Numbers, boxes: &[f32], count: usize) -> Vec<f32> {
    let mut near = Vec::new();
    for _ in 0..count {
        let at = 4 * numbers.integer(0, boxes.len() / 4 - 1);
        let b = &boxes[at..at + 4];
        let (h, w) = ((b[2] - b[0]) / 4.0, (b[3] - b[1]) / 4.0);
        near.extend([h, w, h, w].iter().zip(b).map(|(size, v)| v + size * numbers.uniform(-1.0, 1.0)));
    }
    near
}

/// Keys in steps of 1/8: there are ties.
fn keys(numbers: &mut Numbers, shape: [usize; 2]) -> Result<Tensor> {
    let keys: Vec<f32> = (0..shape[0] * shape[1]).map(|_| numbers.integer(0, 8) as f32 / 8.0).collect();
    Tensor::new(shape, &keys)
}

/// Targets of the region proposal network for anchors near the objects.
#[derive(Clone, Copy, Debug)]
pub struct RpnTargetsProblem {
    /// Images, anchors, objects.
    pub shape: [usize; 3],
    /// The op.
    pub op: RpnTargets,
}

impl RpnTargetsProblem {
    /// A surplus of either kind.
    pub fn random(numbers: &mut Numbers) -> Self {
        let shape = [numbers.integer(1, 3), numbers.integer(2, 120), numbers.integer(1, 8)];
        Self { shape, op: RpnTargets { per_image: numbers.integer(2, 100), ..RpnTargets::default() } }
    }
}

impl Problem for RpnTargetsProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, anchors, objects] = self.shape;
        let boxes = random_boxes(&mut numbers, images * objects, 64.0);
        let mut anchor_boxes = near(&mut numbers, &boxes, anchors / 2);
        anchor_boxes.extend(random_boxes(&mut numbers, anchors - anchors / 2, 64.0));
        let counts = random_counts(&mut numbers, images, objects);
        let keys = keys(&mut numbers, [images, anchors]);
        let boxes = Tensor::new([images, objects, 4], &boxes);
        Tensor::new([anchors, 4], &anchor_boxes).into_iter().chain(boxes).chain([counts]).chain(keys).collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (matches, deltas) = graph.rpn_targets(inputs[0], inputs[1], inputs[2], inputs[3], self.op)?;
        Ok(vec![matches, deltas])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, anchors, each] = self.shape;
        let most = (self.op.per_image / 2).min(anchors);
        let (mut all_matches, mut all_deltas) = (Vec::new(), Vec::new());
        for image in 0..images {
            let objects = valid(inputs[2].int()[image], each);
            let b = |object: usize| row(inputs[1].real(), image * each + object);
            let overlap = |a: usize, object: usize| iou(row(inputs[0].real(), a), b(object));
            let best = |object: usize| (0..anchors).fold(R::of(0.0), |m, a| m.max(overlap(a, object)));
            let best: Vec<R> = (0..objects).map(best).collect();
            let mut matches = vec![0; anchors];
            let mut nearest = vec![0; anchors];
            for a in 0..anchors {
                let overlaps: Vec<R> = (0..objects).map(|object| overlap(a, object)).collect();
                nearest[a] = (0..objects).fold(0, |n, o| if overlaps[o] > overlaps[n] { o } else { n });
                let largest = overlaps.get(nearest[a]).copied().unwrap_or(R::of(0.0));
                if largest < R::of(f64::from(self.op.negative_iou)) {
                    matches[a] = -1;
                }
                // Ties up to rounding: a millionth.
                let forced =
                    overlaps.iter().zip(&best).any(|(o, m)| *o > R::of(0.0) && o.wide() >= m.wide() * (1.0 - 1e-6));
                if forced || largest >= R::of(f64::from(self.op.positive_iou)) {
                    matches[a] = 1;
                }
            }
            let keys = &inputs[3].real()[image * anchors..(image + 1) * anchors];
            let of = |matches: &[i32], value: i32| (0..anchors).filter(|a| matches[*a] == value).collect::<Vec<_>>();
            let positives = smallest(of(&matches, 1), keys, most);
            let negatives = smallest(of(&matches, -1), keys, self.op.per_image - positives.len());
            let mut deltas = Vec::new();
            for a in 0..anchors {
                if positives.contains(&a) {
                    deltas.extend(encode(row(inputs[0].real(), a), b(nearest[a]), self.op.std_dev));
                } else if !negatives.contains(&a) {
                    matches[a] = 0;
                }
            }
            deltas.resize(4 * most, R::of(0.0));
            all_deltas.extend(deltas);
            all_matches.extend(matches.iter().map(|m| R::of(f64::from(*m))));
        }
        vec![all_matches, all_deltas]
    }
}

/// Targets of the heads for proposals near the objects.
#[derive(Clone, Copy, Debug)]
pub struct DetectionTargetsProblem {
    /// Images, proposals, objects.
    pub shape: [usize; 3],
    /// Height and width of the objects' masks.
    pub mask: [usize; 2],
    /// Whether masks are bytes.
    pub bytes: bool,
    /// The op.
    pub op: DetectionTargets,
}

impl DetectionTargetsProblem {
    /// Every option; masks are numbers, bytes or none in turn.
    pub fn random(numbers: &mut Numbers) -> Self {
        let turn = numbers.turn(12);
        let shape = [numbers.integer(1, 3), numbers.integer(2, 60), numbers.integer(1, 6)];
        let (mini, bytes) = (turn < 6, turn % 3 == 1);
        let masks = MaskTargets { shape: [numbers.integer(2, 9), numbers.integer(2, 9)], mini };
        let op = DetectionTargets {
            rois_per_image: numbers.integer(3, 40),
            positive_share: [0.25, 0.33, 0.5][numbers.integer(0, 2)],
            masks: (turn % 3 > 0).then_some(masks),
            // Objects' own boxes meet bytes halfway, where rounding is decided by rounding.
            add_objects: numbers.integer(0, 3) == 0 && !bytes,
            fill_with_negatives: numbers.integer(0, 4) == 0,
            ..DetectionTargets::default()
        };
        Self { shape, mask: [12, 10], bytes, op }
    }
}

impl Problem for DetectionTargetsProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, proposals, objects] = self.shape;
        let boxes = random_boxes(&mut numbers, images * objects, 1.0);
        let mut candidates = Vec::new();
        for image in 0..images {
            let own = &boxes[4 * image * objects..4 * (image + 1) * objects];
            candidates.extend(near(&mut numbers, own, proposals / 2));
            candidates.extend(random_boxes(&mut numbers, proposals - proposals / 2, 1.0));
        }
        let classes: Vec<i32> = (0..images * objects).map(|_| [1, 2, 3, 1, 2, -1][numbers.integer(0, 5)]).collect();
        let proposal_counts = random_counts(&mut numbers, images, proposals);
        let object_counts = random_counts(&mut numbers, images, objects);
        let keys = keys(&mut numbers, [images, self.op.candidates(proposals, objects)]);
        let mut inputs: Vec<Tensor> = Tensor::new([images, proposals, 4], &candidates).into_iter().collect();
        inputs.push(proposal_counts);
        inputs.extend(Tensor::new([images, objects, 4], &boxes));
        inputs.extend(Tensor::new([images, objects], &classes));
        inputs.push(object_counts);
        inputs.extend(keys);
        if self.op.masks.is_some() {
            // Halves never occur by interpolation of such values, so that rounding is not decided by rounding.
            let count = images * objects * self.mask[0] * self.mask[1];
            let shape = [images, objects, self.mask[0], self.mask[1]];
            let masks: Vec<f32> = (0..count).map(|_| numbers.uniform(0.0, 1.0)).collect();
            inputs.extend(match self.bytes {
                false => Tensor::new(shape, &masks),
                true => Tensor::new(shape, &masks.iter().map(|v| u8::from(*v >= 0.5)).collect::<Vec<u8>>()),
            });
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (v, masks) = (inputs, inputs.get(6).copied());
        let t = graph.detection_targets((v[0], v[1]), (v[2], v[3], v[4]), masks, v[5], self.op)?;
        Ok([t.rois, t.classes, t.deltas, t.counts, t.positives].into_iter().chain(t.masks).collect())
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, proposals, each] = self.shape;
        let (op, zero) = (&self.op, R::of(0.0));
        let total = proposals + if op.add_objects { each } else { 0 };
        let most = (op.rois_per_image as f64 * op.positive_share).floor() as usize;
        let mut out = vec![Vec::new(); if op.masks.is_some() { 6 } else { 5 }];
        for image in 0..images {
            let objects = valid(inputs[4].int()[image], each);
            let class = |object: usize| inputs[3].int()[image * each + object];
            let b = |object: usize| row(inputs[2].real(), image * each + object);
            let proposal_count = valid(inputs[1].int()[image], proposals);
            let candidate = |i: usize| {
                if i < proposals { row(inputs[0].real(), image * proposals + i) } else { b(i - proposals) }
            };
            let exists = |i: usize| {
                if i < proposals { i < proposal_count } else { i - proposals < objects && class(i - proposals) > 0 }
            };
            let nearest = |c: [R; 4]| {
                let real = (0..objects).filter(|object| class(*object) > 0);
                real.fold((zero, 0), |m, object| if iou(c, b(object)) > m.0 { (iou(c, b(object)), object) } else { m })
            };
            let (mut positives, mut negatives) = (Vec::new(), Vec::new());
            for i in (0..total).filter(|i| exists(*i)) {
                let c = candidate(i);
                let crowd = (0..objects).any(|o| class(o) < 0 && iou(c, b(o)).wide() >= 0.001);
                if nearest(c).0 >= R::of(f64::from(op.positive_iou)) {
                    positives.push(i);
                } else if !crowd {
                    negatives.push(i);
                }
            }
            let keys = &inputs[5].real()[image * total..(image + 1) * total];
            let positives = smallest(positives, keys, most);
            let free = op.rois_per_image - positives.len();
            let wanted = (1.0 / op.positive_share * positives.len() as f64 + 1e-5).floor() as usize - positives.len();
            let negatives = smallest(negatives, keys, if op.fill_with_negatives { free } else { wanted.min(free) });
            let (mut rois, mut classes, mut deltas, mut masks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (slot, i) in positives.iter().chain(&negatives).enumerate() {
                let c = candidate(*i);
                rois.extend(c);
                if slot < positives.len() {
                    let object = nearest(c).1;
                    classes.push(R::of(f64::from(class(object))));
                    deltas.extend(encode(c, b(object), op.std_dev));
                    masks.extend(self.mask_target(inputs, image * each + object, c, b(object)));
                }
            }
            let rows = op.rois_per_image;
            rois.resize(4 * rows, zero);
            classes.resize(rows, zero);
            deltas.resize(4 * rows, zero);
            let counts = [positives.len() + negatives.len(), positives.len()].map(|n| vec![R::of(n as f64)]);
            let [count, positive] = counts;
            for (out, part) in out.iter_mut().zip([rois, classes, deltas, count, positive]) {
                out.extend(part);
            }
            if let Some(settings) = &op.masks {
                masks.resize(most * settings.shape[0] * settings.shape[1], zero);
                out[5].extend(masks);
            }
        }
        out
    }
}

impl DetectionTargetsProblem {
    /// Bilinear samples of a mask in a ROI, corner to corner, rounded.
    fn mask_target<R: Real>(&self, inputs: &[Data<R>], index: usize, roi: [R; 4], object: [R; 4]) -> Vec<R> {
        let Some(settings) = &self.op.masks else { return Vec::new() };
        let [h, w] = self.mask;
        let mask = &inputs[6].real()[index * h * w..(index + 1) * h * w];
        let window: [R; 4] = std::array::from_fn(|k| {
            let (low, high) = (object[k % 2], object[k % 2 + 2]);
            if settings.mini { (roi[k] - low) / (high - low) } else { roi[k] }
        });
        let position = |k: usize, i: usize, n: usize, size: usize| -> Option<R> {
            let last = R::of(size as f64 - 1.0);
            let step = (window[k + 2] - window[k]) * last / R::of(n as f64 - 1.0);
            let position = window[k] * last + R::of(i as f64) * step;
            (position >= R::of(0.0) && position <= last).then_some(position)
        };
        let mut out = Vec::new();
        for i in 0..settings.shape[0] {
            for j in 0..settings.shape[1] {
                let (y, x) = (position(0, i, settings.shape[0], h), position(1, j, settings.shape[1], w));
                let (Some(y), Some(x)) = (y, x) else {
                    out.push(R::of(0.0));
                    continue;
                };
                let (fy, fx) = (y - y.map(f64::floor), x - x.map(f64::floor));
                let at = |y: f64, x: f64| mask[y as usize * w + x as usize];
                let (left, right, one) = (x.wide().floor(), x.wide().ceil(), R::of(1.0));
                let row = |y: f64| at(y, left) * (one - fx) + at(y, right) * fx;
                let value = row(y.wide().floor()) * (one - fy) + row(y.wide().ceil()) * fy;
                out.push(value.map(f64::round_ties_even));
            }
        }
        out
    }
}

/// Boxes of masks, and the masks made small. Masks and boxes have powers of two as sides: all is exact, halves are halves.
#[derive(Clone, Copy, Debug)]
pub struct MasksProblem {
    /// Number of masks; the last is empty.
    pub count: usize,
    /// Their height and width.
    pub size: [usize; 2],
    /// What they are made to.
    pub shape: [usize; 2],
    /// Whether masks are bytes.
    pub bytes: bool,
}

impl MasksProblem {
    /// Masks of numbers and of bytes in turn.
    pub fn random(numbers: &mut Numbers) -> Self {
        let bytes = numbers.turn(2) == 1;
        let mut side = |least, most| 1 << numbers.integer(least, most);
        let (size, shape) = ([side(1, 5), side(1, 5)], [side(0, 4), side(0, 4)]);
        Self { count: numbers.integer(1, 6), size, shape, bytes }
    }

    /// The part of a mask in a box, resized, with zeros around it.
    fn made_small<R: Real>(&self, mask: &[R], b: [usize; 4]) -> Vec<R> {
        let cut = [b[2] - b[0], b[3] - b[1]];
        if cut.contains(&0) {
            return vec![R::of(0.0); self.shape[0] * self.shape[1]];
        }
        let pixel = |y: i64, x: i64| {
            let inside = (0..cut[0] as i64).contains(&y) && (0..cut[1] as i64).contains(&x);
            if inside { mask[(b[0] + y as usize) * self.size[1] + b[1] + x as usize] } else { R::of(0.0) }
        };
        let cells = || (0..cut[0] as i64).flat_map(|y| (0..cut[1] as i64).map(move |x| pixel(y, x)));
        let (highest, lowest) = (cells().fold(pixel(0, 0), Real::max), cells().fold(pixel(0, 0), min));
        let position = |i: usize, axis: usize| (i as f64 + 0.5) * cut[axis] as f64 / self.shape[axis] as f64 - 0.5;
        let cell = |(i, j): (usize, usize)| {
            let (y, x) = (position(i, 0), position(j, 1));
            let (top, left) = (y.floor() as i64, x.floor() as i64);
            let (fy, fx) = (R::of(y - y.floor()), R::of(x - x.floor()));
            let row = |y: i64| pixel(y, left) * (R::of(1.0) - fx) + pixel(y, left + 1) * fx;
            let value = row(top) * (R::of(1.0) - fy) + row(top + 1) * fy;
            min(value.max(lowest), highest).map(f64::round_ties_even)
        };
        (0..self.shape[0]).flat_map(|i| (0..self.shape[1]).map(move |j| (i, j))).map(cell).collect()
    }
}

impl Problem for MasksProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [h, w] = self.size;
        let mut masks = vec![0.0f32; self.count * h * w];
        for mask in masks.chunks_exact_mut(h * w).take(self.count - 1) {
            if !self.bytes {
                // Not above one half: outside.
                mask.iter_mut().for_each(|v| *v = numbers.integer(0, 2) as f32 / 4.0);
            }
            let mut side = |size: usize| 1 << numbers.integer(0, size.ilog2() as usize);
            let (rows, columns) = (side(h), side(w));
            let (top, left) = (numbers.integer(0, h - rows), numbers.integer(0, w - columns));
            for y in top..top + rows {
                for x in left..left + columns {
                    mask[y * w + x] = numbers.integer(0, 1) as f32;
                }
            }
            mask[top * w + left] = 1.0;
            mask[(top + rows - 1) * w + left + columns - 1] = 1.0;
        }
        let shape = [self.count, h, w];
        let tensor = match self.bytes {
            false => Tensor::new(shape, &masks),
            true => Tensor::new(shape, &masks.iter().map(|v| *v as u8).collect::<Vec<u8>>()),
        };
        tensor.into_iter().collect()
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let boxes = graph.mask_boxes(inputs[0])?;
        Ok(vec![boxes, graph.mini_masks(inputs[0], boxes, self.shape)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (mut boxes, mut small) = (Vec::new(), Vec::new());
        for mask in inputs[0].real().chunks_exact(self.size[0] * self.size[1]) {
            let inside = |i: &usize| mask[*i] > R::of(0.5);
            let places = || (0..mask.len()).filter(inside).map(|i| [i / self.size[1], i % self.size[1]]);
            let low = |axis: usize| places().map(|place| place[axis]).min().unwrap_or(0);
            let high = |axis: usize| places().map(|place| place[axis] + 1).max().unwrap_or(0);
            let b = [low(0), low(1), high(0), high(1)];
            boxes.extend(b.map(|v| R::of(v as f64)));
            small.extend(self.made_small(mask, b));
        }
        vec![boxes, small]
    }
}
