//! Launches of the proposal layer: keys, places, the best anchors moved, overlaps, the walk, the boxes kept.

use super::Proposals;
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::select::cuda::{Ranking, Suppression};

const SOURCE: &str = "proposals";

pub(super) fn run(op: &Proposals, types: &Types<'_>) -> Result<Work> {
    let (images, anchors) = (types.inputs[0].shape[0], types.inputs[0].shape[1]);
    let each = op.pre_nms.min(anchors);
    let mut work = Work::new();
    if images == 0 || each == 0 || op.count == 0 {
        work.zero(Arg::Output(0), types.outputs[0].bytes());
        work.zero(Arg::Output(1), types.outputs[1].bytes());
        return Ok(work);
    }
    let ranking = Ranking::new(&mut work, images, anchors);
    let keys = Launch::new(SOURCE, "proposals_keys_f32").over(ranking.len()).input(0);
    work.launch(keys.scratch(ranking.keys).scratch(ranking.ranks).long(ranking.len()).int(anchors));
    ranking.rank(&mut work);

    let candidates = work.take_scratch(16 * images * each);
    let decode = Launch::new(SOURCE, "proposals_decode_f32").over(ranking.len()).input(1).input(2);
    let decode = decode.scratch(ranking.ranks).scratch(candidates).long(ranking.len()).int(anchors).int(each);
    work.launch(decode.structure(&op.std_dev).structure(&op.window));

    let kept = work.take_scratch(4 * images * op.count);
    let suppression = Suppression {
        images,
        each,
        boxes: Arg::Scratch(candidates),
        classes: Arg::Null,
        found: Arg::Null,
        order: Arg::Null,
        iou: op.nms_iou,
        max: op.count,
    };
    suppression.launch(&mut work, Arg::Scratch(kept), Arg::Output(1));
    let take = Launch::new(SOURCE, "proposals_take_f32").over(images * op.count).scratch(candidates).scratch(kept);
    work.launch(take.output(0).long(images * op.count).int(each).int(op.count));
    Ok(work)
}
