//! Launches of top-k and non-maximum suppression, and the parts that other families build on: places in an order, greedy
//! suppression of candidates in order.

use super::{Nms, TopK};
use crate::Result;
use crate::device::cuda::{Arg, Launch, Task, Types, Work};

const SOURCE: &str = "select";
/// `TILE` and `SLICE` of `kernels/order.cu`.
const TILE: usize = 256;
const SLICE: usize = 1024;
/// `WORD` of `kernels/suppress.cu`.
const WORD: usize = 64;

/// Sort keys of some groups in scratch, and the place of each in its group's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranking {
    /// Offset of the keys in scratch: `u64 [groups, each]`.
    pub keys: usize,
    /// Offset of the places: `i32 [groups, each]`, zeroed by whoever writes the keys.
    pub ranks: usize,
    groups: usize,
    each: usize,
}

impl Ranking {
    /// Takes scratch for `groups` of `each` keys.
    pub fn new(work: &mut Work, groups: usize, each: usize) -> Self {
        let keys = work.take_scratch(8 * groups * each);
        Self { keys, ranks: work.take_scratch(4 * groups * each), groups, each }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.groups * self.each
    }

    /// Finds the places, once keys are written.
    pub fn rank(&self, work: &mut Work) {
        let launch = Launch::new("order", "rank_u64").block(TILE);
        let launch = launch.grid(self.groups * self.each.div_ceil(TILE), self.each.div_ceil(SLICE), 1);
        work.launch(launch.scratch(self.keys).scratch(self.ranks).int(self.each));
    }
}

/// Greedy suppression of each image's candidates.
#[derive(Clone, Debug)]
pub(crate) struct Suppression {
    /// Images.
    pub images: usize,
    /// Candidates of each: rows of `boxes`.
    pub each: usize,
    /// Boxes `f32 [images, each, 4]` in order.
    pub boxes: Arg,
    /// Classes `i32 [images, each]`, or null: only boxes of one class overlap.
    pub classes: Arg,
    /// How many candidates there are, `i32 [images]`, or null: all.
    pub found: Arg,
    /// What a position stands for, `i32 [images, each]`, or null: itself.
    pub order: Arg,
    /// Boxes that overlap a kept one by more than this go.
    pub iou: f32,
    /// Boxes kept at most.
    pub max: usize,
}

impl Suppression {
    /// Writes what is kept, `i32 [images, max]` padded with -1, and how many, `i32 [images]`.
    pub fn launch(self, work: &mut Work, kept: Arg, counts: Arg) {
        let words = self.each.div_ceil(WORD);
        let bits = work.take_scratch(8 * self.images * self.each * words);
        let overlaps = Launch::new("suppress", "nms_overlaps_f32").grid(words, words, self.images).block(WORD);
        let overlaps = overlaps.arg(self.boxes).arg(self.classes).arg(self.found.clone()).scratch(bits);
        work.launch(overlaps.int(self.each).float(self.iou));
        let walk = Launch::new("suppress", "nms_walk").grid(self.images, 1, 1).shared(8 * words);
        let walk = walk.scratch(bits).arg(self.found).arg(self.order).arg(kept).arg(counts);
        work.launch(walk.int(self.each).int(self.max));
    }
}

/// Keys of the scores in input `scores`, `groups` of `each`.
fn score_keys(work: &mut Work, scores: usize, counts: Arg, groups: usize, each: usize) -> Ranking {
    let ranking = Ranking::new(work, groups, each);
    let launch = Launch::new(SOURCE, "score_keys_f32").over(ranking.len()).input(scores).arg(counts);
    work.launch(launch.scratch(ranking.keys).scratch(ranking.ranks).long(ranking.len()).int(each));
    ranking.rank(work);
    ranking
}

pub(super) fn top_k(op: &TopK, types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    if types.outputs[0].is_empty() {
        return Ok(work);
    }
    let n = types.inputs[0].shape.last();
    let ranking = score_keys(&mut work, 0, Arg::Null, types.inputs[0].len() / n, n);
    let launch = Launch::new(SOURCE, "top_k_f32").over(ranking.len()).input(0).scratch(ranking.ranks);
    work.launch(launch.output(0).output(1).long(ranking.len()).int(n).int(op.k));
    Ok(work)
}

pub(super) fn nms(op: &Nms, types: &Types<'_>) -> Result<Work> {
    let (images, each) = (types.inputs[1].shape[0], types.inputs[1].shape[1]);
    let mut work = Work::new();
    if images == 0 || each == 0 || op.max == 0 {
        // Nothing can be kept.
        let bytes = types.outputs[0].bytes();
        work.tasks.push(Task::Fill { target: Arg::Output(0), bytes, byte: 0xff });
        work.zero(Arg::Output(1), types.outputs[1].bytes());
        return Ok(work);
    }
    let counts = if types.inputs.len() > 2 { Arg::Input(2) } else { Arg::Null };
    let ranking = score_keys(&mut work, 1, counts.clone(), images, each);
    let (sorted, order) = (work.take_scratch(16 * ranking.len()), work.take_scratch(4 * ranking.len()));
    let sort = Launch::new(SOURCE, "nms_sort_f32").over(ranking.len()).input(0).arg(counts.clone());
    let sort = sort.scratch(ranking.ranks).scratch(sorted).scratch(order);
    work.launch(sort.long(ranking.len()).int(each));
    let suppression = Suppression {
        images,
        each,
        boxes: Arg::Scratch(sorted),
        classes: Arg::Null,
        found: counts,
        order: Arg::Scratch(order),
        iou: op.iou,
        max: op.max,
    };
    suppression.launch(&mut work, Arg::Output(0), Arg::Output(1));
    Ok(work)
}
