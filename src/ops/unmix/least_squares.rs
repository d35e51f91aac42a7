//! Least-squares unmixing.

use super::{cpu, cuda, expect_masks, expect_unit_counts};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Input, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// `(means [N*U,T,C], masks [N,U,H,W], counts?) -> [N*U,T,1]`: for every frame `x` the signals `a` that minimise
/// `|x - sum_u a_u mask_u|^2 + ridge sum_u |mask_u|^2 a_u^2`.
///
/// The frame enters through its means over the masks only, channel 0 of `means`: the normal equations are
/// `(G + ridge diag G) a = b`, `G[u,v]` the number of pixels in both masks, `b[u]` the mean times the size of mask `u`.
/// They are solved in `f64` by Cholesky's factorisation. Empty masks and rows beyond `counts` give 0; so does, without
/// a ridge, a mask that depends linearly on those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeastSquaresUnmix {
    /// Weight of the squared signals relative to the data: what two identical masks share equally, and what keeps nearly
    /// identical ones from amplifying noise.
    pub ridge: f32,
}

impl Op for LeastSquaresUnmix {
    fn name(&self) -> &'static str {
        "least_squares_unmix"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=3)?;
        let means = &inputs[0];
        let masks = expect_masks(self.name(), &inputs[1])?;
        let rows = masks.shape[0] * masks.shape[1];
        let fits = means.dtype == DType::F32 && means.shape.rank() == 3 && means.shape[0] == rows && means.shape[2] > 0;
        ensure(self.name(), fits, || format!("means must be f32 [{rows},T,C] with a row for each mask, got {means}"))?;
        expect_unit_counts(self.name(), inputs.get(2), masks.shape[0])?;
        let ok = self.ridge >= 0.0 && self.ridge.is_finite();
        ensure(self.name(), ok, || format!("the ridge must be finite and not negative, got {}", self.ridge))?;
        Ok(vec![TensorType::f32([rows, means.shape[1], 1])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None; context.inputs.len()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let units = inputs[1].shape[1];
        let factor = inputs[1].shape[0] * units.pow(3) / 3;
        Cost::new((factor + outputs[0].len() * 2 * units) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let [bits, factors, solutions] = cpu::unmix_scratch(cpu, &inputs[1].shape);
        let sizes = [bits, factors, solutions].map(|len| Scratch::bytes::<f32>(2 * len));
        Workspace { packed: 0, scratch: sizes.iter().sum() }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::least_squares_unmix(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (means, masks) = (&args.inputs[0], &args.inputs[1]);
        let mut scratch = Scratch::new(args.scratch);
        // 64-bit words and floats: two f32 each.
        let [bits, factors, solutions] = cpu::unmix_scratch(cpu, masks.shape()).map(|len| scratch.take::<f32>(2 * len));
        let scratch = cpu::UnmixScratch {
            bits: bytemuck::cast_slice_mut(bits),
            factors: bytemuck::cast_slice_mut(factors),
            solutions: bytemuck::cast_slice_mut(solutions),
        };
        let job = cpu::UnmixJob {
            ridge: self.ridge as f64,
            shape: masks.shape(),
            means: means.f32(),
            channels: means.shape()[2],
            frames: means.shape()[1],
            masks: masks.f32(),
            counts: args.inputs.get(2).map(Input::i32),
        };
        cpu::least_squares_unmix(cpu, &job, args.outputs[0].f32(), scratch);
        Ok(())
    }
}
