//! Detections and pasting as test problems.

use super::{Detections, MaskPaste, PasteMode, PasteOutput};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::boxes::BoxNorm;
use crate::ops::boxes::problem::{clip, decode, min, random_boxes, random_counts, row, valid};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::ops::select::problem::{descending, suppress, tied_scores};
use crate::tensor::Tensor;

/// Detections from random ROIs.
#[derive(Clone, Copy, Debug)]
pub struct DetectionsProblem {
    /// Images, ROIs in each, classes.
    pub shape: [usize; 3],
    /// The op.
    pub op: Detections,
    /// Whether counts are given.
    pub counts: bool,
}

impl DetectionsProblem {
    /// Several classes.
    pub fn random(numbers: &mut Numbers) -> Self {
        let shape = [numbers.integer(1, 3), numbers.integer(1, 60), numbers.integer(1, 4)];
        let op = Detections {
            max: numbers.integer(1, 20),
            min_confidence: [0.0, 0.3, 0.7][numbers.integer(0, 2)],
            nms_iou: numbers.uniform(0.1, 0.6),
            ..Detections::default()
        };
        Self { shape, op, counts: numbers.integer(0, 1) == 0 }
    }
}

impl Problem for DetectionsProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, each, classes] = self.shape;
        let rois = random_boxes(&mut numbers, images * each, 1.0);
        // Tied and NaN probabilities; the sum over classes is of no concern here.
        let probs = tied_scores(&mut numbers, images * each * classes);
        let deltas = numbers.tensor(&[images, each, classes, 4]);
        let mut inputs: Vec<Tensor> = Tensor::new([images, each, 4], &rois).into_iter().collect();
        inputs.extend(Tensor::new([images * each, classes], &probs));
        inputs.push(deltas);
        if self.counts {
            inputs.push(random_counts(&mut numbers, images, each));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let counts = inputs.get(3).copied();
        let (detections, counts) = graph.detections(inputs[0], inputs[1], inputs[2], counts, self.op)?;
        Ok(vec![detections, counts])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, each, classes] = self.shape;
        let least = R::of(f64::from(self.op.min_confidence));
        let mut rows = vec![R::of(0.0); images * self.op.max * 6];
        let mut counts = Vec::new();
        for image in 0..images {
            let valid = inputs.get(3).map_or(each, |counts| valid(counts.int()[image], each));
            // ROI, class, score, box of what is worth keeping.
            let mut found: Vec<(usize, usize, R, [R; 4])> = Vec::new();
            for roi in 0..valid {
                let i = image * each + roi;
                let probs = &inputs[1].real()[i * classes..(i + 1) * classes];
                let class = descending(probs)[0];
                if class > 0 && probs[class] >= least {
                    let deltas = row(inputs[2].real(), i * classes + class);
                    let moved = decode(row(inputs[0].real(), i), deltas, self.op.std_dev);
                    found.push((roi, class, probs[class], clip(moved, self.op.window)));
                }
            }
            let mut kept: Vec<(usize, usize, R, [R; 4])> = Vec::new();
            for class in 1..classes {
                let of_class: Vec<_> = found.iter().filter(|f| f.1 == class).copied().collect();
                let order = descending(&of_class.iter().map(|f| f.2).collect::<Vec<R>>());
                let boxes: Vec<[R; 4]> = order.iter().map(|i| of_class[*i].3).collect();
                kept.extend(suppress(&boxes, self.op.nms_iou, self.op.max).into_iter().map(|i| of_class[order[i]]));
            }
            kept.sort_by_key(|f| f.0);
            let order = descending(&kept.iter().map(|f| f.2).collect::<Vec<R>>());
            for (slot, i) in order.iter().take(self.op.max).enumerate() {
                let (_, class, score, b) = kept[*i];
                let at = 6 * (image * self.op.max + slot);
                rows[at..at + 6].copy_from_slice(&[b[0], b[1], b[2], b[3], R::of(class as f64), score]);
            }
            counts.push(R::of(order.len().min(self.op.max) as f64));
        }
        vec![rows, counts]
    }
}

/// Pasting of random probabilities.
#[derive(Clone, Copy, Debug)]
pub struct MaskPasteProblem {
    /// Images, detections in each, height and width of masks, classes.
    pub shape: [usize; 5],
    /// The op.
    pub op: MaskPaste,
    /// Whether counts are given.
    pub counts: bool,
}

impl MaskPasteProblem {
    /// A real-valued pixel box.
    fn pixels<R: Real>(&self, b: [R; 4]) -> [R; 4] {
        std::array::from_fn(|i| {
            let size = self.op.image[i % 2] as f64;
            match self.op.norm {
                BoxNorm::Inclusive => b[i] * R::of(size - 1.0) + R::of((i / 2) as f64),
                BoxNorm::Exact => b[i] * R::of(size),
            }
        })
    }
}

