//! Means over the regions of a mask.

use super::{Extents, cpu, cuda, expect_recordings, expect_unit_counts};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Input, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::TensorType;

/// `(recordings [N,T,H,W,1], masks [N,U,H,W], counts?) -> [N*U,T,4]`: for every frame the mean over
///
/// 0. the mask;
/// 1. the pixels of the mask that no other valid mask of the recording covers; over the mask if there are none;
/// 2. the pixels outside the mask of the `surround` x `surround` crop centred on the mask's bounding box (half-pixel
///    centres go to the upper left; what lies outside the image is left out); 0 if there are none;
/// 3. the pixels of the mask that other masks cover; 0 if there are none.
///
/// All 0 for empty masks and rows beyond `counts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionMeans {
    /// Side of the crop, in pixels.
    pub surround: usize,
}

/// Channels of [`RegionMeans`].
pub(super) const REGIONS: usize = 4;

impl RegionMeans {
    fn extents(&self, inputs: &[TensorType]) -> Result<Extents> {
        expect_inputs(self.name(), inputs, 2..=3)?;
        expect_recordings(self.name(), &inputs[0], &inputs[1])
    }
}

impl Op for RegionMeans {
    fn name(&self) -> &'static str {
        "region_means"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let extents = self.extents(inputs)?;
        expect_unit_counts(self.name(), inputs.get(2), extents.recordings)?;
        ensure(self.name(), self.surround > 0, || "the side of the crop must be at least 1 pixel".to_owned())?;
        Ok(vec![TensorType::f32([extents.rows(), extents.frames, REGIONS])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None; context.inputs.len()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // Three weighted sums over the crop.
        let crop = self.surround.min(inputs[1].shape[2]) * self.surround.min(inputs[1].shape[3]);
        Cost::new((outputs[0].len() / REGIONS * crop * 6) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let Ok(extents) = self.extents(inputs) else { return Workspace::default() };
        let covers = Scratch::bytes::<u8>(extents.recordings * extents.pixels());
        let weights = Scratch::bytes::<f32>(cpu.threads() * cpu::REGION_WEIGHTS * extents.pixels());
        Workspace { packed: 0, scratch: covers + weights }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::region_means(self, &self.extents(types.inputs)?, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (recordings, masks) = (&args.inputs[0], &args.inputs[1]);
        let extents = expect_recordings(self.name(), recordings.ty(), masks.ty())?;
        let mut scratch = Scratch::new(args.scratch);
        let covers = scratch.take::<u8>(extents.recordings * extents.pixels());
        let weights = scratch.take::<f32>(cpu.threads() * cpu::REGION_WEIGHTS * extents.pixels());
        let counts = args.inputs.get(2).map(Input::i32);
        let job = cpu::RegionJob {
            extents,
            surround: self.surround,
            recordings: recordings.f32(),
            masks: masks.f32(),
            counts,
        };
        cpu::region_means(cpu, &job, args.outputs[0].f32(), covers, weights);
        Ok(())
    }
}
