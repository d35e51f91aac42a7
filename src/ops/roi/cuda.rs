//! Launches of RoiAlign: one for each level.

use super::{LevelRule, RoiAlignAttrs, RoiAlignGrad, split_counts};
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::tensor::TensorType;

const SOURCE: &str = "roi";
/// `SIEVE` of `kernels/roi.cu`: threads, and so channels, of a block.
const SIEVE: usize = 256;

/// The part of the arguments that both directions share: `Roi`, `Level` and the side of a box of the base level.
fn attributes(launch: Launch, attrs: &RoiAlignAttrs, boxes: &TensorType, maps: &[TensorType], level: usize) -> Launch {
    let (fixed, base, octave) = match attrs.level_rule {
        LevelRule::Fixed(level) => (i32::try_from(level).unwrap_or(i32::MAX), 0, 1.0),
        LevelRule::Size { canonical_px, image, first_level, base_level } => {
            let base = base_level.saturating_sub(first_level).clamp(-1_000_000_000, 1_000_000_000);
            (-1, base, canonical_px / ((image[0] * image[1]) as f32).sqrt())
        }
    };
    let ([pool_h, pool_w], map) = (attrs.pool, &maps[level].shape);
    launch
        .fields(&[boxes.shape[0], boxes.shape[1], pool_h, pool_w, usize::from(attrs.clamp_edge), maps.len()], &[])
        .structure(&[fixed, base])
        .fields(&[level, map[1], map[2], map[3]], &[])
        .float(octave)
}

pub(super) fn forward(attrs: &RoiAlignAttrs, types: &Types<'_>) -> Result<Work> {
    let (boxes, (maps, counts)) = (&types.inputs[0], split_counts(&types.inputs[1..]));
    let mut work = Work::new();
    if types.outputs[0].is_empty() {
        return Ok(work);
    }
    for level in 0..maps.len() {
        let launch =
            Launch::stored(SOURCE, "roi_align", types.outputs[0].dtype).grid(boxes.shape.rows(), attrs.pool[0], 1);
        let launch = launch.input(0).input(1 + level);
        let launch = if counts.is_some() { launch.input(1 + maps.len()) } else { launch.arg(Arg::Null) };
        work.launch(attributes(launch.output(0), attrs, boxes, maps, level));
    }
    Ok(work)
}

pub(super) fn backward(op: &RoiAlignGrad, types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    for (level, map) in op.levels.iter().enumerate().filter(|(level, map)| types.needed[*level] && !map.is_empty()) {
        let (pixels, channels) = (map.shape[0] * map.shape[1] * map.shape[2], map.shape[3]);
        let launch = Launch::stored(SOURCE, "roi_align_grad", types.inputs[1].dtype)
            .grid(pixels, channels.div_ceil(SIEVE), 1)
            .block(SIEVE);
        let launch = launch.input(0).input(1).optional_input(types, 2).output(level);
        work.launch(attributes(launch, &op.attrs, &types.inputs[0], &op.levels, level));
    }
    Ok(work)
}
