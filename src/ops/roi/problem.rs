//! RoiAlign as a test problem.

use super::{LevelRule, RoiAlignAttrs};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::boxes::problem::{random_counts, row, valid};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// Crops of random boxes, inside, across and outside the border, some swapped or empty.
#[derive(Clone, Debug)]
pub struct RoiAlignProblem {
    /// Images, and boxes in each.
    pub shape: [usize; 2],
    /// Height and width of each level.
    pub levels: Vec<[usize; 2]>,
    /// Channels.
    pub channels: usize,
    /// The attributes.
    pub attrs: RoiAlignAttrs,
    /// Whether counts are given.
    pub counts: bool,
}

impl RoiAlignProblem {
    /// Any crops of small maps.
    pub fn random(numbers: &mut Numbers) -> Self {
        let count = numbers.integer(1, 3);
        let image = [numbers.integer(20, 90), numbers.integer(20, 90)];
        let rule = LevelRule::Size { canonical_px: numbers.uniform(20.0, 60.0), image, first_level: 2, base_level: 3 };
        let level_rule = if numbers.integer(0, 2) > 0 { rule } else { LevelRule::Fixed(count - 1) };
        let pool = [numbers.integer(1, 6), numbers.integer(1, 6)];
        Self {
            shape: [numbers.integer(1, 3), numbers.integer(1, 7)],
            levels: (0..count).map(|_| [numbers.integer(1, 9), numbers.integer(1, 9)]).collect(),
            channels: numbers.integer(1, 70),
            attrs: RoiAlignAttrs { pool, level_rule, clamp_edge: numbers.integer(0, 1) == 1 },
            counts: numbers.integer(0, 1) == 1,
        }
    }
}

impl Problem for RoiAlignProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let [images, each] = self.shape;
        let mut boxes: Vec<f32> = (0..images * each * 4).map(|_| numbers.uniform(-0.2, 1.2)).collect();
        for b in boxes.chunks_exact_mut(4) {
            match numbers.integer(0, 5) {
                0 => b[2] = b[0],
                1 => {}
                _ => {
                    b[2] = b[0].max(b[2]) + 0.01;
                    b[3] = b[1].max(b[3]) + 0.01;
                }
            }
        }
        let mut inputs: Vec<Tensor> = Tensor::new([images, each, 4], &boxes).into_iter().collect();
        inputs.extend(self.levels.iter().map(|[h, w]| numbers.tensor(&[images, *h, *w, self.channels])));
        if self.counts {
            inputs.push(random_counts(&mut numbers, images, each));
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let maps = &inputs[1..=self.levels.len()];
        let counts = inputs.get(1 + self.levels.len()).copied();
        Ok(vec![graph.roi_align(inputs[0], maps, &self.attrs, counts)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let [images, each] = self.shape;
        let [pool_h, pool_w] = self.attrs.pool;
        let zero = R::of(0.0);
        let mut out = Vec::new();
        for i in 0..images * each {
            let counts = if self.counts { Some(inputs[1 + self.levels.len()].int()) } else { None };
            let is_valid = i % each < counts.map_or(each, |counts| valid(counts[i / each], each));
            let b = row(inputs[0].real(), i);
            let level = self.level(b.map(Real::wide));
            let ([h, w], map) = (self.levels[level], inputs[1 + level].real());
            let at = |y: usize, x: usize, c: usize| map[((i / each * h + y) * w + x) * self.channels + c];
            for oy in 0..pool_h {
                for ox in 0..pool_w {
                    let y = self.position(b[0], b[2], oy, pool_h, h);
                    let x = self.position(b[1], b[3], ox, pool_w, w);
                    for c in 0..self.channels {
                        let (Some(y), Some(x), true) = (y, x, is_valid) else {
                            out.push(zero);
                            continue;
                        };
                        let cells = |v: R| (v.wide().floor() as usize, v.wide().ceil() as usize, v - v.map(f64::floor));
                        let ((top, bottom, fy), (left, right, fx)) = (cells(y), cells(x));
                        let mix = |a: R, b: R, f: R| a + (b - a) * f;
                        let upper = mix(at(top, left, c), at(top, right, c), fx);
                        out.push(mix(upper, mix(at(bottom, left, c), at(bottom, right, c), fx), fy));
                    }
                }
            }
        }
        vec![out]
    }

    fn differentiable(&self) -> Vec<usize> {
        (1..=self.levels.len()).collect()
    }
}

impl RoiAlignProblem {
    fn level(&self, b: [f64; 4]) -> usize {
        let LevelRule::Size { canonical_px, image, first_level, base_level } = self.attrs.level_rule else {
            return self.levels.len() - 1;
        };
        let (h, w) = (b[2] - b[0], b[3] - b[1]);
        if h * w <= 0.0 {
            return 0;
        }
        let side = (h * w * (image[0] * image[1]) as f64).sqrt();
        let level = base_level + (side / f64::from(canonical_px)).log2().round_ties_even() as i32 - first_level;
        level.clamp(0, self.levels.len() as i32 - 1) as usize
    }

    /// The coordinate of sample `i` of `count` on `size` cells; nothing outside.
    fn position<R: Real>(&self, low: R, high: R, i: usize, count: usize, size: usize) -> Option<R> {
        let last = R::of(size as f64 - 1.0);
        let position = if count == 1 {
            R::of(0.5) * (low + high) * last
        } else {
            low * last + R::of(i as f64) * ((high - low) * last / R::of(count as f64 - 1.0))
        };
        let edge = if self.attrs.clamp_edge { 1e-4 } else { 0.0 };
        let p = position.wide();
        let inside = p >= 0.0 && p <= last.wide();
        let near = p > -edge && p < last.wide() + edge;
        if inside || near { Some(R::of(p.clamp(0.0, last.wide()))) } else { None }
    }
}
