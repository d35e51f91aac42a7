//! Launches of the region proposal network's targets: overlaps, matches and keys, places, the limit.

use super::rpn::RpnTargets;
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::select::cuda::Ranking;

const SOURCE: &str = "rpn_targets";
/// `LIMIT_THREADS` of `kernels/rpn_targets.cu`.
const LIMIT_THREADS: usize = 512;

pub(super) fn run(op: &RpnTargets, types: &Types<'_>) -> Result<Work> {
    let anchors = types.inputs[0].shape[0];
    let (images, objects) = (types.inputs[1].shape[0], types.inputs[1].shape[1]);
    let mut work = Work::new();
    if images == 0 || anchors == 0 {
        return Ok(work);
    }
    let ranking = Ranking::new(&mut work, 2 * images, anchors);
    let nearest = work.take_scratch(4 * images * anchors);
    // The largest overlap of each object, then the numbers of positives and negatives of each image.
    let (best, found) = (work.take_scratch(4 * images * objects), work.take_scratch(4 * 2 * images));
    work.zero(Arg::Scratch(best), 4 * images * objects);
    work.zero(Arg::Scratch(found), 4 * 2 * images);

    let blocks = anchors.div_ceil(256);
    let overlaps = Launch::new(SOURCE, "rpn_overlaps_f32").grid(blocks, images, 1).shared(4 * objects);
    let overlaps = overlaps.input(0).input(1).input(2).output(0).scratch(nearest).scratch(best);
    work.launch(overlaps.int(anchors).int(objects).float(op.positive_iou).float(op.negative_iou));

    let matches = Launch::new(SOURCE, "rpn_match_f32").grid(blocks, images, 1);
    let matches = matches.input(0).input(1).input(2).input(3).scratch(best).output(0);
    let matches = matches.scratch(ranking.keys).scratch(ranking.ranks).scratch(found);
    work.launch(matches.int(anchors).int(objects));
    ranking.rank(&mut work);

    let limit = Launch::new(SOURCE, "rpn_limit_f32").grid(images, 1, 1).block(LIMIT_THREADS);
    let limit = limit.input(0).input(1).scratch(nearest).scratch(ranking.ranks).scratch(found).output(0).output(1);
    let limit = limit.int(anchors).int(objects).int(op.per_image).int(op.max_positives(anchors));
    work.launch(limit.structure(&op.std_dev));
    Ok(work)
}