impl MaskPasteProblem {
    /// Either mode, either meaning of boxes; a third of them binary.
    pub fn random(numbers: &mut Numbers) -> Self {
        let turn = numbers.turn(12);
        let mode = [PasteMode::WholePixels, PasteMode::Exact][turn % 2];
        let norm = [BoxNorm::Inclusive, BoxNorm::Exact][turn / 2 % 2];
        let output = if turn < 8 { PasteOutput::Probability } else { PasteOutput::Binary };
        let image = [numbers.integer(20, 50), numbers.integer(20, 50)];
        let op = MaskPaste { mode, norm, output, ..MaskPaste::new(image) };
        let size = [numbers.integer(2, 28), numbers.integer(2, 28)];
        let shape = [numbers.integer(1, 2), numbers.integer(1, 3), size[0], size[1], numbers.integer(2, 3)];
        Self { shape, op, counts: numbers.integer(0, 2) == 0 }
    }
}

impl Problem for MaskPasteProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, each, h, w, classes] = self.shape;
        let boxes = random_boxes(&mut numbers, images * each, 1.0);
        let mut rows = Vec::new();
        for b in boxes.chunks_exact(4) {
            rows.extend_from_slice(b);
            rows.extend([numbers.integer(0, classes - 1) as f32, 0.9]);
        }
        let probs: Vec<f32> = (0..images * each * h * w * classes).map(|_| numbers.uniform(0.0, 1.0)).collect();
        let mut inputs: Vec<Tensor> = Tensor::new([images, each, 6], &rows).into_iter().collect();
        inputs.extend(Tensor::new([images * each, h, w, classes], &probs));
        if self.counts {
            inputs.push(random_counts(&mut numbers, images, each));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.mask_paste(inputs[0], inputs[1], inputs.get(2).copied(), self.op)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, each, h, w, classes] = self.shape;
        let [height, width] = self.op.image;
        let zero = R::of(0.0);
        let mut out = vec![zero; images * each * height * width];
        for i in 0..images * each {
            let d = &inputs[0].real()[6 * i..6 * i + 6];
            let class = d[4].wide() as usize;
            if class == 0 || i % each >= inputs.get(2).map_or(each, |counts| valid(counts.int()[i / each], each)) {
                continue;
            }
            let mask = |y: i64, x: i64| {
                let inside = (0..h as i64).contains(&y) && (0..w as i64).contains(&x);
                if inside { inputs[1].real()[((i * h + y as usize) * w + x as usize) * classes + class] } else { zero }
            };
            let cells = || (0..h as i64).flat_map(|y| (0..w as i64).map(move |x| (y, x)));
            let highest = cells().fold(zero, |m, (y, x)| m.max(mask(y, x)));
            let lowest = cells().fold(highest, |m, (y, x)| min(m, mask(y, x)));
            let b = self.pixels([d[0], d[1], d[2], d[3]]);
            // Position in the mask of a pixel, along one axis; nothing outside the box.
            let position = |pixel: usize, axis: usize, samples: usize| -> Option<R> {
                let (centre, samples) = (pixel as f64 + 0.5, samples as f64);
                let (low, high) = (b[axis], b[axis + 2]);
                match self.op.mode {
                    PasteMode::WholePixels => {
                        let (low, high) = (low.wide().round_ties_even(), high.wide().round_ties_even());
                        let scaled = (centre - low) * samples / (high - low) - 0.5;
                        (centre > low && centre < high).then(|| R::of(scaled))
                    }
                    PasteMode::Exact => {
                        let last = R::of(self.op.image[axis] as f64 - 1.0);
                        let (first, end) = (d[axis] * last, d[axis + 2] * last);
                        let scaled = (R::of(pixel as f64) - first) / (end - first) * R::of(samples - 1.0);
                        let inside = centre >= low.wide() && centre <= high.wide();
                        inside.then(|| min(scaled.max(zero), R::of(samples - 1.0)))
                    }
                }
            };
            for y in 0..height {
                for x in 0..width {
                    let (Some(v), Some(u)) = (position(y, 0, h), position(x, 1, w)) else { continue };
                    let (top, left) = (v.wide().floor(), u.wide().floor());
                    let (fy, fx) = (v - R::of(top), u - R::of(left));
                    let (top, left, one) = (top as i64, left as i64, R::of(1.0));
                    let row = |y: i64| mask(y, left) * (one - fx) + mask(y, left + 1) * fx;
                    let value = row(top) * (one - fy) + row(top + 1) * fy;
                    let value = min(value.max(lowest), highest);
                    out[(i * height + y) * width + x] = match self.op.output {
                        PasteOutput::Probability => value,
                        PasteOutput::Binary => R::of(f64::from(value >= R::of(self.op.threshold.into()))),
                    };
                }
            }
        }
        vec![out]
    }
}
