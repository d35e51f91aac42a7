//! Launches of the detection layer: keys by score, places, candidates in order, overlaps within classes, the walk, the rows.

use super::Detections;
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::select::cuda::{Ranking, Suppression};

const SOURCE: &str = "detections";

pub(super) fn run(op: &Detections, types: &Types<'_>) -> Result<Work> {
    let (images, each) = (types.inputs[0].shape[0], types.inputs[0].shape[1]);
    let mut work = Work::new();
    if op.max == 0 {
        work.zero(Arg::Output(1), types.outputs[1].bytes());
        return Ok(work);
    }
    let rois = images * each;
    let classes = types.inputs[1].len() / rois;
    let ranking = Ranking::new(&mut work, images, each);
    let (class_of, found) = (work.take_scratch(4 * rois), work.take_scratch(4 * images));
    work.zero(Arg::Scratch(found), 4 * images);
    let keys = Launch::new(SOURCE, "detections_keys_f32").over(rois).input(1).optional_input(types, 3);
    let keys = keys.scratch(ranking.keys).scratch(ranking.ranks).scratch(class_of).scratch(found);
    work.launch(keys.long(rois).int(each).int(classes).float(op.min_confidence));
    ranking.rank(&mut work);

    let [candidates, candidate_classes, order] = [16, 4, 4].map(|bytes| work.take_scratch(bytes * rois));
    let sort = Launch::new(SOURCE, "detections_sort_f32").over(rois).input(0).input(2);
    let sort =
        sort.scratch(class_of).scratch(ranking.ranks).scratch(candidates).scratch(candidate_classes).scratch(order);
    work.launch(sort.long(rois).int(each).int(classes).structure(&op.std_dev).structure(&op.window));

    let kept = work.take_scratch(4 * images * op.max);
    let suppression = Suppression {
        images,
        each,
        boxes: Arg::Scratch(candidates),
        classes: Arg::Scratch(candidate_classes),
        found: Arg::Scratch(found),
        order: Arg::Null,
        iou: op.nms_iou,
        max: op.max,
    };
    suppression.launch(&mut work, Arg::Scratch(kept), Arg::Output(1));
    let rows = images * op.max;
    let take = Launch::new(SOURCE, "detections_take_f32").over(rows).input(1).scratch(candidates);
    let take = take.scratch(candidate_classes).scratch(order).scratch(kept).output(0);
    work.launch(take.long(rows).int(each).int(classes).int(op.max));
    Ok(work)
}
