//! Singular vectors of a mask's pixels.

use super::{Extents, cpu, cuda, expect_recordings, expect_unit_counts};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Input, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::TensorType;

/// `(recordings [N,T,H,W,1], masks [N,U,H,W], reference [N*U,T,1], counts?) -> [N*U,T,components]`: the first left
/// (temporal) singular vectors of the matrix `T x P` of the mask's pixels, times singular value over `sqrt(P)`: a
/// signal shared by all pixels alike comes out as it is. Each has the sign that makes its covariance with the reference
/// positive.
///
/// Nothing is centred. Components whose singular value is below 0.002 of the first (or that do not exist: `P` or
/// `T` smaller than `components`) are 0, as are those of empty masks and of rows beyond `counts`.
///
/// Computed from the Gram matrix of the shorter side by Lanczos' iteration with full reorthogonalisation, from a fixed
/// start: exact for up to 40 pixels or frames, converged to rounding for larger matrices unless singular values lie
/// within about a percent of each other; then the vectors span little else than theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedSvd {
    /// Number of singular vectors, at most 8.
    pub components: usize,
}

impl MaskedSvd {
    fn extents(&self, inputs: &[TensorType]) -> Result<Extents> {
        expect_inputs(self.name(), inputs, 3..=4)?;
        expect_recordings(self.name(), &inputs[0], &inputs[1])
    }
}

impl Op for MaskedSvd {
    fn name(&self) -> &'static str {
        "masked_svd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let extents = self.extents(inputs)?;
        let reference = TensorType::f32([extents.rows(), extents.frames, 1]);
        ensure(self.name(), inputs[2] == reference, || format!("reference must be {reference}, got {}", inputs[2]))?;
        expect_unit_counts(self.name(), inputs.get(3), extents.recordings)?;
        let ok = (1..=cpu::MAX_COMPONENTS).contains(&self.components);
        ensure(self.name(), ok, || format!("gives 1 to {} components, not {}", cpu::MAX_COMPONENTS, self.components))?;
        Ok(vec![TensorType::f32([extents.rows(), extents.frames, self.components])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None; context.inputs.len()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // The masks' sizes are not known here: as if each covered a fortieth of the image (100 pixels of 64 x 64).
        let pixels = (inputs[1].shape[2] * inputs[1].shape[3]).div_ceil(40);
        let frames = inputs[0].shape[1];
        let short = pixels.min(frames);
        let unit = short * short * pixels.max(frames) + 2 * cpu::LANCZOS_STEPS.min(short) * short * short;
        Cost::new((outputs[0].shape[0] * unit) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let Ok(extents) = self.extents(inputs) else { return Workspace::default() };
        let runs = Scratch::bytes::<i32>(cpu.threads() * cpu::run_scratch(&extents));
        let floats = Scratch::bytes::<f32>(cpu.threads() * cpu::svd_scratch(&extents));
        Workspace { packed: 0, scratch: runs + floats }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::masked_svd(self, &self.extents(types.inputs)?, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (recordings, masks) = (&args.inputs[0], &args.inputs[1]);
        let extents = expect_recordings(self.name(), recordings.ty(), masks.ty())?;
        let mut scratch = Scratch::new(args.scratch);
        let runs = scratch.take::<i32>(cpu.threads() * cpu::run_scratch(&extents));
        let floats = scratch.take::<f32>(cpu.threads() * cpu::svd_scratch(&extents));
        let job = cpu::SvdJob {
            extents,
            components: self.components,
            recordings: recordings.f32(),
            masks: masks.f32(),
            reference: args.inputs[2].f32(),
            counts: args.inputs.get(3).map(Input::i32),
        };
        cpu::masked_svd(cpu, &job, args.outputs[0].f32(), runs, floats);
        Ok(())
    }
}
