//! Pasting: a detection's small mask onto the image.

use super::{paste_cpu, paste_cuda};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::ops::boxes::BoxNorm;
use crate::ops::boxes::expect_image_counts;
use crate::ops::{CpuArgs, Op, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// How a small mask gets onto the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasteMode {
    /// The reference's way: the box rounded to whole pixels, the mask resized to it with half-pixel centres, fading to zero
    /// at its border. Widens small masks.
    #[default]
    WholePixels,
    /// Every pixel whose centre lies in the real-valued box takes the mask's value at that centre, by the same map that
    /// mask targets are sampled with (`crop_and_resize` of a full-size mask), inverted. Centres less than a pixel
    /// outside the mask's corner samples take its edge value. Nothing is rounded or widened.
    Exact,
}

/// What pasting writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasteOutput {
    /// `u8`: 1 where the probability reaches the threshold, else 0.
    #[default]
    Binary,
    /// `f32`: the probability; 0 outside the box.
    Probability,
}

/// Masks on the image. Inputs: detections `f32 [N, D, 6]`, mask probabilities `f32 [.., h, w, C]` of `N*D` masks, counts
/// `i32 [N]` if any. Output `[N, D, H, W]`: the probabilities of each row's class; zero beyond the counts, for class 0
/// and for boxes without area. No gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskPaste {
    /// Height and width of the image.
    pub image: [usize; 2],
    /// How.
    pub mode: PasteMode,
    /// Meaning of normalised boxes.
    pub norm: BoxNorm,
    /// Least probability inside a mask: 0.5.
    pub threshold: f32,
    /// What to write.
    pub output: PasteOutput,
}

impl MaskPaste {
    /// The reference's way: binary masks at 0.5.
    pub fn new(image: [usize; 2]) -> Self {
        let (mode, norm, output) = (PasteMode::WholePixels, BoxNorm::Inclusive, PasteOutput::Binary);
        Self { image, mode, norm, threshold: 0.5, output }
    }
}

impl Op for MaskPaste {
    fn name(&self) -> &'static str {
        "mask_paste"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=3)?;
        let (detections, probs) = (&inputs[0], &inputs[1]);
        let ok = detections.dtype == DType::F32 && detections.shape.rank() == 3 && detections.shape.last() == 6;
        ensure(self.name(), ok, || format!("detections must be f32 [N,D,6], got {detections}"))?;
        let (images, each) = (detections.shape[0], detections.shape[1]);
        let rank = probs.shape.rank();
        let ok = probs.dtype == DType::F32 && rank >= 4;
        let ok = ok && probs.shape.dims()[..rank - 3].iter().product::<usize>() == images * each && !probs.is_empty();
        ensure(self.name(), ok, || format!("masks must be f32 [{images},{each},h,w,C], got {probs}"))?;
        if let Some(counts) = inputs.get(2) {
            expect_image_counts(self.name(), "counts", counts, images)?;
        }
        let dtype = match self.output {
            PasteOutput::Binary => DType::U8,
            PasteOutput::Probability => DType::F32,
        };
        Ok(vec![TensorType::new(dtype, [images, each, self.image[0], self.image[1]])])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        paste_cuda::run(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        paste_cpu::run(self, cpu, args)
    }
}
