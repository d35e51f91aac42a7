//! Unmixing with each unit's own profile in space, estimated from the recording.

use serde::{Deserialize, Serialize};

use super::{cpu, expect_masks, expect_unit_counts, refine_cuda};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Input, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// One round of alternating least squares:
/// `(recordings [N,H,W,K], masks [N,U,H,W], signals [N*U,K], filters [N,S,S], variances [N], slopes [K,K], counts?)
/// -> [N*U,K]`, better signals from given ones.
///
/// Courses in time are given by their coefficients in an orthonormal basis of `K` functions; `slopes` takes those of a
/// signal to those of its derivative, per frame (`s' = s slopes`). A pixel of unit `u` is taken to move as
/// `p s + q s'`, which for `q = -p lag` is the signal a little later.
///
/// 1. Profiles. Each pixel is regressed on the signals and derivatives of the units whose masks cover it. `p` is expected
///    to be 1 with variance `profile_variance`, `q` to be 0 with variance `lag_variance` (frames squared), the errors
///    to have the variance of the noise plus `mismatch` times the mean squared coefficient of the recording. Then
///    each unit's profile is scaled to mean 1 over its mask (if its mean is at least 0.05).
/// 2. Signals. Least squares with the profiles as mixing matrix, noise whitened in space by `filters` (`h`, taken to be
///    even): with `A = h h P` (each filtering within the image), `(A^T P + ridge diag(A^T P)) s = A^T (y - Q s')`,
///    where `s'` is that of the signals as they were; done twice, the second time with the new ones.
///
/// Empty masks and rows beyond `counts` give 0, and so does a recording that is 0 everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileUnmix {
    /// Expected variance of a unit's profile over its pixels, whose mean is 1.
    pub profile_variance: f32,
    /// Expected variance of the lag over a unit's pixels, frames squared.
    pub lag_variance: f32,
    /// What this model cannot explain, as a share of the recording's mean squared coefficient.
    pub mismatch: f32,
    /// Weight of the squared signals relative to the data.
    pub ridge: f32,
}

impl Default for ProfileUnmix {
    /// As it did best on simulated recordings at 10 dB and without noise.
    fn default() -> Self {
        Self { profile_variance: 0.3, lag_variance: 4.0, mismatch: 1.5e-3, ridge: 1e-3 }
    }
}

impl Op for ProfileUnmix {
    fn name(&self) -> &'static str {
        "profile_unmix"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 6..=7)?;
        let recordings = &inputs[0];
        let masks = expect_masks(self.name(), &inputs[1])?;
        let shape = &recordings.shape;
        let ok = recordings.dtype == DType::F32 && shape.rank() == 4 && !recordings.is_empty();
        ensure(self.name(), ok, || format!("recordings must be f32 [N,H,W,K], not empty, got {recordings}"))?;
        let (n, units, coefficients) = (shape[0], masks.shape[1], shape[3]);
        let fits = masks.shape.dims() == [n, units, shape[1], shape[2]];
        ensure(self.name(), fits, || {
            format!("masks must be f32 [{n},U,{},{}] as the recordings are, got {masks}", shape[1], shape[2])
        })?;
        let side = if inputs[3].shape.rank() == 3 { inputs[3].shape[1] } else { 1 };
        let expected = [
            (2, "signals", TensorType::f32([n * units, coefficients])),
            (3, "filters", TensorType::f32([n, side, side])),
            (4, "variances", TensorType::f32([n])),
            (5, "slopes", TensorType::f32([coefficients, coefficients])),
        ];
        for (index, name, ty) in expected {
            ensure(self.name(), inputs[index] == ty, || format!("{name} must be {ty}, got {}", inputs[index]))?;
        }
        ensure(self.name(), side % 2 == 1, || format!("filters must have a middle: an odd side, not {side}"))?;
        expect_unit_counts(self.name(), inputs.get(6), n)?;
        let positive = [self.profile_variance, self.lag_variance, self.mismatch, self.ridge];
        let ok = positive.iter().all(|value| *value > 0.0 && value.is_finite());
        ensure(self.name(), ok, || format!("variances, mismatch and ridge must be positive, got {self:?}"))?;
        Ok(vec![TensorType::f32([n * units, coefficients])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None; context.inputs.len()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // The masks' sizes are not known here: as if each covered a fortieth of the image (100 pixels of 64 x 64), the
        // filtered profile four times as much.
        let (coefficients, side) = (inputs[0].shape[3], inputs[3].shape[1]);
        let pixels = (inputs[0].shape[1] * inputs[0].shape[2]).div_ceil(40);
        let unit = pixels * (2 * 2 * coefficients + 6 * 2 * side * side + 4 * 2 * coefficients);
        Cost::new((outputs[0].shape[0] * unit) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let len = inputs[0].shape[0] * cpu::profile_scratch(&inputs[1].shape, inputs[0].shape[3]);
        Workspace { packed: 0, scratch: Scratch::bytes::<f32>(2 * len) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        refine_cuda::profile_unmix(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let [recordings, masks, signals, filters, variances, slopes, ..] = args.inputs else {
            unreachable!("at least six inputs were inferred")
        };
        let coefficients = recordings.shape()[3];
        let len = recordings.shape()[0] * cpu::profile_scratch(masks.shape(), coefficients);
        // 64-bit floats: two f32 each.
        let scratch = bytemuck::cast_slice_mut(Scratch::new(args.scratch).take::<f32>(2 * len));
        let job = cpu::ProfileJob {
            op: *self,
            masks_shape: masks.shape(),
            coefficients,
            side: filters.shape()[1],
            recordings: recordings.f32(),
            masks: masks.f32(),
            signals: signals.f32(),
            filters: filters.f32(),
            variances: variances.f32(),
            slopes: slopes.f32(),
            counts: args.inputs.get(6).map(Input::i32),
        };
        cpu::profile_unmix(cpu, &job, args.outputs[0].f32(), scratch);
        Ok(())
    }
}
