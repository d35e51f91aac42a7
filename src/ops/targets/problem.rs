//! Targets as test problems.

use super::{DetectionTargets, MaskTargets, RpnTargets};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::boxes::problem::{encode, iou, random_boxes, random_counts, row, valid};
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
    /// The op.
    pub op: DetectionTargets,
}

impl DetectionTargetsProblem {
    /// Every option.
    pub fn random(numbers: &mut Numbers) -> Self {
        let shape = [numbers.integer(1, 3), numbers.integer(2, 60), numbers.integer(1, 6)];
        let mini = numbers.integer(0, 1) == 0;
        let masks = MaskTargets { shape: [numbers.integer(2, 9), numbers.integer(2, 9)], mini };
        let op = DetectionTargets {
            rois_per_image: numbers.integer(3, 40),
            positive_share: [0.25, 0.33, 0.5][numbers.integer(0, 2)],
            masks: (numbers.integer(0, 2) > 0).then_some(masks),
            add_objects: numbers.integer(0, 3) == 0,
            fill_with_negatives: numbers.integer(0, 4) == 0,
            ..DetectionTargets::default()
        };
        Self { shape, mask: [12, 10], op }
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
            let masks: Vec<f32> = (0..count).map(|_| numbers.uniform(0.0, 1.0)).collect();
            inputs.extend(Tensor::new([images, objects, self.mask[0], self.mask[1]], &masks));
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
