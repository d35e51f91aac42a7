//! Launches of the heads' targets (matches and keys, places, samples, masks) and of mini masks.

use super::detection::DetectionTargets;
use super::mini_mask::MiniMasks;
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::select::cuda::Ranking;
use crate::tensor::DType;

const SOURCE: &str = "detection_targets";

pub(super) fn run(op: &DetectionTargets, types: &Types<'_>) -> Result<Work> {
    let (images, proposals) = (types.inputs[0].shape[0], types.inputs[0].shape[1]);
    let objects = types.inputs[2].shape[1];
    let (candidates, rois, most) = (op.candidates(proposals, objects), op.rois_per_image, op.max_positives());
    let mut work = Work::new();
    for (index, output) in types.outputs.iter().enumerate().take(5) {
        work.zero(Arg::Output(index), output.bytes());
    }
    let mask_bytes = types.outputs.get(5).map_or(0, |masks| masks.bytes());
    if images == 0 || candidates == 0 {
        if mask_bytes > 0 {
            work.zero(Arg::Output(5), mask_bytes);
        }
        return Ok(work);
    }
    // `Sampling` of the kernels.
    let integers = [images, proposals, objects, candidates, rois, most, usize::from(op.fill_with_negatives)];
    let sampling = |launch: Launch| launch.fields(&integers, &[op.positive_iou, (1.0 / op.positive_share) as f32]);

    let ranking = Ranking::new(&mut work, 2 * images, candidates);
    let (nearest, found) = (work.take_scratch(4 * images * candidates), work.take_scratch(4 * 2 * images));
    let objects_of_rois = work.take_scratch(4 * images * rois);
    work.zero(Arg::Scratch(found), 4 * 2 * images);
    let blocks = candidates.div_ceil(256);
    let launch = Launch::new(SOURCE, "detection_match_f32").grid(blocks, images, 1);
    let launch = (0..6).fold(launch, Launch::input).scratch(ranking.keys).scratch(ranking.ranks);
    work.launch(sampling(launch.scratch(nearest).scratch(found)));
    ranking.rank(&mut work);

    let launch = Launch::new(SOURCE, "detection_sample_f32").grid(blocks, images, 1).input(0).input(2).input(3);
    let launch = launch.scratch(ranking.keys).scratch(ranking.ranks).scratch(nearest).scratch(found);
    let launch = (0..5).fold(launch, Launch::output).scratch(objects_of_rois);
    work.launch(sampling(launch).structure(&op.std_dev));

    let Some(settings) = op.masks.filter(|_| mask_bytes > 0) else { return Ok(work) };
    let masks = &types.inputs[6];
    let kernel = if masks.dtype == DType::U8 { "mask_targets_u8" } else { "mask_targets_f32" };
    let [height, width] = settings.shape;
    let shape = [masks.shape[2], masks.shape[3], height, width, usize::from(settings.mini)];
    let launch = Launch::new(SOURCE, kernel).over(types.outputs[5].len()).input(6).input(2).output(0).output(4);
    work.launch(sampling(launch.scratch(objects_of_rois).output(5)).fields(&shape, &[]));
    Ok(work)
}

pub(super) fn mini_masks(op: &MiniMasks, types: &Types<'_>) -> Result<Work> {
    let masks = &types.inputs[0];
    if types.outputs[0].is_empty() {
        return Ok(Work::new());
    }
    let rank = masks.shape.rank();
    let kernel = if masks.dtype == DType::U8 { "mini_masks_u8" } else { "mini_masks_f32" };
    let shape = [masks.shape[rank - 2], masks.shape[rank - 1], op.shape[0], op.shape[1], 0];
    let launch = Launch::new(SOURCE, kernel).grid(types.inputs[1].shape.rows(), 1, 1).input(0).input(1).output(0);
    Ok(Work::of(launch.fields(&shape, &[])))
}
