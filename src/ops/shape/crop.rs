//! Crops round boxes.

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::ops::{Cost, CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// `(x [N, T, H, W], boxes f32 [N, 4]) -> [N, T, h, w]`: of every sample, in all frames, the window of `h x w` pixels round the centre of
/// its box (y1, x1, y2, x2, in pixels), rounded down: the window's pixel `(h / 2, w / 2)` lies there. Zeros outside of the frames, and
/// where the box is empty (y2 <= y1 or x2 <= x1). No gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropWindows {
    /// Height and width of a window.
    pub size: [usize; 2],
}

impl CropWindows {
    /// First row and column of a box's window, before the frames' first where negative; none for an empty box.
    pub(super) fn corner(&self, bounds: &[f32]) -> Option<[i64; 2]> {
        let &[y1, x1, y2, x2] = bounds else { return None };
        let first = |a: f32, b: f32, size: usize| ((a + b) / 2.0).floor() as i64 - (size / 2) as i64;
        (y2 > y1 && x2 > x1).then(|| [first(y1, y2, self.size[0]), first(x1, x2, self.size[1])])
    }
}

impl Op for CropWindows {
    fn name(&self) -> &'static str {
        "crop_windows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let (x, boxes) = (&inputs[0], &inputs[1]);
        let ok = x.dtype == DType::F32 && x.shape.rank() == 4 && *boxes == TensorType::f32([x.shape[0], 4]);
        ensure(self.name(), ok, || format!("takes f32 x [N,T,H,W] and boxes f32 [N,4], got {x} and {boxes}"))?;
        Ok(vec![TensorType::f32([x.shape[0], x.shape[1], self.size[0], self.size[1]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(0, &[&inputs[1..], outputs].concat(), outputs)
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        Ok(super::cuda::crop_windows(types))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, boxes) = (&args.inputs[0], args.inputs[1].f32());
        let ([frames, height, width], [h, w]) = ([x.shape()[1], x.shape()[2], x.shape()[3]], self.size);
        let (x, y) = (x.f32(), args.outputs[0].f32());
        cpu.parallel_chunks(y, h * w, |plane, y| {
            let frame = &x[plane * height * width..][..height * width];
            y.fill(0.0);
            let sample = plane / frames;
            let Some([top, left]) = self.corner(&boxes[4 * sample..4 * sample + 4]) else { return };
            for (row, y) in y.chunks_exact_mut(w).enumerate() {
                let Some(row) = usize::try_from(top + row as i64).ok().filter(|row| *row < height) else { continue };
                for (column, y) in y.iter_mut().enumerate() {
                    let column = usize::try_from(left + column as i64).ok().filter(|column| *column < width);
                    *y = column.map_or(0.0, |column| frame[row * width + column]);
                }
            }
        });
        Ok(())
    }
}
