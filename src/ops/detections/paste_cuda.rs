//! Launch of pasting.

use super::paste::{MaskPaste, PasteMode, PasteOutput};
use crate::Result;
use crate::device::cuda::{Launch, Types, Work};

pub(super) fn run(op: &MaskPaste, types: &Types<'_>) -> Result<Work> {
    if types.outputs[0].is_empty() {
        return Ok(Work::new());
    }
    let (detections, probs) = (&types.inputs[0].shape, &types.inputs[1].shape);
    let rows = detections[0] * detections[1];
    let kernel = match (op.output, op.mode) {
        (PasteOutput::Binary, PasteMode::WholePixels) => "mask_paste_u8_whole",
        (PasteOutput::Binary, PasteMode::Exact) => "mask_paste_u8_exact",
        (PasteOutput::Probability, PasteMode::WholePixels) => "mask_paste_f32_whole",
        (PasteOutput::Probability, PasteMode::Exact) => "mask_paste_f32_exact",
    };
    let rank = probs.rank();
    let [height, width] = op.image;
    let shape = [rows, detections[0], height, width, probs[rank - 3], probs[rank - 2], probs.last()];
    let launch = Launch::new("paste", kernel).grid(rows, 1, 1).input(0).input(1).optional_input(types, 2).output(0);
    let launch = launch.structure(&op.norm.pixel_map(op.image));
    let launch = launch.fields(&shape, &[]);
    Ok(Work::of(match op.output {
        PasteOutput::Binary => launch.float(op.threshold),
        PasteOutput::Probability => launch,
    }))
}
