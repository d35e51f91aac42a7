//! CPU body of pasting: one task per detection.

use super::paste::{MaskPaste, PasteMode, PasteOutput};
use super::resize::Resize;
use crate::Result;
use crate::device::Cpu;
use crate::ops::boxes::Box4;
use crate::ops::{CpuArgs, is_valid_row};

pub(super) fn run(op: &MaskPaste, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
    let (detections, probs) = (args.inputs[0].f32(), args.inputs[1].f32());
    let rows = detections.len() / 6;
    let shape = args.inputs[1].shape();
    let rank = shape.rank();
    let (size, classes) = ([shape[rank - 3], shape[rank - 2]], shape.last());
    let counts = args.inputs.get(2).map(|counts| counts.i32());
    let pixels = op.image[0] * op.image[1];
    let mask = |row: usize| {
        let d = &detections[6 * row..6 * row + 6];
        let class = d[4] as usize;
        let is_mask = is_valid_row(row, rows, counts) && d[4] >= 1.0 && class < classes;
        let probs = &probs[row * size[0] * size[1] * classes..];
        let read = move |y: usize, x: usize| f64::from(probs[(y * size[1] + x) * classes + class]);
        is_mask.then(|| ([d[0], d[1], d[2], d[3]], read))
    };
    match op.output {
        PasteOutput::Binary => cpu.parallel_chunks(args.outputs[0].values::<u8>(), pixels, |row, out| {
            out.fill(0);
            if let Some((b, read)) = mask(row) {
                let threshold = f64::from(op.threshold);
                paste(op, b, size, read, |pixel, value| out[pixel] = u8::from(value >= threshold));
            }
        }),
        PasteOutput::Probability => cpu.parallel_chunks(args.outputs[0].f32(), pixels, |row, out| {
            out.fill(0.0);
            if let Some((b, read)) = mask(row) {
                paste(op, b, size, read, |pixel, value| out[pixel] = value as f32);
            }
        }),
    }
    Ok(())
}

/// Calls `write(pixel, value)` for every pixel of the image inside the box.
fn paste(
    op: &MaskPaste,
    b: Box4,
    size: [usize; 2],
    read: impl Fn(usize, usize) -> f64,
    mut write: impl FnMut(usize, f64),
) {
    let [height, width] = op.image;
    match op.mode {
        PasteMode::WholePixels => {
            let [y1, x1, y2, x2] = op.norm.to_whole_pixels(b, op.image).map(i64::from);
            if y2 <= y1 || x2 <= x1 {
                return;
            }
            let resize = Resize::new(size, [(y2 - y1) as usize, (x2 - x1) as usize], read);
            for y in y1.max(0)..y2.min(height as i64) {
                for x in x1.max(0)..x2.min(width as i64) {
                    write(y as usize * width + x as usize, resize.at((y - y1) as usize, (x - x1) as usize));
                }
            }
        }
        PasteMode::Exact => {
            let [y1, x1, y2, x2] = op.norm.to_pixels(b, op.image);
            if !(y2 > y1 && x2 > x1) {
                return;
            }
            let vertical = ExactAxis::new([y1, y2], [b[0], b[2]], height, size[0]);
            let horizontal = ExactAxis::new([x1, x2], [b[1], b[3]], width, size[1]);
            for y in 0..height {
                let Some((top, bottom, fy)) = vertical.at(y) else { continue };
                for x in 0..width {
                    let Some((left, right, fx)) = horizontal.at(x) else { continue };
                    let row = |y: usize| read(y, left) * (1.0 - fx) + read(y, right) * fx;
                    write(y * width + x, row(top) * (1.0 - fy) + row(bottom) * fy);
                }
            }
        }
    }
}

/// Pixels of an image to samples of a mask along one axis.
struct ExactAxis {
    /// The box in pixels.
    ends: [f64; 2],
    /// Pixel index of the mask's first sample.
    first: f64,
    /// Samples per pixel.
    scale: f64,
    /// Index of the mask's last sample.
    last: f64,
}

impl ExactAxis {
    fn new(ends: [f64; 2], normalised: [f32; 2], pixels: usize, samples: usize) -> Self {
        // crop_and_resize samples index `normalised * (pixels - 1)`, whatever normalised boxes mean elsewhere.
        let [first, end] = normalised.map(|v| f64::from(v) * (pixels as f64 - 1.0));
        let last = samples as f64 - 1.0;
        let scale = if end > first { last / (end - first) } else { 0.0 };
        Self { ends, first, scale, last }
    }

    fn at(&self, pixel: usize) -> Option<(usize, usize, f64)> {
        let centre = pixel as f64 + 0.5;
        if centre < self.ends[0] || centre > self.ends[1] {
            return None;
        }
        let position = ((pixel as f64 - self.first) * self.scale).clamp(0.0, self.last);
        let low = position.floor();
        Some((low as usize, position.ceil() as usize, position - low))
    }
}
