//! Launches of the box ops.

use super::{BoxMapKind, BoxNorm};
use crate::Result;
use crate::device::cuda::{Launch, Types, Work};
use crate::tensor::DType;

const SOURCE: &str = "boxes";

impl BoxNorm {
    /// Normalised coordinates to pixels for kernels: scale of y and of x, shift of the lower right corner.
    pub(crate) fn pixel_map(self, image: [usize; 2]) -> [f64; 3] {
        let ([height, width, ..], [.., shift]) = self.scale_shift(image);
        [height, width, shift]
    }
}

/// A launch over rows of boxes. What the kernel takes after them is yet to be added.
fn map_launch(kernel: &str, binary: bool, types: &Types<'_>) -> Launch {
    let data = if binary { 2 } else { 1 };
    let rows = types.inputs[0].len() / 4;
    let groups = types.inputs.get(data).map_or(0, |counts| counts.len());
    let mut launch = Launch::new(SOURCE, kernel).over(4 * rows).input(0);
    if binary {
        launch = launch.input(1);
    }
    launch = launch.optional_input(types, data).output(0);
    launch.long(rows).int(groups)
}

pub(super) fn map(kind: &BoxMapKind, types: &Types<'_>) -> Result<Work> {
    if types.outputs[0].is_empty() {
        return Ok(Work::new());
    }
    let launch = |kernel: &str| map_launch(kernel, kind.is_binary(), types);
    Ok(Work::of(match *kind {
        BoxMapKind::Encode { std_dev } => launch("box_encode_f32").structure(&std_dev),
        BoxMapKind::Decode { std_dev, window: None } => launch("box_decode_f32").structure(&std_dev),
        BoxMapKind::Decode { std_dev, window: Some(window) } => {
            launch("box_decode_f32_clipped").structure(&std_dev).structure(&window)
        }
        BoxMapKind::Clip { window } => launch("box_clip_f32").structure(&window),
        BoxMapKind::Normalise { image, norm } => launch("box_normalise_f32").structure(&norm.pixel_map(image)),
        BoxMapKind::ToPixels { image, norm, round } => {
            let kernel = if round { "box_to_pixels_f32_rounded" } else { "box_to_pixels_f32" };
            launch(kernel).structure(&norm.pixel_map(image))
        }
    }))
}

pub(super) fn iou(types: &Types<'_>) -> Result<Work> {
    let output = &types.outputs[0];
    if output.is_empty() {
        return Ok(Work::new());
    }
    let launch = Launch::new(SOURCE, "box_iou_f32").over(output.len()).input(0).input(1).output(0);
    Ok(Work::of(launch.long(output.shape[0]).long(output.shape[1])))
}

pub(super) fn mask_boxes(types: &Types<'_>) -> Result<Work> {
    let (masks, count) = (&types.inputs[0], types.outputs[0].len() / 4);
    if count == 0 {
        return Ok(Work::new());
    }
    let rank = masks.shape.rank();
    let kernel = if masks.dtype == DType::U8 { "mask_boxes_u8" } else { "mask_boxes_f32" };
    let launch = Launch::new(SOURCE, kernel).grid(count, 1, 1).input(0).output(0);
    Ok(Work::of(launch.int(masks.shape[rank - 2]).int(masks.shape[rank - 1])))
}
