//! The filter that makes a recording's noise white in space.

use serde::{Deserialize, Serialize};

use super::{cpu, refine_cuda};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, TensorType};

/// `recordings [N,T,H,W,1] -> (filters [N,2*radius+1,2*radius+1], variances [N])`: what the noise of each recording is
/// like, measured where motion has nothing to say: in its fastest changes.
///
/// The third difference in time of frames `4g..4g+4` leaves little of signals far below the frame rate, and of noise that
/// is white in time 20 times its variance. Its covariance between pixels `(dy,dx)` apart, `|dy|, |dx| <= radius + 1`, is
/// tapered by Hann's window and transformed to a power spectrum on 32 x 32 frequencies; the filter is the inverse
/// transform of one over its square root, cut to `radius`. Frequencies with less than `floor` of the mean power are taken to
/// have that much, so that no pattern is trusted without limit. The filter is even, for noise of variance 1.
///
/// Variances are per pixel and frame. A recording whose third differences vanish (or of fewer than 4 frames) gets
/// variance 0 and the filter that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseWhitening {
    /// Reach of the filter, in pixels.
    pub radius: usize,
    /// Least power that a frequency is taken to have, relative to the mean.
    pub floor: f32,
}

impl Default for NoiseWhitening {
    /// As it did best on simulated recordings at 10 dB and without noise.
    fn default() -> Self {
        Self { radius: 4, floor: 0.1 }
    }
}

/// Frequencies in each direction.
pub(super) const FREQUENCIES: usize = 32;
/// Largest radius: lags must stay below half of the frequencies.
pub(crate) const MAX_RADIUS: usize = 14;

impl Op for NoiseWhitening {
    fn name(&self) -> &'static str {
        "noise_whitening"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let recordings = &inputs[0];
        let fits = recordings.dtype == DType::F32 && recordings.shape.rank() == 5 && recordings.shape[4] == 1;
        let fits = fits && !recordings.is_empty();
        ensure(self.name(), fits, || format!("recordings must be f32 [N,T,H,W,1], not empty, got {recordings}"))?;
        let ok = self.radius <= MAX_RADIUS && self.floor > 0.0 && self.floor <= 1.0;
        ensure(self.name(), ok, || {
            format!(
                "the radius must be at most {MAX_RADIUS} and the floor in (0, 1], got {} and {}",
                self.radius, self.floor
            )
        })?;
        let (n, side) = (recordings.shape[0], 2 * self.radius + 1);
        Ok(vec![TensorType::f32([n, side, side]), TensorType::f32([n])])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![None; context.inputs.len()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let lags = cpu::lags(self.radius).count();
        Cost::new((inputs[0].len() / 4 * (6 + 2 * lags)) as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let [differences, sums] = cpu::whitening_scratch(cpu, &inputs[0].shape, self.radius);
        Workspace { packed: 0, scratch: Scratch::bytes::<f32>(differences) + Scratch::bytes::<f32>(2 * sums) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        refine_cuda::noise_whitening(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let recordings = &args.inputs[0];
        let [filters, variances] = args.outputs else { unreachable!("two outputs were inferred") };
        let [differences, sums] = cpu::whitening_scratch(cpu, recordings.shape(), self.radius);
        let mut scratch = Scratch::new(args.scratch);
        let differences = scratch.take::<f32>(differences);
        // 64-bit floats: two f32 each.
        let sums = bytemuck::cast_slice_mut(scratch.take::<f32>(2 * sums));
        let job = cpu::WhiteningJob {
            shape: recordings.shape(),
            recordings: recordings.f32(),
            radius: self.radius,
            floor: self.floor as f64,
        };
        cpu::noise_whitening(cpu, &job, filters.f32(), variances.f32(), differences, sums);
        Ok(())
    }
}
